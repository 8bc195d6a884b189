"""Archives that answer wrongly: one clear sentence each, and nothing believed that is not so."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dicom_writer import make_hu, write_series
from fake_archive import Answer, dicom_answer, self_signed, serving
from pydicom import dcmread

from CovidLesionSegLogic.batch.pacs import Archive, Credentials, RemoteSeries, RemoteStudy
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import CancelledError, InputError, RequestError

SECRET = Credentials(user="reader", password="open-sesame")
STUDY, SERIES = "1.2.840.1", "1.2.840.1.1"
WAITS = (0.01, 0.01)


def row(**values: Any) -> dict[str, Any]:
    """An answer in the DICOM JSON model, tags as keywords ``t0020000D``."""
    return {tag[1:]: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


def study_row(number: int) -> dict[str, Any]:
    return row(t0020000D=f"{STUDY}.{number}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"<html>Welcome</html>"), "is not DICOMweb"),
        (Answer({"error": "Adams^Anna"}), "is not DICOMweb"),
        (Answer(["Adams^Anna"]), "is not DICOMweb"),
        (Answer(b"gone", 404), "is not DICOMweb"),
        (Answer(b"Adams^Anna", 401), "refuses the credentials"),
        (Answer(b"Adams^Anna", 403), "does not allow this"),
        (Answer(b"Adams^Anna", 413), "too much"),
        (Answer(b"Adams^Anna", 418), r"HTTP 418 I'm a Teapot|HTTP 418"),
        (Answer(b"", 302, {"Location": "http://127.0.0.1:1/login"}), "leads to another address"),
    ],
)
def test_a_lasting_failure_is_one_sentence_at_once(answer: Answer, words: str) -> None:
    with serving(lambda *_: answer) as server, Archive(server.url, SECRET, waits=WAITS) as archive:
        with pytest.raises(RequestError, match=words) as caught:
            archive.find(query=["PatientID=4711-secret"])
        assert len(server.asked) == 1, "it must not be tried again"
    message = str(caught.value)
    assert re.fullmatch(r"[^\n]*\.", message)
    for secret in ("Adams", "4711", "open-sesame"):
        assert secret not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_passing_failure_is_tried_again() -> None:
    left = [Answer(b"", 503), Answer(b"", 429, {"Retry-After": "1"})]

    def answer(_: str, path: str) -> Answer:
        if left:
            return left.pop(0)
        return Answer(
            [row(t0020000E=SERIES, t00080060="CT")] if "series" in path else [study_row(1)]
        )

    began = time.monotonic()
    with serving(answer) as server, Archive(server.url, waits=WAITS) as archive:
        (study,) = archive.find([f"{STUDY}.1"])
    assert study.series[0].uid == SERIES
    assert time.monotonic() - began >= 1, "Retry-After must be heeded"


def test_a_failure_that_does_not_pass_is_told() -> None:
    with (
        serving(lambda *_: Answer(b"", 503)) as server,
        Archive(server.url, waits=WAITS) as archive,
    ):
        with pytest.raises(InputError, match=r"failed 3 times \(it answered HTTP 503 Service"):
            archive.find([STUDY])
        assert len(server.asked) == 3


def test_waiting_is_cut_short_by_cancelling() -> None:
    cancel = Cancel()

    def answer(*_: str) -> Answer:
        cancel.cancel()
        return Answer(b"", 503)

    began = time.monotonic()
    with serving(answer) as server, Archive(server.url, waits=(60.0,)) as archive:
        with pytest.raises(CancelledError):
            archive.find([STUDY], cancel=cancel)
        assert len(server.asked) == 1
    assert time.monotonic() - began < 10


def test_nothing_listens_or_no_such_host() -> None:
    for url, words in (
        ("http://127.0.0.1:1/dicom-web", "connection refused"),
        ("https://no-such-host.invalid/dicom-web", r"not known|cannot be reached|proxy"),
    ):
        began = time.monotonic()
        with (
            Archive(url, SECRET, waits=(60.0,)) as archive,
            pytest.raises(RequestError, match=words),
        ):
            archive.find([STUDY])
        assert time.monotonic() - began < 30


def test_an_archive_that_cannot_be_paged_is_not_believed_to_be_small() -> None:
    first = Answer([study_row(1), study_row(2)])
    with serving(lambda *_: first) as server, Archive(server.url, page=2) as archive:
        with pytest.raises(RequestError, match="no more than 2 answers to a search: narrow it"):
            archive.find(query=["StudyDate=20200301"])
        assert len(server.asked) == 2


def test_what_goes_out_is_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password from-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    # a proxy would see what goes to this very machine
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(lambda *_: Answer([])) as server:
        for credentials in (Credentials(), SECRET, Credentials(token="abc.def")):
            with Archive(server.url, credentials) as archive:
                archive.find([STUDY])
        (_, path, first), (_, _, second), (_, _, third) = server.asked
        host = server.url.split("/")[2]
    assert "Authorization" not in first
    assert second["Authorization"].startswith("Basic ")
    assert third["Authorization"] == "Bearer abc.def"
    assert {one["Host"] for one in (first, second, third)} == {host}
    assert path == f"/dicom-web/studies?StudyInstanceUID={STUDY}&limit=1&offset=0"


def series_server(uids: list[str], content: bytes) -> Any:
    """An archive with one series that gives out the same file for every instance."""

    def answer(_: str, path: str) -> Answer:
        if path.endswith("/instances"):
            return Answer([row(t00080018=uid) for uid in uids])
        return dicom_answer(content)

    return answer


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    """A CT image as a file."""
    hu = make_hu((1, 40, 36))
    (file,) = write_series(tmp_path / "image", hu, study_uid=STUDY, series_uid=SERIES)
    return file.read_bytes()


def remote(instances: int | None) -> tuple[RemoteStudy, RemoteSeries]:
    series = RemoteSeries(SERIES, "CT", "", "", None, instances)
    return RemoteStudy(STUDY, (series,)), series


def test_another_image_than_the_one_asked_for_is_refused(image: bytes, tmp_path: Path) -> None:
    study, series = remote(1)
    with serving(series_server(["1.2.3.99"], image)) as server, Archive(server.url) as archive:
        with pytest.raises(InputError, match="sends another image") as caught:
            archive.fetch(study, series, tmp_path / "out")
        assert len([path for _, path, _ in server.asked if "1.2.3.99" in path]) == 1
    assert "Secret" not in str(caught.value)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("cut", [200, 1500, 3600, 10_000])
def test_a_cut_or_damaged_image_is_refused(image: bytes, tmp_path: Path, cut: int) -> None:
    uid = str(dcmread(tmp_path / "image" / "IM0001.dcm").SOPInstanceUID)
    study, series = remote(1)
    content = image[:-cut] or b"nothing"
    with (
        serving(series_server([uid], content)) as server,
        Archive(server.url, waits=WAITS) as archive,
        pytest.raises(InputError, match=r"failed 3 times \(an image came (cut|damaged)\)"),
    ):
        archive.fetch(study, series, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_an_image_sent_without_multipart_is_taken(image: bytes, tmp_path: Path) -> None:
    uid = str(dcmread(tmp_path / "image" / "IM0001.dcm").SOPInstanceUID)
    study, series = remote(1)

    def answer(_: str, path: str) -> Answer:
        if path.endswith("/instances"):
            return Answer([row(t00080018=uid)])
        return Answer(image, headers={"Content-Type": "application/dicom"})

    with serving(answer) as server, Archive(server.url) as archive:
        (file,) = archive.fetch(study, series, tmp_path / "out")
    assert file.read_bytes() == image


def test_a_login_page_for_an_image_is_refused(tmp_path: Path) -> None:
    study, series = remote(None)

    def answer(_: str, path: str) -> Answer:
        listed = path.endswith("/instances")
        return Answer([row(t00080018="1.2.3")] if listed else b"<html>Adams^Anna</html>")

    with (
        serving(answer) as server,
        Archive(server.url, waits=WAITS) as archive,
        pytest.raises(InputError, match="an image came damaged"),
    ):
        archive.fetch(study, series, tmp_path)


def test_fewer_images_than_counted_are_refused(image: bytes, tmp_path: Path) -> None:
    study, series = remote(3)
    with (
        serving(series_server(["1.2.3"], image)) as server,
        Archive(server.url) as archive,
        pytest.raises(InputError, match="lists 1 of the 3 images"),
    ):
        archive.fetch(study, series, tmp_path)


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    study, series = remote(1)

    def answer(_: str, path: str) -> Answer:
        return Answer([row(t00080018="1.2.3")]) if path.endswith("/instances") else Answer(b"", 404)

    with (
        serving(answer) as server,
        Archive(server.url) as archive,
        pytest.raises(InputError, match="does not give it out"),
    ):
        archive.fetch(study, series, tmp_path)


def refusal(uid: str, reason: int) -> dict[str, Any]:
    """The answer to storing with one failed instance (PS3.18 Table 10.5.3-1)."""
    item = {
        "00081155": {"vr": "UI", "Value": [uid]},
        "00081197": {"vr": "US", "Value": [reason]},
    }
    return {"00081198": {"vr": "SQ", "Value": [item]}}


@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_refusal_to_store_is_told_with_its_reason(
    image: bytes, tmp_path: Path, status: int
) -> None:
    file = tmp_path / "image" / "IM0001.dcm"
    uid = str(dcmread(file).SOPInstanceUID)
    for reason, words in ((0xA700, "out of resources, reason A700"), (0x0122, "this kind")):
        with (
            serving(lambda *_, r=reason: Answer(refusal(uid, r), status)) as server,
            Archive(server.url) as archive,
        ):
            with pytest.raises(RequestError, match=words) as caught:
                archive.store([file])
            assert len(server.asked) == 1
        assert "IM0001.dcm" in str(caught.value)
    duplicate = Answer(refusal(uid, 0x0111), status)
    with serving(lambda *_: duplicate) as server, Archive(server.url) as archive:
        archive.store([file])


def test_an_answer_that_says_nothing_is_checked(image: bytes, tmp_path: Path) -> None:
    file = tmp_path / "image" / "IM0001.dcm"
    uid = str(dcmread(file).SOPInstanceUID)
    for listed in (True, False):

        def answer(method: str, _: str, listed: bool = listed) -> Answer:
            return Answer(b"") if method == "POST" else Answer([row(t00080018=uid)] * listed)

        with serving(answer) as server, Archive(server.url) as archive:
            if listed:
                archive.store([file])
            else:
                with pytest.raises(RequestError, match="does not have it"):
                    archive.store([file])


def test_a_certificate_nobody_vouches_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificate = self_signed(tmp_path)
    with serving(lambda *_: Answer([]), certificate) as server:
        with (
            Archive(server.url, SECRET) as archive,
            pytest.raises(RequestError, match=r"certificate of .* cannot be verified"),
        ):
            archive.find([STUDY])
        assert server.asked == [], "nothing may be sent before the certificate is accepted"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with Archive(server.url, SECRET) as archive:
            assert archive.find([STUDY]) == [RemoteStudy(STUDY, ())]
        assert len(server.asked) == 1
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
        with pytest.raises(RequestError, match=r"missing\.pem, named in REQUESTS_CA_BUNDLE"):
            Archive(server.url, SECRET)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    with pytest.raises(RequestError, match=r"pip install 'covid-lesion-seg\[pacs\]'"):
        Archive("https://pacs.example.org/dicom-web")


def test_https_where_http_is_served_is_told() -> None:
    with serving(lambda *_: Answer([])) as server:
        url = server.url.replace("http:", "https:")
        with (
            Archive(url, SECRET) as archive,
            pytest.raises(RequestError, match="check that the port serves https"),
        ):
            archive.find([STUDY])
