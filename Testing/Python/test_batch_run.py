"""Batches end to end, in processes of their own, with a small network."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from batch_case import (
    batch_command,
    contents,
    environment,
    run_batch,
    small_ct,
    write_case,
    write_table,
)
from dicom_writer import write_series

QUICK = ("--no-report", "--format", "nii.gz")


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return write_table(folder, ["a", "b", "c"])


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def statuses(out: Path) -> dict[str, str]:
    return {row["study"]: row["status"] for row in summary(out)["rows"]}


def counts(out: Path) -> tuple[int, int, int]:
    told = summary(out)
    return told["done"], told["kept"], told["failed"]


def test_every_study_gets_its_files_and_the_summary_tells_of_all(batch_models, table, tmp_path):
    out = tmp_path / "out"
    done = run_batch(batch_models, table, "-o", out)
    assert done.returncode == 0, done.stderr
    assert statuses(out) == {"a": "done", "b": "done", "c": "done"}
    files = {p.name for p in (out / "a").iterdir()}
    assert files == {
        "a.seg.nrrd",
        "a_labels.nii.gz",
        "a_lungs.nii.gz",
        "a_quantification.json",
        "a_quantification.csv",
        "a_overview.png",
        "a_report.html",
        "a_batch.json",
    }
    rows = (out / "summary.csv").read_text().splitlines()
    assert rows[0].startswith("study,status,reason,input,study_uid,")
    assert len(rows) == 4
    measured = json.loads((out / "a" / "a_quantification.json").read_text())
    row = summary(out)["rows"][0]
    assert row["all_lesions_ml"] == measured["total"]["volume_ml"]
    assert row["consolidation_ml"] == measured["classes"][1]["volume_ml"]
    page = (out / "summary.html").read_text()
    assert 'src="a/a_overview.png"' in page
    assert 'href="c/c_report.html"' in page
    assert "script" not in page.lower()


def test_one_path_gives_what_segment_gives(batch_models, table, tmp_path):
    out = tmp_path / "out"
    run_batch(batch_models, table, "-o", out, *QUICK)
    ct, lungs = table.parent / "b.nii.gz", table.parent / "lungs.nii.gz"
    command = [*batch_command(ct, "-o", tmp_path / "alone"), "--lungs", str(lungs), *QUICK]
    command[command.index("batch")] = "segment"
    subprocess.run(
        command, env=environment(batch_models), check=True, timeout=300, capture_output=True
    )
    for name in ("b_labels.nii.gz", "b_lungs.nii.gz", "b_quantification.csv"):
        assert (out / "b" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_second_run_does_only_what_has_changed(batch_models, table, tmp_path):
    out = tmp_path / "out"
    run_batch(batch_models, table, "-o", out, *QUICK)
    first = contents(out)
    assert run_batch(batch_models, table, "-o", out, *QUICK).returncode == 0
    assert counts(out) == (0, 3, 0)
    assert contents(out) == first

    os.utime(table.parent / "a.nii.gz")  # touched, the same content: read, not segmented
    before = (out / "a" / "a_labels.nii.gz").stat().st_mtime_ns
    run_batch(batch_models, table, "-o", out, *QUICK)
    assert counts(out) == (1, 2, 0)
    assert (out / "a" / "a_labels.nii.gz").stat().st_mtime_ns == before
    run_batch(batch_models, table, "-o", out, *QUICK)
    assert counts(out) == (0, 3, 0)

    write_case(table.parent, "a", seed=9)
    (out / "b" / "b_lungs.nii.gz").unlink()
    run_batch(batch_models, table, "-o", out, *QUICK)
    assert counts(out) == (2, 1, 0)
    assert (out / "a" / "a_labels.nii.gz").stat().st_mtime_ns != before

    run_batch(batch_models, table, "-o", out, *QUICK, "--threshold", "0.4")
    assert counts(out) == (3, 0, 0)
    run_batch(batch_models, table, "-o", out, *QUICK, "--threshold", "0.4", "--no-resume")
    assert counts(out) == (3, 0, 0)


def test_changed_weights_are_noticed(table, tmp_path):
    import tiny_model

    batch_models, out = tmp_path / "models", tmp_path / "out"
    run_batch(batch_models, table, "-o", out, *QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_model, "STEEPNESS", 1.0)
        network = tiny_model.coarse_refine
        patch.setattr(tiny_model, "coarse_refine", lambda n, gate: network(n, gate=gate, seed=1))
        tiny_model.install_coarse_refine(batch_models, patch, 2)
    run_batch(batch_models, table, "-o", out, *QUICK)
    assert counts(out) == (3, 0, 0)


def test_a_bad_study_never_stops_the_rest(batch_models, table, tmp_path):
    folder, out = table.parent, tmp_path / "out"
    (folder / "cut.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:2000])
    (folder / "empty.nrrd").write_bytes(b"")
    with table.open("a", encoding="utf-8") as file:
        file.write("cut.nii.gz,lungs.nii.gz\nempty.nrrd,\nnowhere.mha,\na.nii.gz,empty.nrrd\n")
    done = run_batch(batch_models, table, "-o", out, *QUICK)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    told = statuses(out)
    assert [name for name, status in told.items() if status == "done"] == ["a", "b", "c"]
    assert [name for name, status in told.items() if status == "failed"] == [
        "cut",
        "empty",
        "nowhere",
    ]
    reasons = {row["study"]: row["reason"] for row in summary(out)["rows"]}
    assert "cannot be unpacked" in reasons["cut"]
    assert "0 bytes" in reasons["empty"]
    assert "does not exist" in reasons["nowhere"]
    assert not (out / "cut").exists()


def test_dicom_of_two_patients_in_one_folder(batch_models, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    for n, prefix in enumerate("ab"):
        write_series(
            root,
            small_ct(n, (12, 96, 96)),
            spacing=(3.5, 3.5, 12.0),
            prefix=prefix,
            series_uid=f"1.2.3.{n}.1",
            study_uid=f"1.2.3.{n}",
        )
    done = run_batch(batch_models, root, "-o", out, *QUICK)
    # A box is no chest: the lungs may not be found, but both series are read apart.
    assert done.returncode in (0, 4), done.stderr
    assert len(statuses(out)) == 2
    for row in summary(out)["rows"]:
        assert row["status"] == "done" or "lung" in row["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Nothing to segment was named"),
        (["nowhere"], "names no file"),
        (["{table}", "--model", "refnot"], "refnot"),
        (["{table}", "--format", "bmp"], "bmp"),
        (["{table}", "--device", "cuda:9"], "cuda:9"),
        (["{table}", "--pseudonym-key", "k"], "--pseudonymise"),
        (["{table}", "--workers", "0"], "at least 1"),
    ],
)
def test_a_wrong_request_ends_before_any_work(batch_models, table, tmp_path, arguments, said):
    out = tmp_path / "out"
    given = [text.format(table=table) for text in arguments]
    command = [*batch_command(*given, "-o", out)]
    if "--model" in given:
        command.remove("--lesion-types")
    if "--device" in given:
        del command[-2:]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(batch_models), timeout=300
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists() or [p.name for p in out.iterdir() if p.is_dir()] in ([], [".batch"])


def test_a_process_that_dies_costs_no_study(batch_models, table, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        batch_command(table, "-o", out, *QUICK, "--workers", "2", "--progress", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(batch_models),
    )
    killed = 0
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if not killed and any(at[0] == "segment" for at in event.get("at", {}).values()):
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
                killed += 1
    assert process.wait(120) == 0
    assert killed >= 1
    assert statuses(out) == {"a": "done", "b": "done", "c": "done"}


def children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True)
    return [int(word) for word in listed.stdout.split()]


def test_cancel_ends_with_130_and_the_next_run_goes_on(batch_models, table, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        batch_command(table, "-o", out, *QUICK, "--progress", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(batch_models),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("event") == "study":
            process.send_signal(signal.SIGINT)
            break
    rest = process.stdout.read()
    assert process.wait(60) == 130
    assert json.loads(rest.splitlines()[-1])["code"] == 130
    assert summary(out)["studies"] == 3
    assert summary(out)["done"] in (1, 2)
    assert run_batch(batch_models, table, "-o", out, *QUICK).returncode == 0
    assert counts(out)[1] >= 1


def test_killed_at_random_instants_it_ends_with_the_same_files(batch_models, table, tmp_path):
    folder = table.parent
    (folder / "empty.nrrd").write_bytes(b"")
    with table.open("a", encoding="utf-8") as file:
        file.write("empty.nrrd,\n")
    began = time.monotonic()
    whole = run_batch(batch_models, table, "-o", tmp_path / "whole", "--format", "nii.gz")
    took = time.monotonic() - began
    assert whole.returncode == 4
    out = tmp_path / "killed"
    chance = random.Random(3)
    for _ in range(4):
        process = subprocess.Popen(
            batch_command(table, "-o", out, "--format", "nii.gz"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(batch_models),
        )
        with_time = chance.uniform(0.3, 0.9) * took
        try:
            process.wait(with_time)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for folder in out.glob("[a-z]*/"):
            assert (folder / f"{folder.name}_batch.json").exists(), "half a study"
    assert run_batch(batch_models, table, "-o", out, "--format", "nii.gz").returncode == 4
    assert contents(out) == contents(tmp_path / "whole")
    assert [p.name for p in (out / ".batch").iterdir()] == ["claim.lock"]


def test_pseudonymised_results_say_nothing_of_the_person(batch_models, tmp_path):
    folder, out = tmp_path / "Quxington_Jane", tmp_path / "out"
    folder.mkdir()
    table = write_table(folder, ["Quxington_1", "Quxington_2"])
    (folder / "Quxington_3.nrrd").write_bytes(b"")
    with table.open("a", encoding="utf-8") as file:
        file.write("Quxington_3.nrrd,\n")
    done = run_batch(batch_models, table, "-o", out, "--pseudonymise")
    assert done.returncode == 4, done.stderr
    assert all(name.startswith("study-") for name in statuses(out))
    for path in out.rglob("*"):
        assert "Quxington" not in path.name
        if path.is_file():
            assert b"Quxington" not in path.read_bytes(), path
    assert "Quxington" not in done.stdout
    again = run_batch(batch_models, table, "-o", out, "--pseudonymise")
    assert counts(out) == (0, 2, 1), again.stderr
    assert (tmp_path / "out.pseudonym-key").exists()


def test_the_list_says_what_would_be_done_and_does_nothing(batch_models, table, tmp_path):
    out = tmp_path / "out"
    done = run_batch(batch_models, table, "-o", out, "--list")
    assert done.returncode == 0
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "to do  a",
        "to do  b",
        "to do  c",
    ]
    assert not out.exists()


def test_progress_for_programs(batch_models, table, tmp_path):
    done = run_batch(batch_models, table, "-o", tmp_path / "out", *QUICK, "--progress", "json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "done"
    assert set(events[-1]["outputs"]) == {"summary_csv", "summary_json"}
    assert {e["name"] for e in events if e["event"] == "study"} == {"a", "b", "c"}
    counted = [e["done"] for e in events if e["event"] == "progress" and e["stage"] == "studies"]
    assert counted == sorted(counted)
    assert counted[-1] == 3


def test_a_full_disk_ends_the_run_with_a_sentence(batch_models, table, tmp_path):
    """A file stands where the results' hidden folder should be: nothing can be written."""
    out = tmp_path / "out"
    out.mkdir()
    (out / ".batch").write_text("")
    done = run_batch(batch_models, table, "-o", out, *QUICK)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.data
