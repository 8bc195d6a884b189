"""What lies in the folder of a batch may be anybody's: it is used if it is ours, or done again."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import any_json
import batch_case
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentences import UNCLEAN, checked

from CovidLesionSegLogic.batch.case_table import read_cases
from CovidLesionSegLogic.batch.checksums import Inputs
from CovidLesionSegLogic.batch.outcome import FAILED, KEPT, Outcome
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.privacy import Pseudonyms
from CovidLesionSegLogic.batch.record import Record, read_record, write_record
from CovidLesionSegLogic.batch.remote import Exchange
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Remote, Study
from CovidLesionSegLogic.batch.summary import write_summary
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.outputs.names import file_stem

links = pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def record(name: str = "a", **changes: Any) -> Record:
    outputs = {"labels": {"file": f"{name}_labels.nii.gz", "bytes": 3}}
    told = Record(name, "key", "request", Inputs(1, "s", "c"), outputs, batch_case.NUMBERS, 1.5)
    return Record(**{**vars(told), **changes})


def place(root: Path, text: str, name: str = "a") -> Path:
    """A study's folder with a record of that text."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_batch.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"name_words": [1]}, {"name_words": 5}, {"remote": {"study_uid": 5, "address": "x"}},
     {"remote": []}],
)  # fmt: skip
def test_a_study_of_wrong_values_is_none(changes: dict[str, Any]) -> None:
    """Numbers among the words of a name were found out only when an error was told."""
    told = {**Study("a", Path("b"), remote=Remote("1", "x")).to_dict(), **changes}
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Study.from_dict(told)


# --- records ------------------------------------------------------------------------------------


def test_a_record_of_ours_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_record(record(), tmp_path / "a")
    assert read_record(tmp_path / "a") == record()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"format": 1, "numbers": ' + "[" * 3000,
        '{"format": 1}',
        "9" * 5000,
        "\ud800",
        '"' + "x" * (1 << 25) + '"',
    ],
)
def test_a_record_that_is_none(tmp_path: Path, text: str) -> None:
    assert read_record(place(tmp_path, text)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "b"},
        {"format": 2},
        {"key": None},
        {"request": 5},
        {"seconds": -1.0},
        {"seconds": "1"},
        {"stored": ["x"]},
        {"stored": {"url": 5}},
        {"outputs": []},
        {"outputs": {"labels": {"file": "../../secret", "bytes": 1}}},
        {"outputs": {"labels": {"file": "/etc/passwd", "bytes": 1}}},
        {"outputs": {"labels": {"file": "..", "bytes": 1}}},
        {"outputs": {"labels": {"file": "a\0b", "bytes": 1}}},
        {"outputs": {"labels": {"file": "x", "bytes": "1"}}},
        {"outputs": {"labels": "x"}},
        {"inputs": {"count": 1}},
        {"inputs": {"count": 1, "stamp": 5, "content": ""}},
        {"inputs": [1, 2, 3]},
        {"numbers": {}},
        {"numbers": {**batch_case.NUMBERS, "classes": [{"name": 5}]}},
        {"numbers": {**batch_case.NUMBERS, "warnings": "text"}},
        {"numbers": {**batch_case.NUMBERS, "infected": "yes"}},
        {"numbers": {**batch_case.NUMBERS, "total_ml": float("nan")}},
        {"numbers": {**batch_case.NUMBERS, "total_ml": 10**400}},
        {"numbers": {**batch_case.NUMBERS, "lungs_ml": "=1+1"}},
    ],
)
def test_values_of_a_record_that_cannot_be(tmp_path: Path, changes: dict[str, Any]) -> None:
    data = {**record().to_dict(), **changes}
    assert read_record(place(tmp_path, json.dumps(data))) is None


@links
@pytest.mark.parametrize("kind", ["pipe", "zero", "loop", "folder"])
def test_a_record_that_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a" / "a_batch.json"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"zero": "/dev/zero", "loop": path.name}[kind])
    assert read_record(path.parent) is None


