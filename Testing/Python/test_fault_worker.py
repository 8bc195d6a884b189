"""The worker under hostile lines: every request is answered in a sentence, and the next one works.

Requests are made from right ones by putting junk in any place, in any order, between lines that
are no requests at all. They are done in this thread, so that a failure is found again.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
from batch_case import small_ct, small_lungs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from CovidLesionSegLogic.batch import desk, exchange
from CovidLesionSegLogic.batch.desk import LARGEST_ID, lines_of, parse_request
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.study_worker import KNOWN, StudyWorker
from CovidLesionSegLogic.batch.tasks import TASKS
from CovidLesionSegLogic.batch.worker import Worker
from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.ct.raw import RawVolume
from CovidLesionSegLogic.errors import LONGEST_MESSAGE, CovidLesionSegError, RequestError
from CovidLesionSegLogic.models import LesionClass

EXPECTED = (2, 3)
"""Exit codes that name a fault of the request or of a file; 1 would be a fault of the program."""
SLOW = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    "derandomize": True,
    # A shorter example is not worth the minutes that hypothesis would take to find it.
    "phases": [Phase.explicit, Phase.generate],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an exchange folder ``exchange``, and the tiny model for the worker."""
    top = tmp_path_factory.mktemp("worker")
    folder = top / "exchange" / "case"
    folder.mkdir(parents=True)
    hu = small_ct()
    raw = RawVolume(hu, (0.0, 0.0, 0.0), (4.0, 4.0, 5.0), np.eye(3), "Thorax", "The volume")
    for _ in exchange.write_ct(raw, folder):
        pass
    exchange.write_label_map(small_lungs(), raw.grid(), folder, "lungs")
    labels = np.zeros(hu.shape, np.uint8)
    labels[1:3, 12:20, 10:16] = 1
    exchange.write_placed(Placed.of(labels), folder / "labels.raw")
    exchange.write_placed(Placed.of(small_lungs()), folder / "given.raw")
    (top / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        tiny_model.install(top / "models", patch)
        yield top


def right_requests(place: Path) -> dict[str, dict[str, Any]]:
    """One right request of each kind."""

    def box(name: str, start: list[int], stop: list[int]) -> dict[str, Any]:
        shape = [4, 48, 48]
        return {"file": name, "start": start, "stop": stop, "shape": shape, "dtype": "|u1"}

    drawn = {
        "folder": "case",
        "labels": box("labels.raw", [1, 12, 10], [3, 20, 16]),
        "lungs": box("given.raw", [0, 10, 8], [4, 38, 40]),
        "classes": [asdict(LesionClass("infection", 1))],
    }
    run = {
        "provenance": {"model": {"name": "tiny"}, "input": {"path": "a"}, "options": {}},
        "warnings": ["a warning"],
        "gate": None,
        "volumes": [1.0],
    }
    options = {"model": "tiny", "device": "cpu", "lungs": "lungs.nhdr", "batch_size": 4}
    output = str(place / "out")
    return {
        "segment": {"do": "segment", "folder": "case", "options": options},
        "measure": {"do": "measure", **drawn},
        "write": {"do": "write", **drawn, "run": run, "output": output, "formats": ["nii.gz"]},
        "prepare": {"do": "prepare", "options": {"model": "tiny", "device": "cpu"}},
        "devices": {"do": "devices"},
        "cancel": {"do": "cancel"},
    }


def deep(levels: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.integers(-3, 5),
    st.floats(),  # NaN and the infinities, which Python's JSON reads, among them
    st.text(max_size=20),
    st.sampled_from(
        ["", ".", "..", "../x", "/", "/etc/passwd", "a\0b", "\ud800", "\udcff", "x" * 5000, "=1+1"]
    ),
    st.lists(st.integers(-5, 5), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.builds(deep, st.sampled_from([3, 100, 300])),
    st.sampled_from(["O", "V8", "<f8", "<i8", "|S3", "bool", "<M8[s]", "<c16", ">u1"]),
)


def places_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a JSON value something stands."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_of(one, (*path, key))


def with_junk(request: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """A copy with ``junk`` at ``path``; without the entry where junk is the word "absent"."""
    copy = json.loads(json.dumps(request))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if junk == "absent" and isinstance(inner, dict):
        del inner[path[-1]]
    else:
        inner[path[-1]] = junk
    return copy


class Answers:
    """What a worker sends, as another process would read it."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def __call__(self, message: Any) -> None:
        line = json.dumps(message, allow_nan=False, default=str)
        assert "\n" not in line
        self.all.append(json.loads(line))

    def ends(self) -> list[dict[str, Any]]:
        return [one for one in self.all if one["event"] in ("done", "error")]


def done_by(worker: Any, lines: list[str]) -> list[dict[str, Any]]:
    """What the worker answers to lines, and to a right request behind them."""
    answers = Answers()
    worker = worker(answers)
    worker.listen([*lines, '{"do": "exit"}'])
    worker.work()
    return answers.ends()


def check(answers: list[dict[str, Any]]) -> None:
    """Errors are of a documented code, short, one line, and no traceback."""
    for one in answers:
        if one["event"] == "error":
            assert one["code"] in EXPECTED, one
            assert len(one["message"]) <= LONGEST_MESSAGE
            assert "\n" not in one["message"]
            assert "Traceback" not in one["message"]
            assert "details" not in one


def files_of(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if "out" not in p.parts}


@given(data=st.data())
@settings(max_examples=150, **SLOW)
def test_junk_in_any_place_is_refused_in_a_sentence(place: Path, data: st.DataObject) -> None:
    right = right_requests(place)
    before = files_of(place)
    lines, wanted = [], 0
    for number in range(data.draw(st.integers(1, 4))):
        request = right[data.draw(st.sampled_from(sorted(right)))]
        for _ in range(data.draw(st.integers(1, 2))):
            where = data.draw(st.sampled_from(sorted(places_of(request), key=str)))
            junk = data.draw(st.one_of(JUNK, st.just("absent")))
            if where in (("output",), ("do",)) and isinstance(junk, str):
                junk = 7
            request = with_junk(request, where, junk)
            if not isinstance(request.get("do"), str):
                break
        lines.append(json.dumps({**request, "id": number}))
        wanted += request.get("do") not in ("cancel",)
    lines.append(json.dumps({"do": "devices", "id": 99}))
    answers = done_by(lambda send: Worker(place / "exchange", send), lines)
    check(answers)
    assert len(answers) == wanted + 1
    assert answers[-1]["event"] == "done"
    assert answers[-1]["id"] == 99
    written = files_of(place) - before
    assert all(name.startswith("exchange/case/") for name in written), written
    for name in written:
        (place / name).unlink()


@given(data=st.data())
@settings(max_examples=120, **SLOW)
def test_a_damaged_header_in_the_folder_is_told(place: Path, data: st.DataObject) -> None:
    path = place / "exchange" / "case" / "ct.json"
    header = json.loads(path.read_text())
    where = data.draw(st.sampled_from(sorted(places_of(header), key=str)))
    damaged = with_junk(header, where, data.draw(st.one_of(JUNK, st.just("absent"))))
    right = right_requests(place)["measure"]
    try:
        path.write_text(json.dumps(damaged))
        answers = done_by(
            lambda send: Worker(place / "exchange", send), [json.dumps({**right, "id": 1})]
        )
    finally:
        path.write_text(json.dumps(header))
    check(answers)
    assert [one["id"] for one in answers] == [1]


@given(lines=st.lists(st.one_of(st.text(max_size=60), JUNK.map(json.dumps)), max_size=6))
@settings(max_examples=200, **SLOW)
def test_lines_that_are_no_requests_are_each_refused(place: Path, lines: list[str]) -> None:
    lines = [line.replace("\n", " ").replace("\r", " ") for line in lines]
    answers = done_by(lambda send: Worker(place / "exchange", send), lines)
    check(answers)
    assert len(answers) == sum(bool(line.strip()) for line in lines)
    assert all(one["id"] is None for one in answers)


@given(data=st.data())
@settings(max_examples=60, **SLOW)
def test_junk_in_a_study_is_refused_in_a_sentence(place: Path, data: st.DataObject) -> None:
    request = {
        "do": data.draw(st.sampled_from(KNOWN)),
        "study": Study("a", place / "none.nii.gz").to_dict(),
        "settings": Settings().to_dict(),
        "results": str(place / "results"),
    }
    where = data.draw(st.sampled_from([p for p in places_of(request) if p[0] != "do"]))
    request = with_junk(request, where, data.draw(st.one_of(JUNK, st.just("absent"))))
    lines = [json.dumps({**request, "id": 1})]
    answers = done_by(StudyWorker, lines)
    check(answers)
    assert [one["id"] for one in answers] == [1]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "case/../..", "a\0b"])
@pytest.mark.parametrize("do", ["segment", "measure"])
def test_no_name_leads_out_of_the_exchange_folder(place: Path, do: str, name: str) -> None:
    right = right_requests(place)[do]
    for request in (
        {**right, "folder": name},
        {**right, "options": {**right.get("options", {}), "lungs": name}},
        {**right, "labels": {**right.get("labels", {}), "file": name}},
    ):
        if set(request) != set(right):
            continue
        line = json.dumps({**request, "id": 1})
        (answer,) = done_by(lambda send: Worker(place / "exchange", send), [line])
        assert answer["code"] in EXPECTED
        assert "is not a file of the exchange folder" in answer["message"]


@pytest.mark.parametrize(
    "line",
    [
        f'{{"do": {"[" * 950}{"]" * 950}, "id": 1}}',
        json.dumps({"do": "x" * 100_000, "id": 1}),
        json.dumps({"do": "devices", "id": LARGEST_ID + 1}),
        json.dumps({"do": "devices", "id": -(10**4000)}),
        '{"do": "devices", "id": 1e3}',
        '{"do": "devices", "id": NaN}',
        '{"do": "cancel", "id": null}',
        '{"do": {"exit": 1}, "id": 1}',
        "\ufeff{}",
    ],
    ids=range(9),
)
def test_a_refusal_is_short_whatever_came(line: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(line, TASKS)
    assert len(str(caught.value)) < 500


def test_of_a_line_without_end_no_more_is_kept_than_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(desk, "LONGEST_LINE", 100)
    stream = io.StringIO("a\n" + "b" * 10_000_000 + "\nc\n" + "d" * 100 + "\n" + "e" * 101)
    lines = list(lines_of(stream))
    assert [len(line.strip()) for line in lines] == [1, 101, 1, 100, 101]
    for line in (lines[1], lines[4]):
        with pytest.raises(RequestError, match="longer than"):
            parse_request(line, TASKS)


def test_no_line_ends_the_thread_that_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(line: str) -> Any:
        raise MemoryError

    monkeypatch.setattr(desk.json, "loads", failing)
    with pytest.raises(RequestError, match="not JSON"):
        parse_request("{}", TASKS)


WORKER = [sys.executable, "-m", "CovidLesionSegLogic", "worker"]


def test_a_process_goes_on_after_bytes_of_every_kind(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "exchange"
    root.mkdir(mode=0o755)
    noise = np.random.default_rng(5).integers(0, 256, 200_000, np.uint8).tobytes()
    junk = [
        b"\xff\xfe{}",
        b"{" * 5000,
        b'{"do":"\xc3\x28","id":1}',
        b"\0\0\0",
        b"NaN",
        b"x" * 10**6,
    ]
    sent = b"\n".join([*junk, noise, b'{"do":"devices","id":7}', b'{"do":"exit"}', b""])
    done = subprocess.run(
        [*WORKER, "--exchange", str(root)],
        input=sent,
        capture_output=True,
        cwd=repository,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    assert answers[0]["event"] == "ready"
    assert not root.exists()
    lines = io.TextIOWrapper(io.BytesIO(sent), "utf-8", "replace").read().splitlines()
    assert len(answers) > 5
    # "exit" may be taken before or after the last answers are sent, but "devices" is one of them.
    assert len(answers) <= 1 + len(lines)
    check([one for one in answers if one["event"] != "ready"])


@pytest.mark.skipif(os.name == "nt", reason="Windows closes standard streams differently")
def test_a_worker_without_standard_input_says_so(tmp_path: Path, repository: Path) -> None:
    root = tmp_path / "exchange"
    root.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *WORKER, "--exchange", str(root)],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=120,
    )
    assert done.returncode == RequestError.exit_code
    assert "standard input" in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_keep_their_exit_codes() -> None:
    assert {one.exit_code for one in CovidLesionSegError.__subclasses__()} <= {1, 2, 3, 130}
