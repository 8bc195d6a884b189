"""Runs into one folder: locks that others hold, do not know, or have copies of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from CovidLesionSegLogic.outputs import claim, moves
from CovidLesionSegLogic.outputs.folder import staged_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows locks no folders")


def put(folder: Path, name: str, text: str) -> None:
    with staged_folder(folder) as staged:
        (staged / name).write_text(text)


def test_a_folder_locked_for_the_run_itself_does_not_stop_it(tmp_path, monkeypatch):
    """As by flock(1), which holds the lock as long as the command runs."""
    import fcntl

    monkeypatch.setattr(claim, "PATIENCE", 0.1)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        put(tmp_path, "a", "1")
    finally:
        os.close(handle)
    assert (tmp_path / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["a"]


def test_a_child_forked_meanwhile_keeps_no_lock(tmp_path):
    with claim.hold(tmp_path) as mine:
        assert mine
        inherited = [int(n) for n in os.listdir("/proc/self/fd")] if os.path.isdir("/proc") else []
        same = [n for n in inherited if _leads_to(n, tmp_path)]
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, pass_fds=same)
    try:
        with claim.hold(tmp_path, wait=False) as again:
            assert again
    finally:
        child.communicate(b"\n")


def _leads_to(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False


def other_machine(monkeypatch) -> None:
    monkeypatch.setattr(moves.platform, "node", lambda: "another")


def test_a_run_of_another_machine_is_left_alone(tmp_path, monkeypatch):
    """Locks on many network drives are known to one machine only."""
    work = tmp_path / f"{moves.PREFIX}abcdefgh"
    (work / "new").mkdir(parents=True)
    moves.sign(work)
    other_machine(monkeypatch)
    put(tmp_path, "a", "1")
    assert (work / "new").is_dir()
    for path in (work, *work.iterdir()):
        os.utime(path, (time.time() - 90_000,) * 2)
    put(tmp_path, "a", "2")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("here", [True, False])
def test_what_a_killed_run_left_goes_and_its_moves_are_finished(tmp_path, monkeypatch, here):
    for name, inside in (("abcdefgh", "new"), ("abcdefgi", "moving")):
        work = tmp_path / f"{moves.PREFIX}{name}"
        (work / inside).mkdir(parents=True)
        (work / inside / f"from-{inside}").write_text("1")
        (work / "going.json").write_text("[]")
        moves.sign(work)
    if not here:
        other_machine(monkeypatch)
    put(tmp_path, "a", "1")
    left = set() if here else {f"{moves.PREFIX}abcdefgh"}
    assert set(os.listdir(tmp_path)) == {"a", "from-moving"} | left


def test_a_finished_run_has_no_say_in_what_later_ones_wrote(tmp_path, monkeypatch):
    """Killed after its last move, before its hidden folder was gone."""
    (tmp_path / "b").write_text("old")
    work = tmp_path / f"{moves.PREFIX}abcdefgh"
    (work / "new").mkdir(parents=True)
    (work / "new" / "a").write_text("1")
    moves.move_all(work / "new", tmp_path, work, ["b"])
    assert not (tmp_path / "b").exists()
    (tmp_path / "b").write_text("of another run")
    moves.settle(tmp_path)
    assert (tmp_path / "b").read_text() == "of another run"
