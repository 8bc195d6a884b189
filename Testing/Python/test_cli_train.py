"""``train`` on the command line: from a folder of slices to a model that ``segment`` runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from narrow_encoder import NarrowEncoder, narrow_now
from skimage import io

from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.own import TrainOptions
from CovidLesionSegLogic.learn.start import build_start
from CovidLesionSegLogic.models import ModelCard


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small Ref-Net for this test."""
    narrow_now(monkeypatch)


@pytest.fixture
def pictures(phantom, tmp_path: Path) -> tuple[Path, Path]:
    """Four patients of two lung-cropped slices each, in the released window."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    lesion = phantom.lesions > 0
    order = np.argsort(-lesion.sum(axis=(1, 2)))[:8]
    for i, k in enumerate(sorted(order)):
        grey = np.clip((phantom.ct.array[k] + 1150.0) * (255 / 1400), 0, 255).astype(np.uint8)
        if i % 4 > 1:  # otherwise neighbours would count as one picture
            grey = 255 - grey
        name = f"p{i % 4}_{i}.png"
        io.imsave(images / name, np.roll(grey, 13 * i, 1), check_contrast=False)
        mask = np.roll(lesion[k], 13 * i, 1)
        io.imsave(masks / name, (255 * mask).astype(np.uint8), check_contrast=False)
    return images, masks


def request(pictures: tuple[Path, Path], output: Path, *more: str) -> list[str]:
    images, masks = pictures
    return [
        *("train", "--model", "refnet", "--images", str(images), "--masks", str(masks)),
        *("--patient", r"^(p\d)_", "--start", "none", "--encoder", "narrow", "--size", "64"),
        *("--steps", "4", "--batch-size", "2", "--validation", "0.25", "--device", "cpu"),
        *("-o", str(output), *more),
    ]


def test_from_slices_to_a_model_that_segments(narrow, pictures, phantom, tmp_path, monkeypatch):
    output = tmp_path / "my_model"
    assert main(request(pictures, output)) == 0
    card = ModelCard.from_json(output / "refnet-own.json")
    assert card.input.size == 64
    assert card.training["seed"] == 0
    assert "8 slices" not in card.training["data"]  # the validation patient is not among them
    figures = next(iter(card.validation.values()))
    assert figures["patients"] == 1
    assert 0 <= figures["Dice, mean over 256 thresholds"]["value"] <= 1
    split = json.loads((output / "training" / "split.json").read_text())
    assert sorted(split["training"] + split["validation"]) == ["p0", "p1", "p2", "p3"]
    assert len(split["validation"]) == 1
    assert sorted(p.name for p in (output / "training").iterdir()) == [
        *("best.pt", "last.pt", "learning_curve.png", "log.csv", "split.json"),
    ]

    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(output))
    assert main(["models", "verify"]) == 0
    ct = write_image(phantom.ct.array, phantom.ct, tmp_path / "scan.nii.gz")
    lungs = write_image(phantom.lungs, phantom.ct, tmp_path / "lungs.nii.gz")
    done = main(
        [
            *("segment", str(ct), "-o", str(tmp_path / "out"), "--model", "refnet-own"),
            *("--lungs", str(lungs), "--device", "cpu", "--no-report", "--format", "nii.gz"),
        ]
    )
    assert done == 0
    report = json.loads((tmp_path / "out" / "scan_quantification.json").read_text())
    assert card.weights.sha256 in json.dumps(report)


def test_a_finished_run_is_resumed_and_another_request_refused(narrow, pictures, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(request(pictures, output)) == 0
    weights = (output / "refnet-own.safetensors").read_bytes()
    assert main(request(pictures, output, "--resume")) == 0
    assert (output / "refnet-own.safetensors").read_bytes() == weights
    split = (output / "training" / "split.json").read_bytes()
    capsys.readouterr()
    assert main(request(pictures, output, "--seed", "1")) == 2
    assert re.search(r"error: .*differs in .*seed \(was 0, now 1\)", capsys.readouterr().err)
    assert (output / "training" / "split.json").read_bytes() == split
    assert main(request(pictures, output, "--seed", "1", "--restart")) == 0


def test_json_progress(narrow, pictures, tmp_path, capfd):
    assert main(request(pictures, tmp_path / "out", "--progress", "json")) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    stages = list(dict.fromkeys(e["stage"] for e in events if e["event"] == "progress"))
    assert stages == ["read", "train", "evaluate"]
    assert [e["done"] for e in events if e.get("stage") == "train"] == [0, 1, 2, 3, 4]
    assert events[-1]["event"] == "done"


def test_bad_data_end_before_training(narrow, pictures, tmp_path, capsys):
    (pictures[1] / "p0_0.png").unlink()
    assert main(request(pictures, tmp_path / "out")) == 3
    assert "p0_0.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_too_few_patients(narrow, pictures, tmp_path, capsys):
    line = request(pictures, tmp_path / "out")
    line[line.index("--patient") + 1] = "p"  # everything is one patient
    assert main(line) == 3
    assert "too few patients" in capsys.readouterr().err


def test_a_given_split_is_used(narrow, pictures, tmp_path, capsys):
    split = tmp_path / "mine.json"
    split.write_text('{"seed": 9, "training": ["p0", "p1", "p3"], "validation": ["p2"]}')
    assert main(request(pictures, tmp_path / "out", "--split", str(split))) == 0
    used = json.loads((tmp_path / "out" / "training" / "split.json").read_text())
    assert used["validation"] == ["p2"]
    split.write_text('{"training": ["p0"], "validation": ["p2"]}')
    assert main(request(pictures, tmp_path / "other", "--split", str(split))) == 3
    assert "does not name the patients p1, p3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--images", None), "--images and --masks or by --ct and --lesion"),
        (("--encoder", "alexnet"), "no encoder 'alexnet'"),
        (("--size", "100"), "multiple of 32"),
        (("--start", "missing-model"), "no lesion model called 'missing-model'"),
        (("--patient", "("), "regular expression"),
        (("--device", "cuda:77"), "not available"),
        (("--steps", "0"), "whole number"),
    ],
)
def test_wrong_requests_say_what_is_wrong(narrow, pictures, tmp_path, capsys, change, said):
    line = request(pictures, tmp_path / "out")
    at = line.index(change[0])
    line[at : at + 2] = [] if change[1] is None else change
    assert main(line) == 2
    assert said in capsys.readouterr().err


def test_the_published_schedule_takes_no_other_length(tmp_path):
    with pytest.raises(RequestError, match="own length"):
        TrainOptions(tmp_path, images=tmp_path, masks=tmp_path, schedule="published", steps=5)


@pytest.mark.parametrize("name", ["../mine", "", "my model", "-x", "mine\n"])
def test_a_name_that_no_model_can_have_is_refused_before_training(tmp_path, name):
    with pytest.raises(RequestError, match="cannot be the name of a model"):
        TrainOptions(tmp_path, images=tmp_path, masks=tmp_path, name=name)


def test_public_encoder_weights(narrow, tmp_path):
    torch.manual_seed(3)
    encoder = NarrowEncoder()
    public = {**encoder.state_dict(), "fc.weight": torch.zeros(2, 4)}
    path = tmp_path / "encoder.pth"
    torch.save(public, path)
    start = build_start(str(path), encoder="narrow", size=64)
    assert start.pretrained
    for name, value in encoder.state_dict().items():
        assert torch.equal(start.network.get_submodule("encoder").state_dict()[name], value), name
    del public["conv1.weight"]
    torch.save(public, path)
    with pytest.raises(InputError, match=r"do not fit the encoder narrow \(it lacks conv1"):
        build_start(str(path), encoder="narrow", size=64)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as plain tensors"):
        build_start(str(path), encoder="narrow", size=64)


def test_weights_that_would_run_code_are_refused(narrow, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match="cannot be read as plain tensors"):
        build_start(str(tmp_path / "trap.pth"), encoder="narrow")
    assert not (tmp_path / "sprung").exists()


DRIVER = """\
import sys
import pytest
import test_cli_train as t
monkeypatch = pytest.MonkeyPatch()
t.narrow_now(monkeypatch)
sys.exit(t.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_a_checkpoint(narrow, pictures, tmp_path, repository):
    line = request(pictures, tmp_path / "out", "--progress", "json")
    line[line.index("--steps") + 1] = "100000"
    paths = os.pathsep.join([str(repository), str(Path(__file__).parent)])
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, *line],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for event in process.stdout:
            if '"train", "done": 3,' in event:
                break
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - started < 30
    step = torch.load(tmp_path / "out" / "training" / "last.pt", weights_only=True)["step"]
    assert step >= 3
    assert json.loads(out.splitlines()[-1])["event"] == "error"
