"""The results folder: studies come whole or not at all, whatever a killed run left behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from batch_case import NUMBERS

from CovidLesionSegLogic.batch.checksums import Inputs, content, held, input_files, stamp
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.record import Record, read_record, write_record
from CovidLesionSegLogic.batch.run import Batch
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.errors import InputError, RequestError


def put(results: Results, name: str, text: str) -> None:
    """Results of one file."""
    with results.staged(name) as folder:
        (folder / "ct_labels.txt").write_text(text)
        outputs = {"labels": {"file": "ct_labels.txt", "bytes": len(text)}}
        write_record(Record(name, "key", "request", Inputs(1, "a", "b"), outputs, NUMBERS), folder)


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path / "out")
    with results.held():
        yield results


def test_a_study_comes_with_its_record(results):
    put(results, "CT", "one")
    record = results.record("CT")
    assert record is not None
    assert record.inputs == Inputs(1, "a", "b")
    assert record.whole(results.root / "CT")
    (results.root / "CT" / "ct_labels.txt").write_text("other size")
    assert not record.whole(results.root / "CT")


def test_a_failure_leaves_what_was_there(results):
    put(results, "CT", "one")

    def fail() -> None:
        with results.staged("CT") as folder:
            (folder / "ct_labels.txt").write_text("two")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (results.root / "CT" / "ct_labels.txt").read_text() == "one"
    assert [p.name for p in results.hidden.iterdir()] == ["claim.lock"]


def test_new_results_replace_old_ones_and_spare_what_others_put_there(results):
    put(results, "CT", "one")
    (results.root / "CT" / "my notes.txt").write_text("mine")
    put(results, "CT", "two")
    texts = {p.name: p.read_text() for p in (results.root / "CT").glob("*.txt")}
    assert texts == {"ct_labels.txt": "two", "my notes.txt": "mine"}


def leave(results: Results, when: str) -> None:
    """Replace results as a run does that is killed ``when``."""
    real = os.replace
    calls = 0

    def replace(old: object, new: object) -> None:
        nonlocal calls
        calls += 1
        if calls == {"before": 1, "between": 2, "after": 3}[when] + 1:  # 1 is the record's
            raise KeyboardInterrupt
        real(old, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace)
        patch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            put(results, "CT", "two")


@pytest.mark.parametrize(
    ("when", "text"), [("before", "one"), ("between", "one"), ("after", "two")]
)
def test_the_next_run_puts_right_what_a_killed_one_left(tmp_path, when, text):
    results = Results(tmp_path)
    with results.held():
        put(results, "CT", "one")
        (tmp_path / "CT" / "my notes.txt").write_text("mine")
        leave(results, when)
    with results.held():
        assert (tmp_path / "CT" / "ct_labels.txt").read_text() == text
        assert (tmp_path / "CT" / "my notes.txt").read_text() == "mine"
        assert results.record("CT") is not None
        assert [p.name for p in results.hidden.iterdir()] == ["claim.lock"]


def test_what_somebody_made_of_a_result_is_not_lost(results):
    """A corrected segmentation, say, and a file of a name that the next run gives to its own."""
    put(results, "CT", "one")
    (results.root / "CT" / "ct_labels.txt").write_text("corrected by hand")
    put(results, "CT", "two")
    (results.root / "CT" / "ct_labels.txt").write_text("corrected again")
    put(results, "CT", "three")
    texts = {p.name: p.read_text() for p in (results.root / "CT").glob("*.txt")}
    assert texts == {
        "ct_labels.txt": "three",
        "earlier-1-ct_labels.txt": "corrected by hand",
        "earlier-2-ct_labels.txt": "corrected again",
    } or texts == {
        "ct_labels.txt": "three",
        "earlier-1-ct_labels.txt": "corrected again",
        "earlier-2-ct_labels.txt": "corrected by hand",
    }


def test_killed_while_old_results_are_removed(tmp_path):
    """The record went first: what is left is nevertheless known to be old."""
    results = Results(tmp_path)
    with results.held():
        put(results, "CT", "one")
        (tmp_path / "CT" / "ct_labels.txt").rename(tmp_path / "CT" / "ct_map.txt")
        record = tmp_path / "CT" / "CT_batch.json"
        record.write_text(record.read_text().replace("ct_labels.txt", "ct_map.txt"))

        def half(folder: Path, ignore_errors: bool) -> None:
            for path in folder.rglob("*_batch.json"):
                path.unlink()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shutil.rmtree", half)
            put(results, "CT", "two")
    with results.held():
        names = sorted(path.name for path in (tmp_path / "CT").iterdir())
        assert names == ["CT_batch.json", "ct_labels.txt"]


def test_half_written_summaries_and_records_go(tmp_path):
    results = Results(tmp_path)
    with results.held():
        put(results, "CT", "one")
    for name in (".0123456789ab.summary.csv", "CT/.0123456789ab.CT_batch.json"):
        (tmp_path / name).write_text("{")
    (tmp_path / "CT" / ".mine_batch.json").write_text("mine")
    with results.held():
        left = sorted(p.name for p in tmp_path.rglob(".*") if p.name != ".batch")
        assert left == [".mine_batch.json"]


def test_results_that_vanish_are_not_begun_again_elsewhere(tmp_path):
    """A drive that was unplugged: nothing is to be written below the place where it was."""
    results = Results(tmp_path / "drive" / "out")
    with results.held():
        shutil.rmtree(tmp_path / "drive")
        with pytest.raises(RequestError, match="cannot be written"):
            put(results, "CT", "one")
        batch = Batch(Settings(), results, [], [], [])
        with pytest.raises(RequestError, match="cannot be written"):
            batch.write_summary()
    assert not (tmp_path / "drive").exists()


def test_only_errors_of_the_folder_are_told_as_such(tmp_path):
    with pytest.raises(BrokenPipeError), Results(tmp_path).held():
        raise BrokenPipeError  # whoever read our output is gone


class Dead(BaseException):
    """A process that was killed does nothing any more, not even to clean up."""


@contextlib.contextmanager
def killed_before(change: int):
    """The process dies before its ``change``-th change of the file system."""
    left = change

    def deadly(real):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Dead
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "mkdir", "unlink", "rmdir"):
            patch.setattr(os, name, deadly(getattr(os, name)))
        with contextlib.suppress(Dead):
            yield


def test_killed_before_any_change_and_again_while_that_is_put_right(tmp_path):
    """Whenever it is, one result is there, whole; what others put there stays; no litter stays."""
    seen = set()
    for first, second in itertools.product(range(16), range(0, 9, 2)):
        results = Results(tmp_path / f"{first}-{second}")
        folder = results.root / "CT"
        with results.held():
            put(results, "CT", "one")
            (folder / "notes.txt").write_text("mine")
            with killed_before(first):
                put(results, "CT", "two")
        with killed_before(second), results.held():
            pass
        with results.held():
            assert [p.name for p in results.hidden.iterdir()] == ["claim.lock"]
            record = results.record("CT")
            assert record is not None
            assert record.whole(folder)
            texts = {p.name: p.read_text() for p in folder.iterdir()}
            seen.add(texts["ct_labels.txt"])
            assert sorted(texts) == ["CT_batch.json", "ct_labels.txt", "notes.txt"]
            assert texts["notes.txt"] == "mine"
    assert seen == {"one", "two"}


def test_two_runs_do_not_share_a_folder(results, repository):
    code = (
        "import sys; from pathlib import Path\n"
        "from CovidLesionSegLogic.batch.place import Results\n"
        "with Results(Path(sys.argv[1])).held(): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(results.root)],
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=120,
    )
    assert "RequestError: Another run is at work" in done.stderr


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="is not a folder"), Results(tmp_path / "file").held():
        pass


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 2}', "\xff"])
def test_a_record_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / f"{tmp_path.name}_batch.json").write_text(text, encoding="latin-1")
    assert read_record(tmp_path) is None


class TestInputs:
    def study(self, tmp_path: Path) -> Study:
        for name in "ab":
            (tmp_path / name).write_text(name)
        return Study("x", tmp_path, files=(tmp_path / "a", tmp_path / "b"))

    def test_renamed_and_moved_files_hold_the_same(self, tmp_path):
        before = content(input_files(self.study(tmp_path)))
        (tmp_path / "a").rename(tmp_path / "c")
        assert content([tmp_path / "c", tmp_path / "b"]) == before

    def test_touched_and_changed_files_are_told_apart(self, tmp_path):
        files = input_files(self.study(tmp_path))
        stamped, held = stamp(files), content(files)
        os.utime(files[0], ns=(1, 1))
        assert stamp(files) != stamped
        assert content(files) == held
        files[0].write_text("c")
        os.utime(files[0], ns=(1, 1))
        assert content(files) != held

    def test_masks_count(self, tmp_path):
        study = self.study(tmp_path)
        lungs = tmp_path / "lungs.nii.gz"
        assert lungs in input_files(Study("x", study.path, study.files, lungs=lungs))

    @pytest.mark.parametrize(
        ("name", "text", "counted"),
        [
            ("a.mhd", "NDims = 3\nElementDataFile = a.raw", ["a.mhd", "a.raw"]),
            ("a[1].nhdr", "NRRD0004\ndata file: b.raw\n", ["a[1].nhdr", "b.raw"]),
            ("a.mhd", "ElementDataFile = LIST\na.raw\nb.raw", ["a.mhd", "a.raw", "b.raw"]),
            ("a.nhdr", "data file: %c.raw 1 2 1", ["a.nhdr", "a.raw", "b.raw"]),
            ("a.mhd", "ElementDataFile = LOCAL\nvoxels", ["a.mhd"]),
            ("a.nhdr", "encoding: raw\n\nvoxels", ["a.nhdr"]),
        ],
    )
    def test_the_voxels_of_a_header_count(self, tmp_path, name, text, counted):
        for voxels in ("a.raw", "b.raw"):
            (tmp_path / voxels).write_text(voxels)
        (tmp_path / name).write_text(text)
        assert [f.name for f in input_files(Study("a", tmp_path / name))] == counted

    def test_maps_that_change_places_are_told_apart(self, tmp_path):
        study = self.study(tmp_path)
        one = replace(study, files=study.files[:1], lungs=study.files[0], regions=study.files[1])
        two = replace(one, lungs=one.regions, regions=one.lungs)
        assert held(one) != held(two)
        assert stamp(input_files(one)) != stamp(input_files(two))

    def test_a_file_that_is_gone_is_said(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            stamp([tmp_path / "gone"])
