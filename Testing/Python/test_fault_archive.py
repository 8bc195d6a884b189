"""An archive that is broken or hostile: a result or one sentence, within bounds, nothing leaks."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import re
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_writer import make_hu, write_series
from fake_archive import Answer, dicom_answer, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from CovidLesionSegLogic.batch.pacs import (
    Archive,
    Credentials,
    RemoteSeries,
    RemoteStudy,
    bounded,
    connection,
    failures,
    search,
)
from CovidLesionSegLogic.batch.pacs.multipart import only_part
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError, InputError, RequestError

PASSWORD = "open-sesame"
SECRET = Credentials(user="reader", password=PASSWORD)
STUDY, SERIES = "1.2.840.1", "1.2.840.1.1"
WAITS = (0.001,)
LISTED = RemoteSeries(SERIES, "CT", "", "", None, None)
NAMES = ("Adams", PASSWORD, SECRET.header()[6:], "<script", "Q4711Q")
DEEP = b'[{"0020000D":' + b"[" * 200_000
UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e]")
hostile = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def row(**values: Any) -> dict[str, Any]:
    """An answer in the DICOM JSON model, tags as keywords ``t0020000D``."""
    return {tag[1:]: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


def study_row(number: int) -> dict[str, Any]:
    return row(t0020000D=f"{STUDY}.{number}")


def checked(error: CovidLesionSegError) -> str:
    """The sentence of a refusal: one line, of the length of one, which tells nothing."""
    message = str(error)
    assert message.endswith(".")
    assert UNCLEAN.search(message) is None
    assert len(message) < 400
    assert not any(name in message for name in NAMES), message
    return message


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A CT image of the series."""
    (file,) = write_series(
        tmp_path / "image", make_hu((1, 40, 36)), study_uid=STUDY, series_uid=SERIES
    )
    return file


def uid_of(image: Path) -> str:
    return str(dcmread(image).SOPInstanceUID)


def fetched(answer: Answer, uid: str, folder: Path, **more: Any) -> str:
    """Fetch an image that the archive answers so: "" where it was taken, else the sentence."""

    def reply(_: str, path: str) -> Answer:
        return Answer([row(t00080018=uid)]) if path.endswith("/instances") else answer

    study = RemoteStudy(STUDY, (LISTED,))
    try:
        with serving(reply) as server, Archive(server.url, SECRET, waits=WAITS) as archive:
            archive.fetch(study, LISTED, folder, **more)
    except (InputError, RequestError) as error:
        assert not folder.exists() or list(folder.iterdir()) == []
        return checked(error)
    return ""


def found(answer: Answer, **more: Any) -> str:
    """Search an archive that answers so: "" where it was understood, else the sentence."""
    try:
        with (
            serving(lambda *_: answer) as server,
            Archive(server.url, SECRET, waits=WAITS, page=3) as archive,
        ):
            archive.find(query=["PatientID=Q4711Q"], **more)
    except (InputError, RequestError) as error:
        return checked(error)
    return ""


def stored(image: Path, answer: Answer, listed: bool = False) -> str:
    """Store an image; ``listed``: whether the archive says later that it has it."""
    uid = uid_of(image)

    def reply(method: str, _: str) -> Answer:
        return answer if method == "POST" else Answer([row(t00080018=uid)] * listed)

    try:
        with serving(reply) as server, Archive(server.url, SECRET, waits=WAITS) as archive:
            archive.store([image])
    except (InputError, RequestError) as error:
        return checked(error)
    return ""


# --- answers to searches ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b"[" * 200_000,
        b'[{"0020000D": ' + b"9" * 5000 + b"}]",
        b'{"a": ' * 100_000,
        b"[NaN, Infinity]",
        b"\xff\xfe[\0]\0",
        b"[null]",
        b"[[]]",
        b'"text"',
        b"17",
        b"[]]",
        b"\0" * 1000,
        b"<html><script>alert('Adams')</script></html>",
    ],
)
def test_json_that_is_none(body: bytes) -> None:
    headers = {"Content-Type": "application/dicom+json"}
    assert "is not DICOMweb" in found(Answer(body, headers=headers))


