"""What the system may do to a run: a documented exit code, one sentence, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batch_case
import numpy as np
import pytest
from fault_line import Ended, Line

from CovidLesionSegLogic.ct import read_ct, read_labels, write_image
from CovidLesionSegLogic.engine.device import available_devices
from CovidLesionSegLogic.errors import CancelledError, DeviceError, InputError, RequestError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="faults are made as on Linux")

DONE, CANCELLED = 0, CancelledError.exit_code
FILES = {
    "scan_labels.nii.gz",
    "scan_lungs.nii.gz",
    "scan_quantification.csv",
    "scan_quantification.json",
}
FORMATS = ("--format", "nii.gz", "--no-report")
CUDA_FAILS = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be "
    "asynchronously reported at some other API call.\nFor debugging consider ..."
)


def segment(line: Line, out: Path | str, *more: object, ct: Path | None = None) -> list[object]:
    """Arguments for a quick run that tells no progress."""
    given = ["segment", ct or line.folder / "scan.nii.gz", "-o", out, "--model", "tiny"]
    given += ["--lungs", line.folder / "lungs.nii.gz", "--device", "cpu", "--engine", "torch"]
    return [*given, *FORMATS, "--progress", "none", *more]


def files(folder: Path) -> set[str]:
    """All files below, hidden ones and folders included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check_failed(ended: Ended, code: int, words: str = "") -> None:
    """It ended with the code, and one sentence for people."""
    assert ended.code == code, ended
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert words in ended.err
    for fault in ("Traceback", "internal error"):
        assert fault not in ended.err


