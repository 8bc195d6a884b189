"""Studies of two patients as a PACS holds them, stored by the program's own ``store``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from dicom_writer import make_hu, write_series
from orthanc_server import OrthancServer
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from CovidLesionSegLogic.batch.pacs import Archive, Credentials

NAMES = ("Adams^Anna", "Brown^Bob")


@dataclass(frozen=True)
class PacsCase:
    """What was stored: Study Instance UIDs, and the files by series.

    ``first``: thin CT (RLE), thick CT (JPEG-LS), localiser, of the first patient, 2020-03-01.
    ``second``: one CT of the second patient, 2020-03-15. ``mr``: no CT, second patient, 2020-03-02.
    """

    patients: tuple[str, str]
    first: str
    second: str
    mr: str
    files: dict[str, list[Path]]


def open_archive(server: OrthancServer, *, page: int = 500) -> Archive:
    """The server, with its password and hardly any wait between attempts."""
    credentials = Credentials(user=server.user, password=server.password)
    return Archive(server.url, credentials, page=page, waits=(0.01, 0.02))


def seed(server: OrthancServer, folder: Path) -> PacsCase:
    """Write the series below ``folder`` and store them; every call makes new patients."""
    tag = uuid.uuid4().hex[:8]
    patients = (f"A-{tag}", f"B-{tag}")
    studies = {name: generate_uid() for name in ("first", "second", "mr")}
    # series: study, patient, date, slices, transfer syntax, description, modality, image type
    axial, scout = ("ORIGINAL", "PRIMARY", "AXIAL"), ("ORIGINAL", "PRIMARY", "LOCALIZER")
    plan = {
        "thin": ("first", 0, "20200301", 12, RLELossless, "Thorax 1.0", "CT", axial),
        "thick": ("first", 0, "20200301", 6, JPEGLSLossless, "Thorax 5.0", "CT", axial),
        "scout": ("first", 0, "20200301", 14, ExplicitVRLittleEndian, "Topogram", "CT", scout),
        "only": ("second", 1, "20200315", 5, ExplicitVRLittleEndian, "Thorax", "CT", axial),
        "brain": ("mr", 1, "20200302", 4, ExplicitVRLittleEndian, "Brain", "MR", axial),
    }
    files = {}
    for number, (name, what) in enumerate(plan.items()):
        study, patient, date, slices, syntax, description, modality, image_type = what

        def label(dataset: Dataset, _: int, who: int = patient, when: str = date) -> None:
            dataset.PatientName, dataset.PatientID = NAMES[who], patients[who]
            dataset.StudyDate, dataset.BodyPartExamined = when, "CHEST"

        files[name] = write_series(
            folder / name,
            make_hu((slices, 40, 36), seed=number),
            study_uid=studies[study],
            transfer_syntax=syntax,
            description=description,
            modality=modality,
            image_type=image_type,
            change=label,
        )
    with open_archive(server) as archive:
        archive.store([file for series in files.values() for file in series])
    return PacsCase(patients, studies["first"], studies["second"], studies["mr"], files)