@pytest.mark.parametrize("modalities", [17, "CT", {"Value": 17}, {"Value": {"CT": 1}}, [["CT"]]])
def test_modalities_that_are_none(modalities: Any) -> None:
    """They were looked at after the answer had been taken for a good one."""
    answer = Answer([{**study_row(1), "00080061": modalities}])
    assert found(answer) or modalities == {"Value": {"CT": 1}}


@pytest.mark.parametrize("count", ["1e400", "-1e400", "NaN", '"9"', "-5", "[]", "9" * 4000])
def test_counts_that_are_none(count: str) -> None:
    rows = json.dumps([row(t0020000D=STUDY, t0020000E=SERIES, t00080060="CT", t00201209="@")])
    answer = Answer(rows.replace('"@"', count).encode())
    with serving(lambda *_: answer) as server, Archive(server.url, waits=WAITS) as archive:
        (study,) = archive.find([STUDY])
        assert [one.uid for one in study.series] == [SERIES]
        with pytest.raises(RequestError):
            archive.instances(study, study.series[0])


@pytest.mark.parametrize("uid", ["../../x", "1.2/../..", "1.2.840\n", "1.2?x=y", "", "1" * 65, 5])
def test_uids_that_are_paths(uid: Any, tmp_path: Path) -> None:
    assert "is not DICOMweb" in found(Answer([row(t0020000D=uid)]))
    assert "is not DICOMweb" in fetched(Answer(b""), uid, tmp_path / "out")
    assert not (tmp_path / "x").exists()


def test_a_list_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LARGEST_LIST", 1 << 20)
    sent = itertools.count()

    def endless() -> Iterator[bytes]:
        for _ in sent:
            yield b"[" + b" " * 65536

    tracemalloc.start()
    message = found(Answer(endless))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 1 MiB" in message
    assert next(sent) < 400, "what the system keeps on the way, and no more"
    assert peak < 16 << 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
