"""Batches of studies that a real Orthanc holds: fetched, segmented, stored there again."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_case import batch_command, environment
from dicom_writer import write_series
from pacs_case import open_archive
from pydicom.uid import generate_uid
from test_batch_run import counts, statuses, summary

QUICK = ("--no-report", "--format", "nii.gz")


@pytest.fixture(scope="module")
def stored(orthanc, tmp_path_factory):
    """Patient ID, and the UIDs of a chest CT, a CT without lungs and one that is not there."""
    from CovidLesionSegLogic.phantom import make_phantom

    folder = tmp_path_factory.mktemp("dicom")
    patient = f"P-{uuid.uuid4().hex[:8]}"
    chest = make_phantom((20, 80, 80), (4.4, 4.4, 14.0)).ct.array.astype(np.int16)
    water = np.zeros_like(chest)
    water[:, :4] = -1000
    uids = []
    for number, hu in enumerate((chest, water)):
        uid = generate_uid()

        def label(dataset: Any, _: int) -> None:
            dataset.PatientName, dataset.PatientID = "Quxington^Jane", patient
            dataset.BodyPartExamined = "CHEST"

        files = write_series(
            folder / str(number), hu, spacing=(4.4, 4.4, 14.0), study_uid=uid, change=label
        )
        with open_archive(orthanc) as archive:
            archive.store(files)
        uids.append(uid)
    return patient, *uids, generate_uid()


def run(batch_models: Path, orthanc: Any, *arguments: object, password: str | None = None) -> Any:
    env = environment(batch_models) | {
        "COVIDLESIONSEG_DICOMWEB_USER": orthanc.user,
        "COVIDLESIONSEG_DICOMWEB_PASSWORD": password or orthanc.password,
    }
    command = batch_command("--dicomweb", orthanc.url, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def series_of(orthanc: Any, study: str) -> list[str]:
    """Modalities of a study's series in the archive."""
    with open_archive(orthanc) as archive:
        (found,) = archive.find([study])
    return sorted(one.modality for one in found.series)


def assert_same_segments(orthanc: Any, study: str, written: Path, folder: Path) -> None:
    """What the archive gives back of the result is what was written."""
    from pydicom import dcmread

    with open_archive(orthanc) as archive:
        (found,) = archive.find([study])
        (series,) = [one for one in found.series if one.modality == "SEG"]
        (file,) = archive.fetch(found, series, folder)
    sent, back = dcmread(written), dcmread(file)
    assert back.PixelData == sent.PixelData
    assert back.SOPInstanceUID == sent.SOPInstanceUID
    assert [s.SegmentLabel for s in back.SegmentSequence] == [
        s.SegmentLabel for s in sent.SegmentSequence
    ]
    assert back.StudyInstanceUID == study


def test_studies_are_fetched_segmented_and_stored(batch_models, orthanc, stored, tmp_path):
    _, chest, water, absent = stored
    out = tmp_path / "out"
    studies = [word for uid in (chest, water, absent) for word in ("--study", uid)]
    done = run(batch_models, orthanc, *studies, "--store", "-o", out, *QUICK)
    assert done.returncode == 4, done.stderr
    assert statuses(out) == dict(sorted({chest: "done", water: "failed", absent: "failed"}.items()))
    reasons = {row["study"]: row["reason"] for row in summary(out)["rows"]}
    assert "no study" in reasons[absent]
    assert "ung" in reasons[water]
    assert ".batch" not in reasons[water], "the hidden folder says nothing to a person"
    assert series_of(orthanc, chest) == ["CT", "SEG"]
    written = out / chest / f"{chest}.seg.dcm"
    assert_same_segments(orthanc, chest, written, tmp_path / "back")
    assert not list((out / ".batch").glob("fetched-*"))
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".dcm":
            assert b"Quxington" not in path.read_bytes()
    assert "Quxington" not in done.stdout + done.stderr

    again = run(batch_models, orthanc, "--study", chest, "--store", "-o", out, *QUICK)
    assert again.returncode == 0, again.stderr
    assert counts(out) == (0, 1, 0), "neither fetched nor stored again"
    assert series_of(orthanc, chest) == ["CT", "SEG"]


def test_what_was_not_stored_is_stored_later(batch_models, orthanc, stored, tmp_path):
    _, chest, _, _ = stored
    out = tmp_path / "out"
    formats = ("--no-report", "--format", "nii.gz,dicom-seg")
    run(batch_models, orthanc, "--study", chest, "-o", out, *formats)
    before = series_of(orthanc, chest)
    run(batch_models, orthanc, "--study", chest, "-o", out, *formats, "--store")
    assert counts(out) == (0, 1, 0)
    assert series_of(orthanc, chest) == sorted([*before, "SEG"])


def test_a_query_lists_what_would_be_done(batch_models, orthanc, stored, tmp_path):
    patient, chest, water, _ = stored
    query = ("--query", f"PatientID={patient}")
    done = run(batch_models, orthanc, *query, "--list", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert chest in done.stdout
    assert water in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_wrong_password_ends_before_any_work(batch_models, orthanc, stored, tmp_path):
    done = run(
        batch_models, orthanc, "--study", stored[1], "-o", tmp_path / "out", password="wrong"
    )
    assert done.returncode == 2
    assert "401" in done.stderr or "password" in done.stderr
    assert orthanc.password not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "1.2.3"], "--dicomweb"),
        (["--store"], "--dicomweb"),
        (["--dicomweb", "http://localhost:1/x"], "--study or --query"),
        (
            ["--dicomweb", "http://localhost:1/x", "--study", "1.2", "--store", "--pseudonymise"],
            "pseudonymised",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_refused(batch_models, tmp_path, arguments, said):
    command = batch_command(*arguments, "-o", tmp_path / "out")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment(batch_models)
    )
    assert done.returncode == 2
    assert said in done.stderr
