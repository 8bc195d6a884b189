"""The parent's side of a worker: bytes in, callbacks out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from CovidLesionSegLogic.batch.session import Session
from CovidLesionSegLogic.errors import (
    CancelledError,
    CovidLesionSegError,
    InputError,
    RequestError,
)


class Listener:
    """What one request was told."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[CovidLesionSegError] = []
        self.steps: list[tuple[str, int, int]] = []

    def ask(self, session: Session, do: str = "segment", **fields: Any) -> int:
        return session.request(
            do,
            done=self.results.append,
            failed=self.errors.append,
            progress=lambda *step: self.steps.append(step),
            **fields,
        )


@pytest.fixture
def sent() -> list[bytes]:
    return []


@pytest.fixture
def session(sent: list[bytes]) -> Session:
    return Session(sent.append)


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_requests_are_numbered_lines(session: Session, sent: list[bytes]) -> None:
    first, second = Listener().ask(session, folder="a"), Listener().ask(session, "devices")
    assert [json.loads(data) for data in sent] == [
        {"do": "segment", "id": first, "folder": "a"},
        {"do": "devices", "id": second},
    ]
    assert first != second
    assert all(data.endswith(b"\n") and data.count(b"\n") == 1 for data in sent)


def test_every_answer_reaches_who_asked(session: Session) -> None:
    one, two = Listener(), Listener()
    first, second = one.ask(session), two.ask(session)
    session.received(
        line(event="ready")
        + line(event="progress", id=second, stage="lungs", done=1, total=9)
        + line(event="done", id=second, result={"a": 1})
        + line(event="error", id=first, code=3, message="no lungs")
    )
    assert session.ready
    assert not session.busy
    assert (two.results, two.steps) == ([{"a": 1}], [("lungs", 1, 9)])
    assert (one.results, str(one.errors[0])) == ([], "no lungs")
    assert isinstance(one.errors[0], InputError)


def test_a_callback_that_raises_loses_no_answer(session: Session) -> None:
    def stumble(stage: str, done: int, total: int) -> None:
        raise ZeroDivisionError(stage)

    results: list[Any] = []
    number = session.request("segment", done=results.append, failed=pytest.fail, progress=stumble)
    with pytest.raises(ZeroDivisionError, match="lungs"):
        session.received(
            line(event="progress", id=number, stage="lungs", done=1, total=9)
            + line(event="done", id=number, result={"a": 1})
        )
    assert results == [{"a": 1}]


@given(st.lists(st.integers(1, 40), max_size=20))
def test_answers_may_come_in_any_pieces(cuts: list[int]) -> None:
    listener, session = Listener(), Session(lambda data: None)
    number = listener.ask(session)
    stream = b"a library's chatter\n" + b"".join(
        line(event="progress", id=number, stage="s", done=n, total=3) for n in range(3)
    )
    stream += line(event="done", id=number, result={})
    for cut in cuts:
        session.received(stream[:cut])
        stream = stream[cut:]
    session.received(stream)
    assert [done for _, done, _ in listener.steps] == [0, 1, 2]
    assert listener.results == [{}]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(2, RequestError), (3, InputError), (130, CancelledError), (1, CovidLesionSegError)],
)
def test_errors_keep_their_class(session: Session, code: int, kind: type) -> None:
    listener = Listener()
    number = listener.ask(session)
    session.received(line(event="error", id=number, code=code, message="why"))
    assert type(listener.errors[0]) is kind
    assert str(listener.errors[0]) == "why"


def test_a_lost_worker_is_told_once_to_everybody(session: Session) -> None:
    one, two = Listener(), Listener()
    first = one.ask(session)
    two.ask(session)
    session.ended("memory ran out")
    session.received(line(event="done", id=first, result={}))  # too late
    session.ended("again")
    assert [str(e) for e in one.errors + two.errors] == ["memory ran out"] * 2
    assert one.results == []


def test_a_worker_that_was_ended_on_purpose_is_a_cancellation(session: Session) -> None:
    listener = Listener()
    listener.ask(session)
    session.drop()
    assert isinstance(listener.errors[0], CancelledError)


def test_only_an_open_request_is_cancelled(session: Session, sent: list[bytes]) -> None:
    number = Listener().ask(session)
    session.cancel(number)
    session.cancel(number + 1)
    assert [json.loads(data)["do"] for data in sent] == ["segment", "cancel"]


def test_answers_to_nobody_are_ignored(session: Session) -> None:
    for stray in (b"[1, 2]\n", b"null\n", b'{"event": "done", "id": 99, "result": 1}\n', b"\n"):
        session.received(stray)
    assert not session.busy


def test_a_process_that_is_gone_takes_no_request(session: Session, sent: list[bytes]) -> None:
    session.ended("memory ran out")
    with pytest.raises(CovidLesionSegError, match="memory ran out"):
        Listener().ask(session)
    assert (sent, session.busy) == ([], False)