@pytest.mark.slow
def test_a_real_ct_among_others(shared_data, tmp_path, batch_models):
    """Every eighth slice of P001, mixed with those of another patient, with the shipped model."""
    import shutil

    import pydicom

    def height(file: Path) -> float:
        return float(pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2])

    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    for patient in ("P001", "normal001"):
        files = sorted((shared_data / "covid_ct_md" / patient).glob("*.dcm"), key=height)
        for number, file in enumerate(files[::8]):
            shutil.copy(file, root / f"{patient}{number}.dcm")
    env = environment(batch_models)
    del env["COVIDLESIONSEG_MODELS"]
    command = batch_command(root, "-o", out, *QUICK)
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=500)
    assert done.returncode == 0, done.stderr
    volumes = sorted(row["all_lesions_ml"] for row in summary(out)["rows"])
    assert volumes[0] < 10 < 80 < volumes[1] < 250, volumes
    for row in summary(out)["rows"]:
        labels = read_ct_labels(out / row["files"]["labels"])
        assert labels.shape[1:] == (512, 512)


def read_ct_labels(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_what_was_not_done_is_said(batch_models, table, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        batch_command(table, "-o", out, *QUICK, "--progress", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(batch_models),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("at"):
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    rows = summary(out)["rows"]
    assert [row["study"] for row in rows] == ["a", "b", "c"]
    assert "not done" in {row["status"] for row in rows}
    assert {Path(row["input"]).name for row in rows} == {"a.nii.gz", "b.nii.gz", "c.nii.gz"}


def test_codes_and_names_do_not_mix(batch_models, table, tmp_path):
    out = tmp_path / "out"
    run_batch(batch_models, table, "-o", out, *QUICK, "--pseudonymise")
    done = run_batch(batch_models, table, "-o", out, *QUICK)
    assert done.returncode == 2
    assert "holds pseudonymised results" in done.stderr


def test_a_folder_of_two_studies_needs_a_series_in_a_table(tmp_path):
    from CovidLesionSegLogic.batch import process
    from CovidLesionSegLogic.errors import InputError

    for n in range(2):
        uids = {"series_uid": f"1.2.3.{n}.1", "study_uid": f"1.2.3.{n}"}
        write_series(tmp_path, small_ct(n), prefix=f"p{n}", **uids)
    with pytest.raises(InputError, match=r"CTs of 2 studies.*1\.2\.3\.0\.1"):
        process._check_one_study(tmp_path)
