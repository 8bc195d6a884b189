"""What goes between a batch and an archive, with an archive that fails as a real one may."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dicom_writer import make_hu, write_series

from CovidLesionSegLogic.batch.checksums import Inputs
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, KEPT, Outcome
from CovidLesionSegLogic.batch.pacs import RemoteStudy
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.remote import Exchange
from CovidLesionSegLogic.batch.study import Remote, Study
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import RequestError

UIDS = ("1.2.3.1", "1.2.3.2")


class Archive:
    """Gives a small series for each study; what it cannot do is told by UID or for all."""

    def __init__(self, spoilt: str = "", refuses: bool = False) -> None:
        self.spoilt, self.refuses = spoilt, refuses
        self.stored: list[str] = []

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fetch_ct(self, study: RemoteStudy, folder: Path, **_: Any) -> Any:
        def label(dataset: Any, _: int) -> None:
            dataset.PatientName = "Doe^Jane"

        if study.uid == self.spoilt:
            raise RecursionError("an image that a library cannot cope with")
        files = write_series(folder, make_hu(), change=label)
        return SimpleNamespace(files=tuple(files), series=SimpleNamespace(uid=f"{study.uid}.1"))

    def store(self, paths: list[Path], **_: Any) -> None:
        if self.refuses:
            raise RequestError("The archive did not store it (out of resources).")
        self.stored += [path.name for path in paths]


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path / "out")
    with results.held():
        yield results


def studies(results: Results) -> list[Study]:
    return [
        Study(uid, results.hidden / f"fetched-{uid}", remote=Remote(uid, f"https://a/{uid}"))
        for uid in UIDS
    ]


def exchange(archive: Archive, results: Results, url: str = "https://a") -> Exchange:
    source: Any = SimpleNamespace(url=url, open=lambda: archive)
    remotes = {uid: RemoteStudy(uid, ()) for uid in UIDS}
    return Exchange(source, results, remotes, store=True, pseudonymise=False, cancel=Cancel())


def finished(results: Results, study: Study) -> Outcome:
    (results.root / study.name).mkdir(exist_ok=True)
    outputs = {"dicom_seg": {"file": "x.seg.dcm", "bytes": 0}}
    record = Record(study.name, study.key, "r", Inputs(1, "a", "b"), outputs, {})
    return Outcome(study, DONE, record)


def test_an_image_that_spoils_its_study_spares_the_rest(results):
    told: Any = SimpleNamespace(progress=lambda *_: None)
    with exchange(Archive(spoilt=UIDS[0]), results).fetching(studies(results), told) as supply:
        came, failed, until = [], [], time.monotonic() + 20
        while not supply.ended and time.monotonic() < until:
            failed += supply.failed()
            came += [one for one in [supply.take()] if one is not None]
            time.sleep(0.01)
    assert [one.study.name for one in failed] == [UIDS[0]]
    assert "RecursionError" in failed[0].reason
    assert [one.name for one in came] == [UIDS[1]]
    assert came[0].name_words == {"doe", "jane"}, "to be taken out of the texts"
    assert not list(results.hidden.glob("fetched-*"))


def test_what_an_archive_refuses_to_store_fails_alone(results):
    study, _ = studies(results)
    outcome = exchange(Archive(refuses=True), results).finish(finished(results, study))
    assert outcome.status == FAILED
    assert "segmented but not stored" in outcome.reason


def test_what_one_archive_has_is_stored_in_another(results):
    study, _ = studies(results)
    first, second = Archive(), Archive()
    outcome = exchange(first, results).finish(finished(results, study))
    kept = Outcome(study, KEPT, outcome.record)
    exchange(first, results).finish(kept)
    exchange(second, results, "https://b").finish(kept)
    assert (len(first.stored), len(second.stored)) == (1, 1)