VALUES = any_json.values("=1+1", "<script>", "\u202ex")


@many
@given(st.data())
def test_any_value_in_any_place_of_a_record(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """None, or a record whose summary can be written."""
    root = tmp_path_factory.mktemp("r")
    changed = copy.deepcopy(record().to_dict())
    where = data.draw(st.sampled_from(any_json.places(changed)))
    any_json.put(changed, where, data.draw(VALUES))
    found = read_record(place(root, json.dumps(changed)))
    if found is None:
        return
    found.whole(root / "a")
    outcome = Outcome(Study("a", root / "in.nii"), KEPT, found)
    write_summary(root, [outcome], [], Settings())
    json.loads((root / "summary.json").read_text())


def test_a_record_names_no_file_to_be_sent(tmp_path: Path) -> None:
    """A record without a DICOM Segmentation ended the batch."""
    results = Results(tmp_path / "out")
    sent: list[Any] = []
    source: Any = SimpleNamespace(
        url="https://a", open=lambda: SimpleNamespace(store=lambda paths, **_: sent.append(paths))
    )
    study = Study("a", results.hidden / "fetched-a", remote=Remote("1", "https://a/1"))
    exchange = Exchange(source, results, {}, store=True, pseudonymise=False, cancel=Cancel())
    outcome = exchange.finish(Outcome(study, KEPT, record()))
    assert (outcome.status, sent) == (FAILED, [])
    checked(RequestError(outcome.reason))


# --- links and junk in the folder of the results ------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    found = Results(tmp_path / "out")
    with found.held():
        yield found


def put(results: Results) -> None:
    with results.staged("a") as fresh:
        (fresh / "new").write_text("new")


@links
def test_results_replace_a_link_and_spare_what_it_leads_to(
    results: Results, tmp_path: Path
) -> None:
    """The files of the other folder were moved among the results."""
    away = tmp_path / "elsewhere"
    place(away.parent, json.dumps(record("elsewhere").to_dict()), "elsewhere")
    (away / "mine.txt").write_text("mine")
    (results.root / "a").symlink_to(away)
    put(results)
    assert not (results.root / "a").is_symlink()
    assert {path.name for path in (results.root / "a").iterdir()} == {"new"}
    assert {path.name for path in away.iterdir()} == {"mine.txt", "elsewhere_batch.json"}


@links
@pytest.mark.parametrize("target", ["nowhere", "a"])
def test_results_replace_a_link_that_leads_nowhere(results: Results, target: str) -> None:
    (results.root / "a").symlink_to(target)
    put(results)
    assert (results.root / "a" / "new").read_text() == "new"


def test_a_file_called_like_a_study_is_kept(results: Results) -> None:
    (results.root / "a").write_text("mine")
    put(results)
    assert {path.name: path.read_text() for path in (results.root / "a").iterdir()} == {
        "new": "new",
        "a": "mine",
    }


@links
def test_hidden_notes_that_are_a_link_are_refused(tmp_path: Path) -> None:
    """What a run takes away as its own leftovers would be somebody's."""
    away = tmp_path / "projects"
    (away / "new-project").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".batch").symlink_to(away)
    with pytest.raises(RequestError, match="is a link") as caught, Results(tmp_path / "out").held():
        pass
    checked(caught.value)
    assert (away / "new-project").is_dir()


@links
def test_a_lock_that_is_a_link_makes_no_file_elsewhere(tmp_path: Path) -> None:
    hidden = tmp_path / "out" / ".batch"
    hidden.mkdir(parents=True)
    (hidden / "claim.lock").symlink_to(tmp_path / "made")
    with pytest.raises(RequestError) as caught, Results(tmp_path / "out").held():
        pass
    checked(caught.value)
    assert not (tmp_path / "made").exists()


