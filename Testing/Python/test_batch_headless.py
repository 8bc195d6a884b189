"""The command line as Slicer runs it without a window: in plain Python and in the test host."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from batch_case import ROOT, contents, environment, run_batch, write_table
from test_batch_run import statuses

SCRIPT = ROOT / "CovidLesionSeg" / "CovidLesionSegLib" / "headless.py"
FORMATS = ("--no-report", "--format", "nii.gz,seg.nrrd")
# The host's application stands for Slicer's; what it is asked to exit with is printed last.
IN_HOST = """
import json, runpy, sys
import panel_host
script = sys.argv[1]
sys.argv = sys.argv[1:]
with panel_host.running() as host:
    import slicer.util
    codes = []
    slicer.util.exit = codes.append
    runpy.run_path(script, run_name="__main__")
    print(json.dumps({"codes": codes, "dialogs": [list(one) for one in host.dialogs]}))
"""


@pytest.fixture
def table(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return write_table(folder, ["a", "b"])


def plain(batch_models, *arguments):
    """The script in plain Python."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(batch_models),
    )


def hosted(batch_models, *arguments):
    """The script in the host; the process, and what the application was told."""
    env = environment(batch_models)
    env["PYTHONPATH"] += f":{ROOT / 'Testing' / 'Python'}"
    env["QT_QPA_PLATFORM"] = "offscreen"
    done = subprocess.run(
        [sys.executable, "-c", IN_HOST, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    return done, json.loads(done.stdout.splitlines()[-1])


def batch(table, out, *more):
    return ("batch", table, "-o", out, "--lesion-types", "--device", "cpu", *FORMATS, *more)


def test_one_script_one_behaviour(batch_models, table, tmp_path):
    (table.parent / "empty.nrrd").write_bytes(b"")
    with table.open("a", encoding="utf-8") as file:
        file.write("empty.nrrd,\n")
    own = run_batch(batch_models, table, "-o", tmp_path / "own", *FORMATS)
    alone = plain(batch_models, *batch(table, tmp_path / "plain"))
    _, told = hosted(batch_models, *batch(table, tmp_path / "hosted"))
    assert (own.returncode, alone.returncode, told["codes"]) == (4, 4, [4]), alone.stderr
    assert told["dialogs"] == []
    assert statuses(tmp_path / "hosted") == {"a": "done", "b": "done", "empty": "failed"}
    expected = contents(tmp_path / "own")
    assert contents(tmp_path / "plain") == expected
    assert contents(tmp_path / "hosted") == expected


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--version",), 0), (("batch", "nowhere", "-o", "out"), 2), (("nonsense",), 2), ((), 2)],
)
def test_it_ends_on_every_path_with_the_documented_code(batch_models, tmp_path, arguments, code):
    assert plain(batch_models, *arguments).returncode == code
    done, told = hosted(batch_models, *arguments)
    assert told == {"codes": [code], "dialogs": []}, done.stderr


def test_a_package_that_is_missing_ends_it_too(tmp_path):
    lonely = tmp_path / "headless.py"
    lonely.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-S", str(lonely), "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "CovidLesionSegLogic" in done.stderr
