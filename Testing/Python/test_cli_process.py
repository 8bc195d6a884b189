"""The command line as a process of its own: quick help, clean output, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from CovidLesionSegLogic.ct import write_image

HEAVY = ("torch", "numpy", "SimpleITK", "pydicom", "skimage", "scipy", "matplotlib", "slicer")

RUNNER = """
import os, sys, time
from pathlib import Path
import pytest, tiny_model
from CovidLesionSegLogic import cli
import CovidLesionSegLogic.pipeline.segment as segment

forward = tiny_model.TinyNet.predict_logits

def slow(self, x):
    os.write(1, b"a compiled library chats\\n")
    print("a library chats")
    time.sleep(0.3)
    return forward(self, x)

tiny_model.TinyNet.predict_logits = slow
with pytest.MonkeyPatch.context() as patch:
    folder = Path(sys.argv[1])
    tiny_model.install(folder, patch)
    code = cli.main(sys.argv[2:])
sys.exit(code)
"""


@pytest.fixture
def environment(repository):
    path = os.pathsep.join((str(repository), str(repository / "Testing" / "Python")))
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def start(phantom, tmp_path, environment):
    """Start a slow segmentation; returns the process."""
    ct = write_image(phantom.ct.array, phantom.ct, tmp_path / "scan.nii.gz")
    lungs = write_image(phantom.lungs, phantom.ct, tmp_path / "lungs.nii.gz")
    (tmp_path / "models").mkdir()
    processes = []

    def run(*extra):
        command = [sys.executable, "-c", RUNNER, str(tmp_path / "models"), "segment", str(ct)]
        command += ["-o", str(tmp_path / "out"), "--model", "tiny", "--lungs", str(lungs)]
        command += ["--format", "nii.gz", "--no-report", "--device", "cpu", "--progress", "json"]
        process = subprocess.Popen(
            [*command, *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(environment, arguments, tmp_path):
    code = (
        "import sys; from CovidLesionSegLogic.cli import main; code = main(sys.argv[1:]); "
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules]; "
        "sys.exit(code or (str(loaded) if loaded else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_module_runs_from_the_source_tree(repository, tmp_path):
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "CovidLesionSegLogic", "segment", "x"],
        capture_output=True,
        text=True,
        cwd=repository,
        env=clean,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "-o" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX signals")
def test_termination_cancels_cleanly_and_the_json_stays_clean(start, tmp_path):
    process = start("--batch-size", "1")
    for line in process.stdout:
        event = json.loads(line)  # libraries chat on standard output meanwhile
        if event.get("stage") == "segment" and event["done"] == 2:
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    last = [json.loads(line) for line in out.splitlines()][-1]
    assert last == {"event": "error", "code": 130, "message": "Cancelled."}
    assert "a library chats" in err
    assert "a compiled library chats" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pipes close differently on Windows")
def test_a_reader_that_goes_away_stops_the_work(start, tmp_path):
    process = start("--batch-size", "1")
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in process.stderr.read()
    assert not (tmp_path / "out").exists()