def test_junk_among_the_notes_stops_no_run(tmp_path: Path) -> None:
    results = Results(tmp_path / "out")
    results.hidden.mkdir(parents=True)
    for name in ("old-file", "new-file", "junk\n"):
        (results.hidden / name).write_text("x")
    for name in ("stop-folder", "probe-folder", "old-folder"):
        (results.hidden / name).mkdir()
    (results.hidden / "old-folder" / "b").write_text("of nobody")
    if os.name != "nt":
        (results.hidden / "old-link").symlink_to(tmp_path)
        (results.hidden / "new-link").symlink_to(tmp_path)
    with results.held():
        put(results)
    assert (results.root / "a" / "new").exists()
    assert (tmp_path / "out").is_dir()


# --- keys and tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"00" * 31, b"xyz", b"\xff" * 64, b"0" * 63, b"\0" * 64, b"a b" * 30]
)
def test_a_key_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(RequestError, match="pseudonym-key") as caught:
        Pseudonyms.from_file(tmp_path / "key")
    checked(caught.value)
    assert (tmp_path / "key").read_bytes() == content, "a key is never replaced"


@links
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder", "gone", "loop", "huge"])
def test_a_key_that_is_no_file(tmp_path: Path, kind: str) -> None:
    """A pipe was waited for without end, and of a device all was read."""
    path = tmp_path / "key"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        path.symlink_to({"zero": "/dev/zero", "gone": "nowhere", "loop": "key"}[kind])
    with pytest.raises(RequestError, match="pseudonym-key") as caught:
        Pseudonyms.from_file(path)
    checked(caught.value)
    assert not (tmp_path / "nowhere").exists()


@links
def test_a_key_behind_a_link_is_taken(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("ab" * 32)
    (tmp_path / "key").symlink_to("real")
    same = Pseudonyms.from_file(tmp_path / "real").code("x")
    assert Pseudonyms.from_file(tmp_path / "key").code("x") == same


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("input,name\na.nii,x\n".encode("utf-16"), "UTF-8"),
        ("input\nä.nii\n".encode("latin-1"), "UTF-8"),
        (b"input,name,name\na.nii,x,y\n", "two columns 'name'"),
        (b"input,Input\na.nii,b.nii\n", "two columns 'input'"),
        (b"input\n" + b"x" * (1 << 20) + b"\n", "cannot be read"),
        (b"x" * (1 << 20) + b"\n1\n", "UTF-8|unknown column|cannot be read"),
        (b'input\n"a\n', "cannot be read"),
        (b"input,name\na.nii,../x\n", "Line 2"),
        (b"input,name\na.nii,a/b\n", "Line 2"),
        (b"input,name\na.nii,\x1b[31m\n", "Line 2"),
        (b"input\na.nii,b.nii\n", "more cells"),
        (b"input\n\n\n", "no rows"),
        (b"", "no column"),
        (b"\xef\xbb\xbf", "no column"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "c.csv").write_bytes(content)
    with pytest.raises((RequestError, InputError), match=word) as caught:
        read_cases(tmp_path / "c.csv")
    checked(caught.value)


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "@SUM(A1)", "../../../etc/passwd", '"a\nb.nii"', "-rf.nii", "\u202egpj.nii",
     "😀 'x'.nii", '"a""b.nii"', "a" * 300 + ".nii", "~nobody/x.nii"],
)  # fmt: skip
@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("mark", [",", ";"])
def test_cells_that_are_hostile(tmp_path: Path, cell: str, begin: str, mark: str) -> None:
    text = f"{begin}input{mark}name\r\n{cell}{mark}\r\n{cell}{mark}\r\n"
    (tmp_path / "c.csv").write_text(text, encoding="utf-8", newline="")
    for study in read_cases(tmp_path / "c.csv"):
        assert study.name == file_stem(study.name)
        assert UNCLEAN.search(study.name) is None
        assert len(study.name) <= 80


@pytest.mark.skipif(sys.platform != "linux", reason="needs the long paths of Linux")
def test_folders_of_results_that_are_too_long(tmp_path: Path) -> None:
    for name in ("x" * 300, "/".join(["x" * 200] * 30)):
        try:
            with Results(tmp_path / name).held():
                raise AssertionError("no such folder can be made")
        except (RequestError, InputError) as error:
            checked(error)
