"""The worker: one request after the other, cancelled in between, gone with its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model

from CovidLesionSegLogic.batch import exchange
from CovidLesionSegLogic.batch.desk import parse_request
from CovidLesionSegLogic.batch.handed import read_result
from CovidLesionSegLogic.batch.tasks import TASKS
from CovidLesionSegLogic.batch.worker import Worker
from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.ct.raw import RawVolume
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.phantom import Phantom
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct


class Lines:
    """Lines that a test writes while the worker listens."""

    def __init__(self) -> None:
        import queue

        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def put(self, **message: Any) -> None:
        self._lines.put(json.dumps(message) + "\n")

    def close(self) -> None:
        self._lines.put(None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines.get, None)


class Office:
    """A worker in this process, with its listener and its work in threads of their own."""

    def __init__(self, root: Path) -> None:
        self.lines, self.answers = Lines(), list[dict[str, Any]]()
        self._changed = threading.Condition()
        worker = Worker(root, self._take)
        self._threads = [
            threading.Thread(target=worker.listen, args=(self.lines,), daemon=True),
            threading.Thread(target=worker.work, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _take(self, message: Any) -> None:
        with self._changed:
            self.answers.append(json.loads(json.dumps(message, default=str, allow_nan=False)))
            self._changed.notify_all()

    def wait(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(condition, self.answers)), 120)
            return next(a for a in self.answers if condition(a))

    def answer(self, number: int | None) -> dict[str, Any]:
        return self.wait(lambda a: a.get("event") in ("done", "error") and a["id"] == number)

    def close(self) -> None:
        self.lines.put(do="exit")
        self.lines.close()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def root(tmp_path: Path, phantom: Phantom) -> Path:
    """An exchange folder with the phantom and its lungs in ``case``."""
    folder = tmp_path / "exchange" / "case"
    folder.mkdir(parents=True)
    ct = phantom.ct
    raw = RawVolume(ct.array, ct.origin, ct.spacing, ct.direction, "Thorax", "The volume 'Thorax'")
    for _ in exchange.write_ct(raw, folder):
        pass
    exchange.write_label_map(phantom.lungs, ct, folder, "lungs")
    return folder.parent


@pytest.fixture
def office(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    models = tmp_path / "models"
    models.mkdir()
    tiny_model.install(models, monkeypatch)
    office = Office(root)
    yield office
    office.close()


OPTIONS = {"model": "tiny", "device": "cpu", "lungs": "lungs.nhdr"}


def test_a_segmentation_equals_that_of_the_pipeline(
    office: Office, root: Path, phantom: Phantom
) -> None:
    office.lines.put(do="segment", id=1, folder="case", options=OPTIONS | {"probability": True})
    answer = office.answer(1)
    assert answer["event"] == "done", answer
    result = read_result(answer["result"], root / "case", phantom.ct)
    lungs = root / "case" / "lungs.nhdr"
    expected = segment_ct(
        phantom.ct,
        SegmentOptions(model="tiny", device="cpu", lungs=lungs, probability=True),
    )
    np.testing.assert_array_equal(result.labels.whole(), expected.labels)
    np.testing.assert_array_equal(result.lungs.whole(), expected.lungs)
    assert result.probability is not None
    assert expected.probability is not None
    np.testing.assert_array_equal(
        result.probability[0].whole(), expected.probability[0].astype(np.float32)
    )
    assert result.classes == expected.classes
    assert result.quantification.total == expected.quantification.total
    assert result.quantification.study == "Thorax"
    stages = {a["stage"] for a in office.answers if a["event"] == "progress"}
    assert stages == {"load", "lungs", "segment", "quantify"}


def test_the_second_run_finds_its_network_loaded(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from CovidLesionSegLogic.models import kept

    loads: list[str] = []
    real = kept.load_fast_network

    def counted(card: Any, device: Any) -> Any:
        loads.append(card.name)
        return real(card, device)

    monkeypatch.setattr(kept, "load_fast_network", counted)
    for number in (1, 2):
        office.lines.put(do="segment", id=number, folder="case", options=OPTIONS)
        assert office.answer(number)["event"] == "done"
    assert loads == ["tiny"]


def test_a_result_is_not_written_over_by_the_next(office: Office) -> None:
    files: list[str] = []
    for number in (1, 2):
        options = OPTIONS | {"probability": True}
        office.lines.put(do="segment", id=number, folder="case", options=options)
        result = office.answer(number)["result"]
        boxes = (result["labels"], result["lungs"], *result["probability"])
        files += [box["file"] for box in boxes]
    assert len(set(files)) == len(files)


def test_a_cancelled_request_stops_and_the_next_one_works(office: Office) -> None:
    office.lines.put(do="segment", id=1, folder="case", options=OPTIONS | {"batch_size": 1})
    office.wait(lambda a: a.get("stage") == "segment")
    office.lines.put(do="cancel", id=1)
    answer = office.answer(1)
    assert (answer["event"], answer["code"]) == ("error", 130)
    office.lines.put(do="segment", id=2, folder="case", options=OPTIONS)
    assert office.answer(2)["event"] == "done"


def test_a_request_is_cancelled_before_its_turn(office: Office) -> None:
    for number in (1, 2):
        office.lines.put(do="segment", id=number, folder="case", options=OPTIONS)
    office.lines.put(do="cancel", id=2)
    assert office.answer(2)["code"] == 130
    assert not any(a.get("id") == 2 and a["event"] == "progress" for a in office.answers)


def test_corrected_labels_are_measured(office: Office, root: Path, phantom: Phantom) -> None:
    folder = root / "case"
    labels = np.zeros(phantom.ct.shape, np.uint8)
    z, y, x = (int(i[0]) for i in np.nonzero(phantom.lungs))
    labels[z, y, x] = 1
    told = exchange.write_placed(Placed.of(labels), folder / "edited.raw")
    lungs = exchange.write_placed(Placed.of(phantom.lungs), folder / "edited-lungs.raw")
    one = asdict(tiny_model_class())
    office.lines.put(do="measure", id=1, folder="case", labels=told, lungs=lungs, classes=[one])
    numbers = office.answer(1)["result"]["numbers"]
    assert numbers["total"]["volume_ml"] == pytest.approx(phantom.ct.voxel_volume_ml)


def tiny_model_class() -> Any:
    from CovidLesionSegLogic.models import LesionClass

    return LesionClass("infection", 1)


def test_files_say_whether_the_labels_were_corrected(
    office: Office, root: Path, tmp_path: Path
) -> None:
    office.lines.put(do="segment", id=1, folder="case", options=OPTIONS)
    result = office.answer(1)["result"]
    numbers = result["numbers"]
    run = {
        "provenance": numbers["provenance"],
        "warnings": [],
        "gate": None,
        "volumes": [c["volume_ml"] for c in numbers["classes"]],
    }
    fields = {name: result[name] for name in ("labels", "lungs", "classes")}
    for number, volumes in ((2, run["volumes"]), (3, [0.0])):
        output = tmp_path / f"out{number}"
        office.lines.put(
            do="write",
            id=number,
            folder="case",
            output=str(output),
            formats=["nii.gz"],
            run=run | {"volumes": volumes},
            **fields,
        )
        outputs = office.answer(number)["result"]["outputs"]
        assert all(Path(path).is_file() for path in outputs.values())
        saved = json.loads(Path(outputs["quantification_json"]).read_text())
        assert any("corrected by hand" in w for w in saved["warnings"]) == (number == 3)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"do": "segment", "folder": "../case"}, "not a file of the exchange folder"),
        ({"do": "segment", "folder": "case", "options": {"modell": "x"}}, "no option 'modell'"),
        ({"do": "segment", "folder": "case", "options": {"lungs": "/etc/passwd"}}, "not a file"),
        ({"do": "segment", "folder": "case", "options": 3}, "must be an object"),
        ({"do": "segment"}, "needs a 'folder'"),
        ({"do": "segment", "folder": "other"}, "start the run again"),
        ({"do": "segment", "folder": "case", "options": {"model": "none"}}, "no lesion model"),
        ({"do": "measure", "folder": "case"}, "needs 'labels'"),
    ],
)
def test_a_wrong_request_is_answered_in_a_sentence(
    office: Office, request_: dict[str, Any], words: str
) -> None:
    office.lines.put(id=7, **request_)
    answer = office.answer(7)
    assert answer["event"] == "error"
    assert answer["code"] in (2, 3)
    assert words in answer["message"]
    assert "Traceback" not in answer["message"]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "3",
        '{"do": "fly", "id": 1}',
        '{"do": "segment"}',
        "[" * 100000,
        '{"do": "segment", "id": true}',
        '{"do": ["segment"], "id": 1}',
        "x" * (1 << 21),
        '{"do": "devices", "id": ' + "1" * 5000 + "}",
    ],
)
def test_what_is_no_request_is_refused(line: str) -> None:
    with pytest.raises(RequestError):
        parse_request(line, TASKS)


def test_a_fault_inside_a_task_is_told_and_survived(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(request: Any, context: Any) -> Any:
        raise ZeroDivisionError("a fault")

    monkeypatch.setitem(TASKS, "prepare", fails)
    office.lines.put(do="prepare", id=1)
    answer = office.answer(1)
    assert (answer["code"], "a fault" in answer["message"]) == (1, True)
    assert "ZeroDivisionError" in answer["details"]
    office.lines.put(do="devices", id=2)
    assert office.answer(2)["result"]["devices"][0]["name"] == "cpu"


def test_an_answer_that_json_cannot_say_is_told_and_survived(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "prepare", lambda request, context: {"share": float("nan")})
    office.lines.put(do="prepare", id=1)
    assert "cannot be told" in office.answer(1)["message"]
    office.lines.put(do="devices", id=2)
    assert office.answer(2)["result"]["devices"][0]["name"] == "cpu"


def test_no_memory_is_told_in_plain_words(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: Any, context: Any) -> Any:
        raise MemoryError

    monkeypatch.setitem(TASKS, "prepare", fails)
    office.lines.put(do="prepare", id=1)
    assert "not enough memory" in office.answer(1)["message"]


def test_a_number_in_use_is_refused_and_the_next_request_works(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setitem(TASKS, "prepare", lambda request, context: {"waited": go_on.wait(60)})
    for _ in range(2):
        office.lines.put(do="prepare", id=1)
    assert "open request" in office.answer(None)["message"]
    go_on.set()
    assert office.answer(1)["result"] == {"waited": True}
    office.lines.put(do="devices", id=2)
    assert office.answer(2)["event"] == "done"


def start(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "CovidLesionSegLogic", "worker", "--exchange", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def first_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def test_the_process_ends_with_its_parent_and_leaves_no_image(root: Path) -> None:
    process = start(root)
    assert first_line(process)["event"] == "ready"
    assert process.stdin is not None
    process.stdin.write(
        json.dumps({"do": "segment", "id": 1, "folder": "case", "options": {}}).encode() + b"\n"
    )
    process.stdin.flush()
    assert first_line(process)["event"] == "progress"
    began = time.monotonic()
    process.stdin.close()
    assert process.wait(30) == 0
    assert time.monotonic() - began < 20
    assert not root.exists()


def test_the_process_ends_when_asked(root: Path) -> None:
    process = start(root)
    answer = first_line(process)
    assert answer["process"] == process.pid != os.getpid()
    assert process.stdin is not None
    process.stdin.write(b'{"do": "exit"}\n')
    process.stdin.flush()
    assert process.wait(30) == 0


def test_a_line_that_is_no_text_is_refused_and_the_next_one_works(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")  # as the panel does
    process = start(root)
    assert first_line(process)["event"] == "ready"
    assert process.stdin is not None
    process.stdin.write(b'\xff\n{"do": "exit"}\n')
    process.stdin.flush()
    answer = first_line(process)
    assert (answer["event"], answer["id"]) == ("error", None)
    assert process.wait(30) == 0


TAKES_INPUT = """
import pathlib, subprocess, sys, time
from CovidLesionSegLogic.batch import tasks
from CovidLesionSegLogic.cli import main

def prepare(request, context):
    child = [sys.executable, "-c", "import sys; print(len(sys.stdin.read()))"]
    return {"taken": int(subprocess.run(child, stdout=subprocess.PIPE, timeout=10).stdout)}

tasks.TASKS["prepare"] = prepare
main(["worker", "--exchange", sys.argv[1]])
"""


def test_no_child_process_takes_the_requests(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TAKES_INPUT, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert first_line(process)["event"] == "ready"
    assert process.stdin is not None
    process.stdin.write(b'{"do": "prepare", "id": 1}\n')
    process.stdin.flush()
    assert first_line(process)["result"] == {"taken": 0}
    process.stdin.close()
    assert process.wait(30) == 0


def test_the_exchange_folder_must_exist(tmp_path: Path) -> None:
    process = start(tmp_path / "missing")
    _, errors = process.communicate()
    assert process.returncode == RequestError.exit_code
    assert b"does not exist" in errors