def check_whole(folder: Path, more: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A complete result whose files belong together; its numbers."""
    assert files(folder) == FILES | more
    numbers: dict[str, Any] = json.loads((folder / "scan_quantification.json").read_text())
    ct = read_ct(folder / ".." / "scan.nii.gz")
    labels = read_labels(folder / "scan_labels.nii.gz", ct)
    volume = np.count_nonzero(labels) * ct.voxel_volume_ml
    assert numbers["total"]["volume_ml"] == pytest.approx(volume)
    with (folder / "scan_quantification.csv").open(encoding="utf-8-sig", newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["volume_ml"]) == pytest.approx(volume)
    return numbers


def test_a_run_that_nothing_befalls_is_whole(line: Line) -> None:
    assert line.run(*segment(line, line.folder / "fine")).code == DONE
    check_whole(line.folder / "fine")


# --- the disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [300, 1500, 4000])
def test_where_files_may_not_grow_nothing_is_left(line: Line, most: int) -> None:
    out = line.folder / f"limit-{most}"
    ended = line.run(*segment(line, out, "--probability"), faults={"file_size": most})
    check_failed(ended, RequestError.exit_code, "cannot be written")
    assert not out.exists()


@pytest.fixture
def small_disk(line: Line) -> Iterator[Path]:
    """A disk of 40 kB; skipped where none may be made."""
    disk = line.folder / "disk"
    disk.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk of our own may not be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_keeps_the_earlier_result(line: Line, small_disk: Path) -> None:
    assert line.run(*segment(line, small_disk)).code == DONE
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    ended = line.run(*segment(line, small_disk, "--probability", "--threshold", "0.9"))
    check_failed(ended, RequestError.exit_code, "free some space")
    assert ".partial" not in ended.err
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == before


def test_a_disk_that_may_only_be_read_is_refused_before_the_work(
    line: Line, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    mark = line.folder / "computed"
    faults = {"when_computing": ["mark", str(mark)]}
    ended = line.run(*segment(line, small_disk / "out"), faults=faults)
    check_failed(ended, RequestError.exit_code, "cannot be written")
    assert not mark.exists()


def test_a_disk_that_becomes_read_only_meanwhile_is_told(line: Line, small_disk: Path) -> None:
    mark = line.folder / "computing-still"
    faults = {"when_computing": ["mark", str(mark), 0.5]}
    run = line.start(*segment(line, small_disk / "out"), faults=faults)
    run.wait_for(mark)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    check_failed(run.wait(), RequestError.exit_code, "cannot be written")
    assert files(small_disk) == set()


@pytest.mark.parametrize("when", ["when_computing", "when_writing", "when_moving"])
def test_an_output_folder_that_vanishes(line: Line, when: str) -> None:
    out = line.folder / f"gone-{when}"
    out.mkdir()
    ended = line.run(*segment(line, out), faults={when: ["gone", str(out)]})
    if when == "when_computing":  # it is made again
        assert ended.code == DONE
        check_whole(out)
    else:
        check_failed(ended, RequestError.exit_code, "cannot be written")
        assert not out.exists() or not files(out)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_no_writer_calls_a_cut_file_written(line: Line, suffix: str) -> None:
    """Each image writer at every size from nothing to all of the file."""
    report = line.folder / f"cut{suffix}.json"
    faults = {"cut_writers": [str(report), suffix]}
    assert line.run("--version", faults=faults).code == DONE
    outcomes = json.loads(report.read_text())
    assert len(outcomes) > 10
    assert {one["end"] for one in outcomes} == {"RequestError", "written"}
    for one in outcomes:
        assert one["whole"] == (one["end"] == "written"), one
        assert one["left"] == ([f"image{suffix}"] if one["whole"] else []), one


# --- signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["when_computing", "when_writing"])
def test_a_termination_leaves_the_folder_as_it_was(line: Line, when: str) -> None:
    out = line.folder / f"term-{when}"
    assert line.run(*segment(line, out)).code == DONE
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    mark = line.folder / f"term-{when}.mark"
    run = line.start(*segment(line, out), faults={when: ["mark", str(mark), 0.3]})
    run.wait_for(mark)
    os.kill(run.pid, signal.SIGTERM)
    check_failed(run.wait(), CANCELLED, "Cancelled.")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("when", ["when_computing", "when_writing", "when_moving"])
def test_after_a_kill_the_next_run_leaves_a_whole_result_and_nothing_else(
    line: Line, when: str
) -> None:
    out = line.folder / f"kill-{when}"
    first = line.run(*segment(line, out, "--probability", "--threshold", "0.9"))
    assert first.code == DONE
    mark = line.folder / f"kill-{when}.mark"
    run = line.start(*segment(line, out), faults={when: ["mark", str(mark), 30]})
    run.wait_for(mark)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait().code == -signal.SIGKILL
    there = [name for name in files(out) if not name.startswith(".partial-")]
    if when != "when_moving":
        assert set(there) == FILES | {"scan_probability.nii.gz"}
    assert line.run(*segment(line, out, "--threshold", "0.2")).code == DONE
    numbers = check_whole(out)
    assert numbers["provenance"]["options"]["threshold"] == 0.2


@pytest.mark.parametrize("step", [2, 4, 7, 9])
def test_moves_that_a_kill_cut_short_are_finished(line: Line, step: int) -> None:
    """Whatever is next in that folder: what was killed had all its files, none is lost."""
    out = line.folder / f"moves-{step}"
    assert line.run(*segment(line, out, "--probability", "--threshold", "0.9")).code == DONE
    faults = {"when_moving": ["killed", step]}
    assert line.run(*segment(line, out, "--threshold", "0.2"), faults=faults).code == -9
    other = batch_case.write_case(line.folder, "other", seed=3)
    assert line.run(*segment(line, out, ct=other)).code == DONE
    others = {name.replace("scan", "other") for name in FILES}
    assert check_whole(out, frozenset(others))["provenance"]["options"]["threshold"] == 0.2


# --- memory and devices -------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 2 << 20, 4 << 20, 8 << 20])
def test_with_little_memory_it_is_done_or_told(line: Line, more: int) -> None:
    out = line.folder / f"memory-{more}"
    ended = line.run(*segment(line, out), faults={"memory": more})
    if ended.code == DONE:
        check_whole(out)
    else:
        check_failed(ended, InputError.exit_code, "not enough memory")
        assert not out.exists()


def test_a_graphics_card_that_fails_in_the_middle(line: Line) -> None:
    out = line.folder / "card"
    faults = {"when_computing": ["raised", CUDA_FAILS]}
    ended = line.run(*segment(line, out), faults=faults)
    check_failed(ended, DeviceError.exit_code, "failed (CUDA error: an illegal memory access")
    assert "--device cpu" in ended.err
    assert not out.exists()


def test_a_missing_graphics_card_is_told_before_the_work(line: Line) -> None:
    if "cuda:7" in available_devices():
        pytest.skip("this machine has eight graphics cards")
    given = segment(line, line.folder / "none")
    given[given.index("cpu")] = "cuda:7"
    check_failed(line.run(*given), RequestError.exit_code, "not available")


def test_a_worker_ends_after_a_graphics_card_has_failed(tmp_path: Path) -> None:
    from CovidLesionSegLogic.batch.tasks import TASKS
    from CovidLesionSegLogic.batch.worker import Worker

    def failing(request: Any, context: Any) -> Any:
        raise DeviceError("The device 'cuda:0' failed (CUDA error): run again.")

    answers: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "prepare", failing)
        worker = Worker(tmp_path, answers.append)
        worker.listen(['{"do": "prepare", "id": 1}', '{"do": "devices", "id": 2}'])
        worker.work()  # and returns, though nobody said "exit"
    assert [(one.get("id"), one.get("code")) for one in answers[1:]] == [(1, 1)]


# --- clocks, neighbours, names, networks, streams -----------------------------------------------


def test_a_clock_that_was_set_back_changes_nothing(line: Line) -> None:
    out = line.folder / "clock"
    day = 86_400.0
    assert line.run(*segment(line, out), faults={"clock": 400 * day}).code == DONE
    later = time.time() + 400 * day
    for path in out.iterdir():
        os.utime(path, (later, later))
    ended = line.run(*segment(line, out, "--threshold", "0.2"), faults={"clock": -400 * day})
    assert ended.code == DONE, ended
    assert check_whole(out)["provenance"]["options"]["threshold"] == 0.2


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "\x1bno zone"])
def test_a_clock_that_runs_back_in_any_zone(line: Line, zone: str) -> None:
    out = line.folder / f"zone-{len(zone)}"
    given = [one for one in segment(line, out) if one != "--no-report"]
    ended = line.run(*given, faults={"clock_runs_back": 3600.0}, TZ=zone)
    assert ended.code == DONE, ended
    (numbers,) = out.glob("*_quantification.json")
    told = json.loads(numbers.read_text())["provenance"]
    assert told["seconds"]
    assert all(seconds >= 0 for seconds in told["seconds"].values())
    assert told["started"].endswith("+00:00")
    assert re.search(r"-\d+(\.\d+)? s\b", ended.out + ended.err) is None


def test_runs_into_one_folder_at_a_time_leave_the_result_of_one(line: Line) -> None:
    out = line.folder / "together"
    faults = {"when_moving": ["sleep", 0.05]}
    given = [segment(line, out, "--threshold", str(t), *p) for t, p in COMPETING]
    runs = [line.start(*one, faults=faults) for one in given]
    assert [run.wait().code for run in runs] == [DONE] * len(runs)
    whole = [FILES | ({"scan_probability.nii.gz"} if p else set()) for _, p in COMPETING]
    assert files(out) in whole
    check_whole(out, frozenset(files(out) - FILES))


COMPETING = ((0.02, ()), (0.5, ("--probability",)), (0.98, ()))


def test_another_study_never_takes_the_place_of_one_that_came_meanwhile(line: Line) -> None:
    """Both find the folder empty when they begin."""
    out = line.folder / "same-name"
    other = batch_case.write_case(line.folder, "another", seed=5)
    mark = line.folder / "same-name.mark"
    faults = {"when_computing": ["mark", str(mark), 1.0]}
    slow = line.start(*segment(line, out, "--name", "scan", ct=other), faults=faults)
    slow.wait_for(mark)
    assert line.run(*segment(line, out)).code == DONE
    check_failed(slow.wait(), RequestError.exit_code, "another study")
    assert check_whole(out)["provenance"]["input"]["path"].endswith("scan.nii.gz")


def test_a_path_as_long_as_paths_may_be(line: Line) -> None:
    deep = line.folder / "deep"
    deep.mkdir()
    while len(os.fsencode(deep)) < 3700:
        deep = deep / ("ä" * 60)
    assert line.run(*segment(line, deep / "out")).code == DONE
    assert {path.name for path in (deep / "out").iterdir()} == FILES
    ended = line.run(*segment(line, deep / ("b" * 250) / ("c" * 250)))
    check_failed(ended, RequestError.exit_code, "cannot be written")


def test_names_in_any_script_and_in_no_code(line: Line) -> None:
    hard = (
        "new\nline",
        "-o",
        "--help",
        "$(touch x)`;",
        "'\"",
        "😀",
        "\u202egpj",
        "=1+1",
        " a ",
        "%s",
    )
    for name in ("日本 语", "Ž\u0301-é", *hard):
        out = line.folder / "names" / name
        source = line.folder / "given" / name / "scan.nii.gz"
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(line.folder / "scan.nii.gz", source)
        ended = line.run(*segment(line, out, ct=source))
        assert ended.code == DONE, ended
        assert {path.name for path in out.iterdir()} == FILES
    assert not (line.folder / "x").exists()


def test_names_that_are_no_text_are_read_and_not_written(line: Line) -> None:
    """Bytes of a Linux path need not be UTF-8; with such a name ITK would end the process."""
    source = line.folder / "\udcff\udcfe" / "scan.nii.gz"
    source.parent.mkdir()
    shutil.copy(line.folder / "scan.nii.gz", source)
    assert line.run(*segment(line, line.folder / "bytes", ct=source)).code == DONE
    ended = line.run(*segment(line, line.folder / "\udcff\udcfe" / "out"))
    check_failed(ended, RequestError.exit_code, "not valid UTF-8")
    lungs = source.with_name("lungs.nrrd")
    ct = read_ct(line.folder / "scan.nii.gz")
    shutil.copy(write_image(batch_case.small_lungs(), ct, line.folder / "lungs.nrrd"), lungs)
    ended = line.run(*segment(line, line.folder / "bytes", "--lungs", lungs, ct=source))
    assert ended.code in (DONE, InputError.exit_code), ended


def test_it_needs_no_network_and_asks_for_none(line: Line) -> None:
    report = line.folder / "network.txt"
    ended = line.run(*segment(line, line.folder / "alone"), faults={"no_network": str(report)})
    assert ended.code == DONE, ended
    assert not report.exists(), report.read_text()


def test_report_and_worker_need_no_network(line: Line) -> None:
    report, out = line.folder / "network-2.txt", line.folder / "alone-2"
    faults = {"no_network": str(report)}
    given = [one for one in segment(line, out) if one not in FORMATS]
    ended = line.run(*given, "--format", "seg.nrrd,nii.gz", faults=faults)
    assert ended.code == DONE, ended
    assert (out / "scan_report.html").is_file()
    (line.folder / "alone-exchange").mkdir()
    asked = line.folder / "asked"
    os.mkfifo(asked)
    exchange = line.folder / "alone-exchange"
    run = line.start("worker", "--exchange", exchange, faults=faults, stdin=str(asked))
    with asked.open("w", encoding="utf-8") as requests:  # its end would end the worker's work
        options = {"model": "tiny", "device": "cpu"}
        for one in ({"do": "devices", "id": 1}, {"do": "prepare", "id": 2, "options": options}):
            requests.write(json.dumps(one) + "\n")
            requests.flush()
            run.wait_for_text(f'{{"event": "done", "id": {one["id"]}')
        requests.write('{"do": "exit"}\n')
    assert run.wait().code == DONE
    assert not report.exists(), report.read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_batch_without_any_network(tmp_path: Path) -> None:
    """In a place without even a network to itself."""
    alone = ["unshare", "--net", "--"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("the network may not be taken away here")
    table = batch_case.write_table(tmp_path, ["a"])
    command = batch_case.batch_command(table, "-o", tmp_path / "out", "--format", "nii.gz")
    environment = batch_case.environment(tmp_path / "models")
    done = subprocess.run(
        [*alone, *command], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == DONE, done.stderr
    assert (tmp_path / "out" / "summary.html").is_file()


@pytest.mark.parametrize("how", ["text", "json"])
def test_standard_output_on_a_full_disk(line: Line, how: str) -> None:
    out = line.folder / f"stdout-{how}"
    given = segment(line, out)
    given[given.index("none")] = how
    ended = line.run(*given, faults={"stream": ["stdout", "/dev/full"]})
    assert ended.code == RequestError.exit_code
    assert "Standard output cannot be written" in ended.err
    assert "Traceback" not in ended.err
    if out.exists():
        check_whole(out)


def test_standard_error_on_a_full_disk_stops_nothing(line: Line) -> None:
    out = line.folder / "stderr"
    given = segment(line, out)
    given[given.index("none")] = "text"
    assert line.run(*given, faults={"stream": ["stderr", "/dev/full"]}).code == DONE
    check_whole(out)


def test_without_any_folder_for_temporary_files(line: Line) -> None:
    out = line.folder / "no-temporary"
    given = [one for one in segment(line, out) if one != "--no-report"]
    nowhere = str(line.folder / "scan.nii.gz" / "none")
    ended = line.run(*given, faults={"no_temporary": nowhere}, HOME=nowhere, TMPDIR=nowhere)
    assert ended.code == DONE, ended
    assert "matplotlib cannot be used" in ended.err
    check_whole(out)


@pytest.mark.slow
def test_a_bare_system(tmp_path: Path, lesion_cards: list[Any]) -> None:
    """No home, no place for temporary files, no UTF-8, no standard streams, an odd umask."""
    folder = tmp_path / "Größe 日本"
    folder.mkdir()
    ct = batch_case.write_case(folder, "Thorax é")
    environment = os.environ | {"PYTHONPATH": str(batch_case.ROOT), "OMP_NUM_THREADS": "1"}
    for name in ("HOME", "LANG", "LC_CTYPE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        environment.pop(name, None)
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "file").touch()  # below which nobody can make a folder
    environment |= dict.fromkeys(("HOME", "TMPDIR"), str(tmp_path / "file" / "none"))
    command = [sys.executable, "-m", "CovidLesionSegLogic", "segment", str(ct)]
    smallest = min(lesion_cards, key=lambda card: card.weights.bytes)
    command += ["--model", smallest.name, "--lungs", str(folder / "lungs.nii.gz")]
    command += ["-o", str(folder / "out"), "--device", "cpu", *FORMATS, "--progress", "none"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'umask 077; exec "$@" <&- >&-', "sh", *command],
        stderr=subprocess.PIPE,
        env=environment,
        cwd=batch_case.ROOT,
        timeout=300,
    )
    assert done.returncode == DONE, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(list((folder / "out").iterdir())) == len(FILES)
