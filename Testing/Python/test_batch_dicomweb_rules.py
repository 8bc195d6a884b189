"""Credentials, addresses, queries and the choice of series, without any server."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from CovidLesionSegLogic.batch.pacs import Credentials, RemoteSeries, RemoteStudy, candidates
from CovidLesionSegLogic.batch.pacs.address import check_address
from CovidLesionSegLogic.batch.pacs.query import is_uid, parse_query
from CovidLesionSegLogic.batch.pacs.transfer import file_name
from CovidLesionSegLogic.errors import InputError, RequestError

PREFIX = "COVIDLESIONSEG_DICOMWEB_"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(PREFIX + name, raising=False)


def private(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Credentials.load()
    assert Credentials.load().header() is None
    monkeypatch.setenv(PREFIX + "TOKEN", "abc.def\n")
    assert Credentials.load().header() == "Bearer abc.def"
    monkeypatch.delenv(PREFIX + "TOKEN")
    monkeypatch.setenv(PREFIX + "USER", "Jürgen")
    with pytest.raises(RequestError, match="lack the password"):
        Credentials.load()
    monkeypatch.setenv(PREFIX + "PASSWORD", "a:b %# ")
    # RFC 7617 2.1: base64 of user:password in UTF-8
    assert Credentials.load().header() == "Basic SsO8cmdlbjphOmIgJSMg"


def test_credentials_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "TOKEN", "from-the-environment")
    file = private(tmp_path / "pacs.ini", "\ufeff[dicomweb]\nuser = ann\npassword = 50%#;x\n")
    assert Credentials.load(file).header() == Credentials(user="ann", password="50%#;x").header()
    file = private(tmp_path / "token.ini", "[dicomweb]\ntoken = abc\n")
    assert Credentials.load(file).header() == "Bearer abc"


@pytest.mark.parametrize(
    "text",
    [
        "user = ann\npassword = hush-hush\n",
        "[dicomweb]\nuser = ann\nhush-hush\n",
        "[dicomweb]\nuser = ann\npasword = hush-hush\n",
        "[dicomweb]\nuser = ann\nuser = hush-hush\n",
        "[dicomweb]\n",
        '{"password": "hush-hush"}',
        "[dicomweb]\ntoken = " + "x" * 70_000,
    ],
)
def test_a_file_that_is_not_understood_is_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError, match=r"pacs\.ini is not understood") as caught:
        Credentials.load(private(tmp_path / "pacs.ini", text))
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.ini cannot be read"):
        Credentials.load(tmp_path / "none.ini")


@pytest.mark.skipif(os.name != "posix", reason="access rights of files are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    file = private(tmp_path / "pacs.ini", "[dicomweb]\ntoken = abc\n")
    file.chmod(mode)
    with pytest.raises(RequestError, match="chmod 600"):
        Credentials.load(file)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"user": "ann"}, "lack the password"),
        ({"password": "hush"}, "lack the user"),
        ({"user": "ann", "password": "hush", "token": "hush"}, "the one or"),
        ({"user": "a:b", "password": "hush"}, "colon"),
        ({"user": "ann", "password": "hu\nsh"}, "control character"),
        ({"token": "Bearer hush"}, "without the word Bearer"),
        ({"token": "hush\r\nX-Evil: 1"}, "a line break"),
    ],
)
def test_credentials_that_cannot_be_sent_are_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        Credentials(**values)
    assert "hush" not in str(caught.value)


def test_credentials_never_show_themselves() -> None:
    for one in (Credentials(user="ann", password="hush"), Credentials(token="hush")):
        header = (one.header() or "").split()[1]
        for text in (repr(one), str(one), f"{one}", f"{[one]}"):
            assert "hush" not in text
            assert header not in text
            assert "ann" not in text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://ann:hush@pacs.example.org/dicom-web", "leave them out"),
        ("https://hush@pacs.example.org/dicom-web", "leave them out"),
        ("https://ann:hush#@pacs.example.org/dicom-web", "leave them out"),
        ("https://pacs.example.org/dicom-web?token=hush", r"\? or #"),
        ("ftp://pacs.example.org/hush", "not a URL"),
        ("pacs.example.org/hush", "not a URL"),
        ("https:///hush", "not a URL"),
        ("https://pacs.example.org:port/hush", "not a URL"),
        ("https://[hush/dicom-web", "not a URL"),
        ("http://pacs.example.org/dicom-web", "unencrypted over http: use the archive's https"),
        ("http://10.1.2.3/dicom-web", "unencrypted"),
        ("http://localhost.example.org/dicom-web", "unencrypted"),
    ],
)
def test_addresses_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        check_address(url, Credentials(user="ann", password="hush"))
    assert "hush" not in str(caught.value)


def test_addresses_that_are_taken() -> None:
    who = Credentials(token="hush")
    address = check_address(" https://pacs.example.org:8443/dicom-web/ ", who)
    assert str(address) == "https://pacs.example.org:8443/dicom-web"
    assert not address.loopback
    for url in ("http://127.0.0.1:8042/dicom-web", "http://localhost/x", "http://[::1]:80/x"):
        assert check_address(url, who).loopback
    assert check_address("http://10.1.2.3/dicom-web", Credentials()).host == "10.1.2.3"


def test_queries() -> None:
    assert parse_query([]) is None
    assert parse_query(["ModalitiesInStudy=CT"]) == {}
    keys = parse_query(["StudyDate = 20200301-20200331", "PatientID=a=b", "ModalitiesInStudy=CT"])
    assert keys == {"StudyDate": "20200301-20200331", "PatientID": "a=b"}
    for value in ("20200301", "-20200301", "20200301-"):
        assert parse_query([f"StudyDate={value}"]) == {"StudyDate": value}


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["PatientId=Adams"], "did you mean PatientID"),
        (["BodyPartExamined=Adams"], "choose among StudyDate"),
        (["Adams"], "form Keyword=value"),
        (["PatientID="], "no value for PatientID"),
        (["PatientID=Adams", "PatientID=Adams"], "twice"),
        (["StudyDate=2020-03-01"], "write 20200301"),
        (["StudyInstanceUID=Adams"], "not a UID"),
        (["ModalitiesInStudy=MR"], "only CT studies"),
    ],
)
def test_wrong_queries_are_refused_and_not_quoted(pairs: list[str], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        parse_query(pairs)
    assert "Adams" not in str(caught.value)


def test_uids() -> None:
    assert is_uid("1.2.840.10008")
    assert is_uid("1.02.3"), "it occurs"
    for wrong in ("", "1..2", "1.2/../3", "1.2 ", "a", None, 12, "1" * 65):
        assert not is_uid(wrong)


def series(
    description: str,
    instances: int | None,
    *,
    modality: str = "CT",
    part: str = "",
    number: int = 1,
) -> RemoteSeries:
    return RemoteSeries(
        f"1.{len(description)}.{number}", modality, description, part, number, instances
    )


def test_the_likeliest_chest_volume_comes_first() -> None:
    best = series("Thorax 1.0 I70f", 300, part="CHEST", number=4)
    rest = [
        series("Lung 3.0", 120, number=3),
        series("Abdomen 1.0", 600, part="ABDOMEN", number=5),
        series("few", 4),
        series("Thorax COR MPR 2mm", 400),
        series("PreMonitoring", 12),
        series("Topogram 0.6", 900, number=9),
        series("lat_scout", None, number=8),
    ]
    others = [series("Thorax", 300, modality="MR"), series("empty", 0)]
    ranked = candidates(RemoteStudy("1.2", (*others, *rest[::-1], best)))
    assert [one.description for one in ranked] == [
        best.description,
        *(one.description for one in rest[:3]),
        "Thorax COR MPR 2mm",
        "PreMonitoring",
        "Topogram 0.6",
        "lat_scout",
    ]


def test_words_within_other_words_do_not_count() -> None:
    study = RemoteStudy("1.2", (series("Corona local protocols", 100), series("Thorax", 90)))
    assert candidates(study)[0].instances == 100


def test_a_study_without_ct_names_what_it_has() -> None:
    with pytest.raises(InputError, match=r"modality MR, not stated"):
        candidates(RemoteStudy("1.2", (series("a", 3, modality="MR"), series("b", 3, modality=""))))
    with pytest.raises(InputError, match=r"no study 1\.2"):
        candidates(RemoteStudy("1.2", ()))


def test_file_names_tell_nothing_and_stay_the_same() -> None:
    name = file_name("1.2.840.113619")
    assert name == file_name("1.2.840.113619") != file_name("1.2.840.113618")
    assert re.fullmatch(r"[0-9a-f]{24}\.dcm", name)
