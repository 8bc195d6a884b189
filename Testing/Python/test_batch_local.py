"""The parent of worker processes, with workers that die, hang or fail as no real one may."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from CovidLesionSegLogic.batch import child, local
from CovidLesionSegLogic.batch.checksums import Inputs
from CovidLesionSegLogic.batch.desk import parse_request
from CovidLesionSegLogic.batch.local import LocalRun
from CovidLesionSegLogic.batch.outcome import Outcome
from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.study_worker import StudyWorker
from CovidLesionSegLogic.batch.supply import Waiting
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the workers are scripts")

WORKER = """#!{python}
import json, os, sys, time
record = {record!r}
def tell(**event):
    print(json.dumps(event), flush=True)
tell(event="ready")
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "exit":
        break
    if request["do"] == "prepare":
        tell(event="done", id=request["id"], result={{"device": "cpu", "gpus": 0}})
    elif request["do"] == "study":
        name = request["study"]["name"]
        {body}
        tell(event="done", id=request["id"], result=dict(record, name=name))
"""


class Heard:
    """Keeps what became of each study."""

    def __init__(self) -> None:
        self.ended: dict[str, Outcome] = {}

    def progress(self, study: Study, stage: str, done: int, total: int) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        assert outcome.study.name not in self.ended, "told twice"
        self.ended[outcome.study.name] = outcome


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Sets what the workers do with a study."""
    script = tmp_path / "worker"
    record = Record("", "key", "request", Inputs(1, "a", "b"), {}, {}).to_dict()

    def set_body(body: str) -> None:
        script.write_text(WORKER.format(python=sys.executable, record=record, body=body))
        script.chmod(0o755)

    monkeypatch.setattr(child, "python_program", lambda: str(script))
    monkeypatch.setattr(child, "_PATIENCE_S", 1.0)
    monkeypatch.setattr(local, "_PATIENCE_S", 0.5)
    return set_body


def run(tmp_path: Path, studies: list[Study], cancel: Cancel | None = None) -> Heard:
    heard = Heard()
    LocalRun(Settings(), tmp_path, heard, workers=1, cancel=cancel).run(Waiting(studies))
    return heard


def studies(*names: str) -> list[Study]:
    return [Study(name, Path(name)) for name in names]


def test_a_study_that_kills_its_process_fails_alone(tmp_path, worker):
    worker(
        'tell(event="progress", id=request["id"], stage="read", done=0, total=1)\n'
        '        if name == "b": os.kill(os.getpid(), 9)'
    )
    heard = run(tmp_path, studies("a", "b", "c", "d"))
    assert {n: o.status for n, o in heard.ended.items()} == {
        "a": "done",
        "b": "failed",
        "c": "done",
        "d": "done",
    }
    assert "memory runs out" in heard.ended["b"].reason


def test_processes_that_die_before_they_begin_are_not_replaced_for_ever(tmp_path, worker):
    worker("os._exit(7)")
    with pytest.raises(CovidLesionSegError, match="status 7"):
        run(tmp_path, studies("a", "b"))


def test_a_process_that_hangs_does_not_keep_its_parent_from_ending(tmp_path, worker):
    worker("time.sleep(1000)")
    files = tuple(Path(f"/data/{n:06}" + "x" * 100) for n in range(5000))  # more than a pipe holds
    cancel = Cancel()
    threading.Timer(1.0, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        run(tmp_path, [Study(name, Path(name), files=files) for name in "ab"], cancel)
    assert time.monotonic() - began < 20


def test_a_study_of_very_many_files_can_be_asked_for():
    folder = "\u80ba" * 60
    files = tuple(Path(f"/data/{folder}/{n:06}.dcm") for n in range(20000))
    study = Study("a", Path("/data"), files=files).to_dict()
    line = json.dumps({"do": "study", "id": 1, "study": study})
    assert Study.from_dict(parse_request(line, ["study"])["study"]).files == files


def test_a_step_that_would_end_the_process_is_answered(tmp_path, monkeypatch):
    """A library that calls sys.exit in a thread of the worker: nobody may wait for ever."""
    from CovidLesionSegLogic.batch import process

    def leaves(job: process.Job) -> process.Loaded:
        assert job.study.name != "a" or sys.exit(3)
        raise process.InputError("as it should")

    monkeypatch.setattr(process, "load", leaves)
    told: list[dict] = []
    office = StudyWorker(told.append)
    for number, study in enumerate(studies("a", "b"), 1):
        request = {"do": "study", "id": number, "study": study.to_dict()}
        request |= {"settings": Settings().to_dict(), "results": "r"}
        office.listen([json.dumps(request)])
    office.listen(['{"do": "exit"}'])
    thread = threading.Thread(target=office.work, daemon=True)
    thread.start()
    thread.join(20)
    answers = {one["id"]: one for one in told if one["event"] == "error"}
    assert "SystemExit" in answers[1]["message"]
    assert answers[2]["message"] == "as it should"
