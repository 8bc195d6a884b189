"""Studies from a real archive (Orthanc over DICOMweb) and results back into it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from dicom_writer import make_hu, write_multiframe, write_series
from fake_archive import cutting
from orthanc_server import OrthancServer
from pacs_case import NAMES, PacsCase, open_archive, seed
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from CovidLesionSegLogic.batch.pacs import (
    Archive,
    Credentials,
    RemoteSeries,
    RemoteStudy,
    candidates,
)
from CovidLesionSegLogic.batch.pacs import archive as archive_module
from CovidLesionSegLogic.batch.pacs.transfer import file_name
from CovidLesionSegLogic.ct import read_ct
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import CancelledError, InputError, RequestError


@pytest.fixture(scope="module")
def case(orthanc: OrthancServer, tmp_path_factory: pytest.TempPathFactory) -> PacsCase:
    """Studies of two patients, stored."""
    return seed(orthanc, tmp_path_factory.mktemp("stored"))


@pytest.fixture
def archive(orthanc: OrthancServer) -> Iterator[Archive]:
    """The server with pages of two answers, so that every search takes several."""
    with open_archive(orthanc, page=2) as archive:
        yield archive


def study_of(archive: Archive, uid: str) -> RemoteStudy:
    (study,) = archive.find([uid])
    return study


def series_of(study: RemoteStudy, files: list[Path]) -> RemoteSeries:
    uid = str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    return next(one for one in study.series if one.uid == uid)


def test_studies_are_found_by_uid_in_the_order_asked_for(archive: Archive, case: PacsCase) -> None:
    found = archive.find([case.second, "1.2.3.4", case.first, case.second])
    assert [study.uid for study in found] == [case.second, "1.2.3.4", case.first]
    assert [len(study.series) for study in found] == [1, 0, 3]
    thin = series_of(found[2], case.files["thin"])
    assert (thin.modality, thin.description, thin.instances) == ("CT", "Thorax 1.0", 12)
    assert (thin.number, thin.body_part) == (3, "CHEST")


def test_a_missing_study_fails_alone(archive: Archive, case: PacsCase, tmp_path: Path) -> None:
    missing, present = archive.find(["1.2.3.4", case.second])
    with pytest.raises(InputError, match=r"no study 1\.2\.3\.4: check the UID"):
        archive.fetch_ct(missing, tmp_path)
    assert len(archive.fetch_ct(present, tmp_path).files) == 5


def test_studies_are_found_by_query(archive: Archive, case: PacsCase) -> None:
    first, second = case.patients

    def ask(*pairs: str) -> set[str]:
        return {study.uid for study in archive.find(query=pairs)}

    assert ask(f"PatientID={first}") == {case.first}
    assert ask(f"PatientID={second}") == {case.second}, "the MR study must be left out"
    assert ask(f"PatientID={second}", "ModalitiesInStudy=CT") == {case.second}
    assert {case.first, case.second} <= ask("StudyDate=20200301-20200331")
    assert ask(f"PatientID={first[:-2]}*", "StudyDate=20200301") == {case.first}
    assert ask(f"PatientID={first[:-1]}?", "PatientName=Adams*") == {case.first}
    with pytest.raises(RequestError, match="no CT study"):
        ask(f"PatientID={first}", "StudyDate=20200302")
    both = archive.find([case.mr], [f"PatientID={first}"])
    assert [study.uid for study in both] == [case.mr, case.first]


def test_pages_lose_no_study(orthanc: OrthancServer, tmp_path: Path) -> None:
    patient, studies = f"P-{generate_uid()[-9:]}", [generate_uid() for _ in range(5)]

    def label(dataset: Dataset, _: int) -> None:
        dataset.PatientID = patient

    for number, study in enumerate(studies):
        files = write_series(
            tmp_path / str(number), make_hu((1, 8, 8)), study_uid=study, change=label
        )
        with open_archive(orthanc) as whole:
            whole.store(files)
    for page in (1, 2, 5, 500):
        with open_archive(orthanc, page=page) as archive:
            found = archive.find(query=[f"PatientID={patient}", "ModalitiesInStudy=CT"])
        assert [study.uid for study in found] == sorted(studies), page


def test_the_thin_chest_series_is_fetched_as_it_was_stored(
    archive: Archive, case: PacsCase, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    study = study_of(archive, case.first)
    fetched = archive.fetch_ct(study, tmp_path, progress=lambda *step: told.append(step))
    assert fetched.series == series_of(study, case.files["thin"])
    assert told == [("fetch", done, 12) for done in range(1, 13)]
    originals = {dcmread(file).SOPInstanceUID: dcmread(file) for file in case.files["thin"]}
    assert len(fetched.files) == len(originals) == 12
    for file in fetched.files:
        ours = dcmread(file)
        original = originals[ours.SOPInstanceUID]
        assert ours.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert ours.PixelData == original.PixelData
        assert ours == original
        assert file.parent == tmp_path
        assert not any(name in file.name for name in (*NAMES, "Adams", *case.patients))
    stored = read_ct(case.files["thin"][0].parent)
    np.testing.assert_array_equal(read_ct(tmp_path).array, stored.array)


def test_a_series_that_is_no_volume_is_passed_over(
    archive: Archive, case: PacsCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(archive, case.first)
    ranked = candidates(study)
    assert [one.description for one in ranked] == ["Thorax 1.0", "Thorax 5.0", "Topogram"]
    # as if nothing in its description told the localiser, which has the most images
    monkeypatch.setattr(archive_module, "candidates", lambda _: ranked[::-1])
    fetched = archive.fetch_ct(study, tmp_path)
    assert fetched.series.description == "Thorax 5.0"
    assert sorted(tmp_path.iterdir()) == sorted(fetched.files)
    only_scout = RemoteStudy(study.uid, ranked[2:])
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"no CT volume .*localiser"):
        archive.fetch_ct(only_scout, tmp_path / "scout")
    assert list((tmp_path / "scout").iterdir()) == []


def test_a_study_without_ct_is_told(archive: Archive, case: PacsCase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no CT images \(modality MR\)"):
        archive.fetch_ct(study_of(archive, case.mr), tmp_path)


def test_instances_are_what_was_stored(archive: Archive, case: PacsCase) -> None:
    study = study_of(archive, case.first)
    uids = archive.instances(study, series_of(study, case.files["thin"]))
    assert uids == tuple(sorted(str(dcmread(file).SOPInstanceUID) for file in case.files["thin"]))
    gone = RemoteSeries("1.2.3", "CT", "", "", None, None)
    with pytest.raises(InputError, match=r"no images of series 1\.2\.3"):
        archive.instances(study, gone)


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    archive: Archive, case: PacsCase, tmp_path: Path
) -> None:
    study = study_of(archive, case.first)
    thin = series_of(study, case.files["thin"])
    cancel = Cancel()

    def stop(_: str, done: int, __: int) -> None:
        if done == 5:
            cancel.cancel()

    with pytest.raises(CancelledError):
        archive.fetch(study, thin, tmp_path, progress=stop, cancel=cancel)
    there = sorted(tmp_path.iterdir())
    assert len(there) == 5
    # a run that was killed: one file damaged by the disk, one cut, leftovers, another study's file
    kept, damaged, cut = there[0], there[1], there[2]
    damaged.write_bytes(damaged.read_bytes()[:900])
    cut.write_bytes(cut.read_bytes()[:-700])
    (tmp_path / f".0123456789ab.{there[3].name}").write_bytes(b"half")
    (tmp_path / ("0" * 24 + ".dcm")).write_bytes(there[3].read_bytes())
    (tmp_path / "notes.txt").write_text("not ours")
    before = {file: file.stat().st_mtime_ns for file in there}
    files = archive.fetch(study, thin, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*files, tmp_path / "notes.txt"])
    same = {file for file in there if file.stat().st_mtime_ns == before[file]}
    assert same == {kept, *there[3:]}
    pixels = {dcmread(file).PixelData for file in files}
    assert pixels == {dcmread(file).PixelData for file in case.files["thin"]}


def test_a_cut_connection_is_mended_or_told(
    orthanc: OrthancServer, case: PacsCase, tmp_path: Path
) -> None:
    port = urlsplit(orthanc.url).port or 0
    credentials = Credentials(user=orthanc.user, password=orthanc.password)
    for cuts, whole in ((2, True), (1000, False)):
        with (
            cutting(port, after=2500, cuts=cuts) as (proxy, broken),
            Archive(
                f"http://127.0.0.1:{proxy}/dicom-web", credentials, waits=(0.01, 0.01)
            ) as archive,
        ):
            study = study_of(archive, case.second)
            if whole:
                files = archive.fetch_ct(study, tmp_path / "whole").files
                assert len(files) == 5
                assert len(broken) == cuts
            else:
                with pytest.raises(InputError, match=r"failed 3 times .*cut.*try again later"):
                    archive.fetch_ct(study, tmp_path / "cut")
                assert len(broken) == 3
                assert list((tmp_path / "cut").glob("*")) == []


def test_what_is_stored_comes_back_and_may_be_stored_twice(
    archive: Archive, case: PacsCase, tmp_path: Path
) -> None:
    series = generate_uid()

    def as_segmentation(dataset: Dataset, _: int) -> None:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
        dataset.PatientID, dataset.PatientName = case.patients[0], NAMES[0]

    (file,) = write_series(
        tmp_path / "seg",
        make_hu((1, 40, 36)),
        study_uid=case.first,
        series_uid=series,
        modality="SEG",
        change=as_segmentation,
    )
    told: list[tuple[str, int, int]] = []
    archive.store([file], progress=lambda *step: told.append(step))
    archive.store([file])
    assert told == [("store", 1, 1)]
    study = study_of(archive, case.first)
    stored = series_of(study, [file])
    assert (stored.modality, stored.instances) == ("SEG", 1)
    assert stored not in candidates(study)
    (back,) = archive.fetch(study, stored, tmp_path / "back")
    assert dcmread(back) == dcmread(file)


def test_a_large_multiframe_image_makes_the_round_trip(archive: Archive, tmp_path: Path) -> None:
    file = write_multiframe(tmp_path / "enhanced.dcm", make_hu((24, 200, 160)))
    original = dcmread(file)
    archive.store([file])
    fetched = archive.fetch_ct(study_of(archive, str(original.StudyInstanceUID)), tmp_path / "back")
    assert fetched.files[0].stat().st_size > 1_500_000
    assert dcmread(fetched.files[0]).PixelData == original.PixelData


def test_what_cannot_be_stored_is_told(archive: Archive, case: PacsCase, tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(InputError, match=r"text\.dcm cannot be stored"):
        archive.store([tmp_path / "text.dcm"])
    headless = dcmread(case.files["only"][0])
    del headless.StudyInstanceUID
    headless.SOPInstanceUID = generate_uid()
    headless.save_as(tmp_path / "headless.dcm")
    with pytest.raises(RequestError, match=r"did not store headless\.dcm .*reason C000"):
        archive.store([tmp_path / "headless.dcm"])


def test_a_wrong_password_is_told(orthanc: OrthancServer, case: PacsCase) -> None:
    for credentials in (None, Credentials(user=orthanc.user, password="wrong-word")):
        with Archive(orthanc.url, credentials) as archive:
            with pytest.raises(RequestError, match="refuses the credentials") as caught:
                archive.find([case.first])
            assert "wrong-word" not in str(caught.value)
            with pytest.raises(RequestError, match="refuses the credentials"):
                archive.store(case.files["only"][:1])


def test_a_wrong_path_is_told(orthanc: OrthancServer) -> None:
    credentials = Credentials(user=orthanc.user, password=orthanc.password)
    with (
        Archive(orthanc.url.removesuffix("-web"), credentials) as archive,
        pytest.raises(RequestError, match="is not DICOMweb: check the path"),
    ):
        archive.find(["1.2.3"])


def test_no_log_and_no_message_tells_a_secret_or_a_patient(
    orthanc: OrthancServer,
    case: PacsCase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    messages = []
    credentials = Credentials(user=orthanc.user, password=orthanc.password)
    query = [f"PatientID={case.patients[0]}", "PatientName=Adams?Anna"]
    with open_archive(orthanc) as archive:
        (study,) = archive.find(query=query)
        archive.fetch_ct(study, tmp_path)
        archive.store(case.files["only"])
        with pytest.raises(RequestError) as caught:
            archive.find(query=[*query, "StudyDate=19000101"])
        messages.append(caught.value)
    with cutting(urlsplit(orthanc.url).port or 0, after=1, cuts=1000) as (port, _):
        for url, who in (
            (f"http://127.0.0.1:{port}/dicom-web", credentials),
            ("http://127.0.0.1:1/dicom-web", credentials),
            (orthanc.url, Credentials(user=orthanc.user, password="no" + orthanc.password)),
            (orthanc.url, Credentials(token=orthanc.password)),
        ):
            with (
                Archive(url, who, waits=(0.01,)) as archive,
                pytest.raises((RequestError, InputError)) as refused,
            ):
                archive.find(query=query)
            messages.append(refused.value)
    header = (credentials.header() or "").split()[1]
    secrets = (orthanc.password, header, "Adams", "Anna", *case.patients, "Brown")
    told = caplog.text + "".join(capfd.readouterr()) + repr(credentials)
    told += "".join(str(one) for one in messages)
    # a traceback, which --debug prints, must not bring what the libraries' messages hold either
    for message in messages:
        logging.getLogger("test").error("failed", exc_info=message)
    told += caplog.text
    assert [secret for secret in secrets if secret in told] == []
    assert "trying again" in caplog.text
    assert len(messages) == 5


@pytest.mark.data
def test_real_images_come_back_byte_for_byte(
    archive: Archive, shared_data: Path, tmp_path: Path
) -> None:
    files = sorted(f for f in (shared_data / "covid_ct_md" / "P001").rglob("*") if f.is_file())[:9]
    if not files:
        pytest.skip("the images of COVID-CT-MD are not on this machine")
    originals = {
        file_name(str(dcmread(f, stop_before_pixels=True).SOPInstanceUID)): f for f in files
    }
    archive.store(files)
    study = study_of(archive, str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID))
    fetched = archive.fetch(study, series_of(study, files), tmp_path)
    assert {file.name for file in fetched} == originals.keys()
    for file in fetched:
        assert file.read_bytes() == originals[file.name].read_bytes()