def test_a_packed_list_is_read_so_far_as_its_limit(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "LARGEST_LIST", 1 << 20)
    bomb = b"[" + bytes(50 << 20)
    body = zlib.compress(bomb, 1) if encoding == "deflate" else gzip.compress(bomb, 1)
    if "," in encoding:
        body = gzip.compress(body, 9)
    tracemalloc.start()
    message = found(Answer(body, headers={"Content-Encoding": encoding}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 1 MiB" in message
    assert peak < 48 << 20


def test_a_packed_list_is_taken_and_a_damaged_one_told() -> None:
    body = gzip.compress(json.dumps([]).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/dicom+json"}
    assert "no CT study that fits" in found(Answer(body, headers=headers))
    assert found(Answer(b"no gzip at all", headers=headers))


def test_studies_without_end_are_not_counted_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST", 50)
    numbers = itertools.count()
    with serving(lambda *_: Answer([study_row(next(numbers)) for _ in range(3)])) as server:
        with (
            Archive(server.url, page=3) as archive,
            pytest.raises(RequestError, match="more than 50 answers"),
        ):
            archive.find(query=["StudyDate=20200301"])
        assert len(server.asked) == 17


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "GRACE", 0.2)

    def drip() -> Iterator[bytes]:
        for _ in range(200):
            time.sleep(0.02)
            yield b" "

    began = time.monotonic()
    assert "did not answer in time" in found(Answer(drip))
    assert time.monotonic() - began < 3


def test_a_cancellation_is_heeded_while_an_answer_drips() -> None:
    cancel, began = Cancel(), time.monotonic()

    def drip() -> Iterator[bytes]:
        for number in range(1000):
            if number == 5:
                cancel.cancel()
            time.sleep(0.01)
            yield b" "

    with pytest.raises(CancelledError):
        found(Answer(drip), cancel=cancel)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "headers",
    [
        {"Transfer-Encoding": "chunked"},
        {"Content-Length": "999999999999"},
        {"Content-Length": "-5"},
        {"Content-Length": "3, 4"},
        {"Content-Type": "\xff\xfe"},
        {"Content-Encoding": "br, zstd, x"},
        {"X-Long": "x" * 70_000},
        {f"X-{n}": "x" for n in range(200)},
        {"Retry-After": "9" * 5000},
        {"Warning": "Adams^Anna"},
        {"Set-Cookie": "a=" + "Adams" * 500},
    ],
)
@pytest.mark.parametrize("status", [200, 503])
def test_headers_that_are_wrong(
    headers: dict[str, str], status: int, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(failures, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(connection, "TIMEOUT", (1.0, 0.2))
    with caplog.at_level(logging.DEBUG):
        found(Answer(b"[]", status, headers))
    assert "Adams" not in caplog.text


def test_credentials_do_not_follow_to_another_host() -> None:
    with serving(lambda *_: Answer([])) as other:
        for status in (301, 302, 303, 307, 308):
            away = Answer(b"", status, {"Location": other.url})
            assert "another address" in found(away)
            assert "another address" in fetched(away, "1.2.3", Path("none"))
        assert other.asked == []


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
        st.sampled_from([STUDY, SERIES, "CT", "../../x", "Adams^Anna"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["vr", "Value", "BulkDataURI", "InlineBinary", "0020000D", "0020000E", "00080018",
                 "00080061", "00080060", "00201209", "00200011", "0008103E", "00180015",
                 "00081198", "00081199", "00081155", "00081197", "00081190", "zzzz"],
            ),
            inner, max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def archive_of() -> Iterator[Any]:
    """A server whose answer can be set: ``archive_of(body)`` gives an archive to be closed."""
    said: dict[str, Any] = {}

    def reply(method: str, path: str) -> Answer:
        told = said.get("POST" if method == "POST" else path.rpartition("/")[2], [])
        return told if isinstance(told, Answer) else Answer(told)

    with serving(reply) as server:

        def answering(**bodies: Any) -> Archive:
            said.clear()
            said.update(bodies)
            return Archive(server.url, SECRET, waits=WAITS, page=3)

        yield answering


@hostile
@given(body=JSON, series=JSON, instances=JSON)
def test_any_json_to_a_search(archive_of: Any, body: Any, series: Any, instances: Any) -> None:
    with archive_of(studies=body, series=series, instances=instances) as archive:
        for ask in (
            lambda: archive.find([STUDY]),
            lambda: archive.find(query=["StudyDate=20200301"]),
            lambda: archive.instances(RemoteStudy(STUDY, (LISTED,)), LISTED),
        ):
            try:
                ask()
            except (InputError, RequestError) as error:
                checked(error)


@hostile
@given(body=JSON, instances=JSON, status=st.sampled_from([200, 202, 400, 409]))
def test_any_json_to_storing(
    archive_of: Any, tmp_path: Path, body: Any, instances: Any, status: int
) -> None:
    file = tmp_path / "a.dcm"
    if not file.exists():
        write_series(tmp_path, make_hu((1, 8, 8)), prefix="a")[0].rename(file)
    headers = {"Content-Type": "application/dicom+json"}
    answer = Answer(json.dumps(body).encode(), status, headers)
    with archive_of(POST=answer, instances=instances) as archive:
        try:
            archive.store([file])
        except (InputError, RequestError) as error:
            checked(error)


# --- images -------------------------------------------------------------------------------------


def part(content: bytes, *, boundary: str = "xyz", stated: str = "xyz", more: str = "") -> Answer:
    kind = f'multipart/related; type="application/dicom"; boundary={stated}'
    body = f"\r\n--{boundary}\r\nContent-Type: application/dicom\r\n{more}\r\n".encode()
    end = f"\r\n--{boundary}--".encode()
    return Answer(body + content + end, headers={"Content-Type": kind})


def test_headers_of_a_part_name_no_file(image: Path, tmp_path: Path) -> None:
    for more in (
        "Content-Disposition: attachment; filename=../../x\r\n",
        "Content-Location: file:///etc/passwd\r\n",
        "X: " + "y" * 100_000 + "\r\n",
        "no header at all\r\n",
    ):
        folder = tmp_path / f"out-{len(more)}"
        assert fetched(part(image.read_bytes(), more=more), uid_of(image), folder) == ""
        (file,) = folder.iterdir()
        assert file.read_bytes() == image.read_bytes(), "as it was sent"
    assert not (tmp_path / "x").exists()


def test_multipart_that_is_none(image: Path, tmp_path: Path) -> None:
    data, uid = image.read_bytes(), uid_of(image)
    kind = "multipart/related; boundary=xyz"
    two = b"\r\n\r\n" + data + b"\r\n--xyz\r\n\r\n" + data + b"\r\n--xyz--"
    for answer in (
        part(data, stated="other"),
        part(data, stated='""'),
        part(data, stated='"\xff"'),
        part(data, stated="(" * 1000),
        Answer(b"--xyz" + two, headers={"Content-Type": kind}),
        Answer(b"--xyz--", headers={"Content-Type": kind}),
        Answer(b"\r\n--xyz" * 100_000, headers={"Content-Type": kind}),
        Answer(b"", headers={"Content-Type": kind}),
        Answer(data, headers={"Content-Type": "image/jpeg"}),
        Answer(data, headers={"Content-Type": "multipart/mixed; boundary=xyz"}),
        dicom_answer(b""),
        dicom_answer(b"<script>Adams</script>"),
    ):
        assert "damaged" in fetched(answer, uid, tmp_path / "out")


@hostile
@given(
    st.lists(st.sampled_from([b"--", b"xyz", b"\r\n", b"\r\n\r\n", b"a", b"--xyz", b":"])),
    st.sampled_from(["xyz", "", '"xyz"', "x" * 80, "--xyz"]),
)
def test_any_parts(pieces: list[bytes], boundary: str) -> None:
    try:
        body = b"".join(pieces)
        assert only_part(f"multipart/related; boundary={boundary}", body) in body
    except ValueError:
        return


def test_images_of_another_series_or_study_are_refused(image: Path, tmp_path: Path) -> None:
    """Under the very UID that was asked for."""
    uid = uid_of(image)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        dataset = dcmread(image)
        setattr(dataset, keyword, "1.2.3.99")
        dataset.save_as(tmp_path / "other.dcm")
        answer = dicom_answer((tmp_path / "other.dcm").read_bytes())
        assert "sends another image" in fetched(answer, uid, tmp_path / "out")


def test_an_image_listed_twice_is_fetched_once(image: Path, tmp_path: Path) -> None:
    uid = uid_of(image)

    def reply(_: str, path: str) -> Answer:
        listed = path.endswith("/instances")
        return Answer([row(t00080018=uid)] * 5) if listed else dicom_answer(image.read_bytes())

    with serving(reply) as server, Archive(server.url) as archive:
        files = archive.fetch(RemoteStudy(STUDY, (LISTED,)), LISTED, tmp_path / "out")
        assert len(files) == 1
        assert len([path for _, path, _ in server.asked if path.endswith(uid)]) == 1


def test_an_image_without_end_is_not_taken(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "LARGEST_IMAGE", 1 << 20)
    data, headers = image.read_bytes(), {"Content-Type": "application/dicom"}

    def endless() -> Iterator[bytes]:
        yield data
        yield from itertools.repeat(bytes(65536))

    message = fetched(Answer(endless, headers=headers), uid_of(image), tmp_path / "out")
    assert "more than 1 MiB" in message


def test_an_image_that_unpacks_without_end_is_refused(image: Path, tmp_path: Path) -> None:
    """Deflated DICOM: 300 MB of zeros in 300 kB."""
    dataset = dcmread(image)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm")
    data = (tmp_path / "deflated.dcm").read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    plain = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = data[:start] + pack.compress(plain)
    bomb += b"".join(pack.compress(bytes(10 << 20)) for _ in range(30)) + pack.flush()
    tracemalloc.start()
    message = fetched(dicom_answer(bomb), uid_of(image), tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "damaged" in message
    assert peak < 64 << 20


def _same_uid(dataset: Any, _: int) -> None:
    """Hypothesis needs the same file each time."""
    dataset.SOPInstanceUID = f"{SERIES}.1"


@settings(hostile, max_examples=30)
@given(st.data())
def test_any_damage_to_an_image(
    archive_of: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever pydicom says of it."""
    folder = tmp_path_factory.mktemp("any")
    hu = make_hu((1, 8, 8))
    (file,) = write_series(folder, hu, study_uid=STUDY, series_uid=SERIES, change=_same_uid)
    content, uid = bytearray(file.read_bytes()), uid_of(file)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(132, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    reply = Answer(bytes(content), headers={"Content-Type": "application/dicom"})
    with archive_of(instances=[row(t00080018=uid)], **{uid: reply}) as archive:
        try:
            archive.fetch(RemoteStudy(STUDY, (LISTED,)), LISTED, folder / "out")
        except (InputError, RequestError) as error:
            checked(error)
            assert list((folder / "out").glob("*")) == []


# --- answers to storing -------------------------------------------------------------------------


def failure(uid: str | None, reason: Any, vr: str = "US") -> dict[str, Any]:
    item: dict[str, Any] = {"00081197": {"vr": vr, "Value": [reason]}}
    if uid is not None:
        item["00081155"] = {"vr": "UI", "Value": [uid]}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def success(uid: str) -> dict[str, Any]:
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    return {"00081199": {"vr": "SQ", "Value": [item]}}


def as_json(body: Any, status: int = 200) -> Answer:
    headers = {"Content-Type": "application/dicom+json"}
    return Answer(body if isinstance(body, bytes) else json.dumps(body).encode(), status, headers)


def test_an_answer_to_storing_that_is_not_understood_is_asked_about(image: Path) -> None:
    """It was said to be no archive, though it may have stored the file."""
    xml = {"Content-Type": "application/dicom+xml"}
    for answer in (
        as_json(DEEP),
        as_json(b"<html>"),
        as_json([1, 2]),
        as_json({"00081198": {"vr": "LO", "Value": ["Adams"]}}),
        as_json({"00081198": {"vr": "SQ", "Value": [17]}}),
        as_json(success("1.2.3.99")),
        as_json(failure("1.2.3.99", 0xA700)),
        Answer(b"<html>Adams", headers=xml),
        Answer(b"\0", headers=xml),
        Answer(b"<html>Adams</html>"),
    ):
        assert stored(image, answer, listed=True) == ""
        assert "does not have it" in stored(image, answer, listed=False)


def test_partial_failures_are_failures(image: Path) -> None:
    uid = uid_of(image)
    both = failure(uid, 0xA700) | success(uid)
    assert "out of resources" in stored(image, as_json(both, 202), listed=True)
    assert "processing failure" in stored(image, as_json(failure(None, 0)), listed=True)
    for reason in ("A700", 70_000, -1):
        told = stored(image, as_json(failure(uid, reason, "LO")), listed=True)
        assert "processing failure" in told
    for status in (400, 409):
        for body in (b"", b"<html>Adams", DEEP, b"[]", b"{}"):
            assert "refuses what was to be stored" in stored(image, as_json(body, status))


@pytest.mark.parametrize("status", [401, 403, 404, 413, 429, 500, 503, 507])
def test_refusals_to_store_are_sentences(
    image: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "LONGEST_WAIT", 0.01)
    page = b"<html><script>alert('Adams^Anna Q4711Q')</script></html>"
    assert stored(image, Answer(page, status, {"Retry-After": "120"}), listed=True)
