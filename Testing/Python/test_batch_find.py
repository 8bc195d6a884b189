"""What a batch finds among files, folders, patterns and tables, and what studies are called."""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_case import NUMBERS
from dicom_writer import make_hu, write_series

from CovidLesionSegLogic.batch.case_table import read_cases
from CovidLesionSegLogic.batch.checksums import held, input_files, stamp
from CovidLesionSegLogic.batch.find import find_studies
from CovidLesionSegLogic.batch.naming import named
from CovidLesionSegLogic.batch.outcome import FAILED, Listener, Outcome
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.privacy import Pseudonyms, hide_identity, hide_names
from CovidLesionSegLogic.batch.process import Job, load, segment, write
from CovidLesionSegLogic.batch.record import Record, write_record
from CovidLesionSegLogic.batch.run import Batch, plan
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.supply import Supply
from CovidLesionSegLogic.ct import CTVolume, read_ct, write_image
from CovidLesionSegLogic.ct.dicom_names import name_words
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import InputError, RequestError


def nothing_there(name: str) -> None:
    return None


def volume(path: Path, shape=(4, 8, 8)) -> Path:
    hu = np.full(shape, -800, np.int16)
    return write_image(hu, CTVolume(hu), path)


def tagged(**values):
    def change(dataset, index) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


@pytest.fixture
def tree(tmp_path):
    """Two patients in one folder, a head CT, a localiser, an MR, a volume, masks of our own."""
    root = tmp_path / "in"
    hu = make_hu()
    series = {"series_uid": "1.2.3.1.1", "study_uid": "1.2.3.1"}
    write_series(root / "mixed", hu, prefix="a", **series, change=tagged(PatientName="Doe^Jane"))
    scout = {"series_uid": "1.2.3.1.2", "study_uid": "1.2.3.1"}
    kind = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    write_series(root / "mixed", hu[:1], prefix="s", **scout, image_type=kind)
    other = {"series_uid": "1.2.3.2.1", "study_uid": "1.2.3.2"}
    write_series(root / "mixed", hu[:5], prefix="b", **other)
    head = {"series_uid": "1.2.3.3.1", "study_uid": "1.2.3.3", "description": "Head 1.0"}
    write_series(root / "head", hu, **head, change=tagged(BodyPartExamined="HEAD"))
    mr = {"series_uid": "1.2.3.4.1", "study_uid": "1.2.3.4", "modality": "MR"}
    write_series(root / "mr", hu, **mr)
    volume(root / "more" / "scan.nii.gz")
    volume(root / "more" / "scan_labels.nii.gz")
    (root / "notes.txt").write_text("no image")
    return root


def test_a_mixed_tree_gives_one_chest_ct_of_each_study(tree):
    found = find_studies([str(tree)])
    assert [(s.series_uid, len(s.files)) for s in found.studies if s.files] == [
        ("1.2.3.1.1", 6),
        ("1.2.3.2.1", 5),
    ]
    assert [s.path for s in found.studies if not s.files] == [tree / "more" / "scan.nii.gz"]
    reasons = {(one.kind, one.what.split()[0]): one.why for one in found.left_out}
    assert "another part of the body (HEAD)" in reasons["study", "1.2.3.3"]
    assert "its modality is MR" in reasons["study", "1.2.3.4"]
    assert "localiser" in reasons["series", "1.2.3.1.2"]
    assert "this program wrote" in reasons["file", str(tree / "more" / "scan_labels.nii.gz")]


def test_the_files_found_are_the_ones_read(tree):
    study = next(s for s in find_studies([str(tree)]).studies if s.series_uid == "1.2.3.2.1")
    ct = read_ct(study.path, series_uid=study.series_uid, files=study.files)
    assert ct.shape[0] == 5
    assert ct.source["series_uid"] == "1.2.3.2.1"


def test_a_description_that_names_the_chest_outweighs_the_body_part(tmp_path):
    change = tagged(BodyPartExamined="ABDOMEN")
    write_series(tmp_path / "a", make_hu(), description="Chest/Abdomen", change=change)
    assert len(find_studies([str(tmp_path)]).studies) == 1


def test_a_folder_of_damaged_files_is_a_study_that_will_fail(tree):
    broken = tree / "damaged"
    broken.mkdir()
    whole = next((tree / "mr").iterdir()).read_bytes()
    (broken / "1.dcm").write_bytes(whole[:200])
    studies = find_studies([str(tree)]).studies
    assert broken in [s.path for s in studies]
    with pytest.raises(InputError):
        read_ct(broken)


def test_a_damaged_file_above_sound_studies_takes_none_of_theirs(tree):
    whole = next((tree / "mr").iterdir()).read_bytes()
    (tree / "stray.dcm").write_bytes(whole[:200])
    (study,) = [s for s in find_studies([str(tree)]).studies if s.path == tree]
    with pytest.raises(InputError, match="stray"):
        read_ct(study.path, files=study.files or None)


def test_one_series_uid_in_two_studies_is_two_cts(tmp_path):
    """Software that takes names out may give the same UID to several patients."""
    for n, name in enumerate("ab"):
        hu = make_hu(seed=n)
        write_series(tmp_path / name, hu, series_uid="1.2.3.1", study_uid=f"1.2.3.{n + 5}")
    found = find_studies([str(tmp_path)]).studies
    assert len({study.key for study in found}) == 2
    for study in found:
        assert {file.parent for file in study.files} == {study.path}
        assert read_ct(study.path, series_uid="1.2.3.1", files=study.files).shape[0] == 6


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_that_is_not_utf8_stops_nothing(tmp_path):
    volume(tmp_path / "a.nii.gz")
    os.rename(volume(tmp_path / "b.nii.gz"), os.fsencode(tmp_path) + b"/b\xff.nii.gz")
    found = find_studies([str(tmp_path)])
    assert [s.name for s in named(found.studies, nothing_there)] == ["a", "b"]
    assert Study.from_dict(json.loads(json.dumps(found.studies[1].to_dict()))) == found.studies[1]


@pytest.mark.parametrize("name", ["~nobody_of_that_name/a.nii.gz", "~$a.nii.gz"])
def test_a_tilde_that_is_no_home_is_a_letter(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    volume(tmp_path / name)
    assert [s.path for s in find_studies([name]).studies] == [tmp_path / name]
    (tmp_path / "cases.csv").write_text(f"input\n{name}\n")
    assert [s.path for s in find_studies(["cases.csv"]).studies] == [tmp_path / name]


def test_results_of_a_folder_that_was_moved_are_found_again(tmp_path):
    old, new, results = tmp_path / "old", tmp_path / "new", Results(tmp_path / "out")
    volume(old / "a.nii.gz")

    def planned() -> Batch:
        return plan(find_studies([str(new if new.exists() else old)]), results, Settings())

    with results.held():
        (study,) = planned().todo
        with results.staged(study.name) as folder:
            inputs = replace(stamp(input_files(study)), content=held(study))
            request = Settings().requests()(study)
            write_record(Record(study.name, study.key, request, inputs, {}, NUMBERS), folder)
        assert len(planned().kept) == 1
        old.rename(new)
        (moved,) = planned().todo
        assert (moved.name, moved.path) == ("a", new / "a.nii.gz")
        job = Job(moved, Settings(), results.root, lambda *_: None, Cancel())
        write(segment(load(job), None))  # type: ignore[arg-type]  # nothing is segmented
        assert len(planned().kept) == 1
        volume(new / "b" / "a.nii.gz")
        assert {s.name for s in planned().todo} == {"b_a"}


class TestNameWords:
    """Wherever a DICOM study's path may show, its patient's name is known, to be taken out."""

    def test_of_files_and_folders_that_were_named(self, tmp_path):
        files = write_series(
            tmp_path / "Doe_Jane", make_hu(), change=tagged(PatientName="Doe^Jane")
        )
        (tmp_path / "cases.csv").write_text("input\nDoe_Jane\n")
        for given in (files[0], tmp_path / "cases.csv", tmp_path / "Doe*" / "*"):
            for study in find_studies([str(given)]).studies:
                assert study.name_words == {"doe", "jane"}

    def test_of_what_lies_beside(self, tree):
        (tree / "mixed").rename(tree / "Doe_Jane")
        volume(tree / "Doe_Jane" / "more" / "ct.nii.gz")
        (tree / "Doe_Jane" / "damaged").mkdir()
        whole = next((tree / "mr").iterdir()).read_bytes()
        (tree / "Doe_Jane" / "damaged" / "1.dcm").write_bytes(whole[:200])
        found = find_studies([str(tree)])
        batch = plan(found, Results(tree / "out"), Settings())
        told = [s.name for s in batch.todo] + [f"{o.what} {o.why}" for o in batch.left_out]
        assert not any("doe" in text.lower() for text in told), told

    @pytest.mark.parametrize("coded", [False, True])
    def test_internal_errors_do_not_tell_them(self, tmp_path, coded):
        """These come from libraries, with whatever they had in hand."""
        files = tuple(tmp_path / "x" / f"Doe Jane {n}.dcm" for n in range(3))
        study = Study("x", files[0].parent, files=files, name_words=frozenset({"doe"}))

        class Fails:
            def __init__(self, listener: Listener) -> None:
                self.listener = listener

            def run(self, supply: Supply) -> None:
                text = f"internal error: OSError: {files[2]} is bad, of Doe."
                self.listener.outcome(Outcome(study, FAILED, None, text, f"Traceback: {text}"))

        class Listens:
            def outcome(self, outcome: Outcome) -> None:
                assert "doe" not in outcome.reason.lower()

        results = Results(tmp_path / "out")
        batch = Batch(Settings(pseudonymise=coded), results, [study], [], [])
        with results.held():
            batch.run(Fails, Listens())  # type: ignore[arg-type]
        for name in ("summary.json", "summary.csv", "summary.html"):
            text = (results.root / name).read_text()
            assert "Doe" not in text
            assert ("Jane" in text and str(tmp_path) in text) != coded

    @pytest.mark.parametrize(
        ("name", "text", "hidden"),
        [
            ("Li^Wei", "Li_Wei LiWei li lime Alina", "[name]_[name] [name] [name] lime Alina"),
            ("M\u00fcller", "Muller MUELLER Mu\u0308ller Mull", "[name] [name] [name] Mull"),
            ("Strau\u00df", "STRAUSS Strau\u00df", "[name] [name]"),
            ("Wang=\u738b^\u5c0f\u4e1c", "\u738b\u5c0f\u4e1c_CT", "[name][name]_CT"),
            ("Nguy\u1ec5n^Nam", "Nguyen Nam", "[name] [name]"),
            (
                "\u0418\u0432\u0430\u043d\u043e\u0432",
                "\u0418\u0412\u0410\u041d\u041e\u0412a",
                "[name]a",
            ),
            ("Doe^J^^Dr^Jr", "Dr Jr J Doe", "Dr Jr J [name]"),
        ],
    )
    def test_in_every_spelling(self, name, text, hidden):
        words = name_words(name)
        assert hide_names(text, words) == hidden
        assert hide_names(hidden, words) == hidden


def test_the_results_are_not_looked_at(tree):
    results = tree / "results"
    volume(results / "scan" / "ct.nii.gz")
    assert len(find_studies([str(tree)], exclude=results).studies) == 3
    assert len(find_studies([str(tree / "mr" / "..")], exclude=results).studies) == 3
    assert len(find_studies([str(tree)]).studies) == 4


def test_patterns_files_and_repeats(tree):
    scan = str(tree / "more" / "scan.nii.gz")
    found = find_studies([scan, str(tree / "more" / "*.nii.gz"), scan])
    assert [s.path.name for s in found.studies] == ["scan.nii.gz"]
    own = find_studies([str(tree / "more" / "scan_labels.nii.gz")])
    assert len(own.studies) == 1, "a file that is named is taken at its word"


@pytest.mark.parametrize("name", ["nowhere", "nowhere/*.nii.gz"])
def test_an_input_that_names_nothing_is_refused(tmp_path, name):
    with pytest.raises(RequestError, match="names no file"):
        find_studies([str(tmp_path / name)])


def test_nothing_to_segment_is_refused_with_the_reasons(tmp_path):
    write_series(tmp_path / "mr", make_hu(), modality="MR")
    with pytest.raises(RequestError, match="modality is MR"):
        find_studies([str(tmp_path)])


class TestCases:
    def table(self, tmp_path, text: str) -> Path:
        path = tmp_path / "cases.csv"
        path.write_text(text, encoding="utf-8")
        return path

    def test_columns_and_paths_relative_to_the_table(self, tmp_path):
        text = "\ufeffinput;name;lungs\nct/a.nii.gz;first;masks/a.nii.gz\n/b.nrrd;;\n;;\n"
        first, second = read_cases(self.table(tmp_path, text))
        assert (first.name, first.path) == ("first", tmp_path / "ct" / "a.nii.gz")
        assert first.lungs == tmp_path / "masks" / "a.nii.gz"
        assert (second.name, second.path, second.lungs) == ("b", Path("/b.nrrd"), None)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "no column 'input'"),
            ("path\na\n", "unknown column 'path'"),
            ("input,colour\na,red\n", "unknown column 'colour'"),
            ("input\n", "no rows"),
            ("input,name\na,b,c\n", "Line 2"),
            ("input,name\na,x/y\n", "Line 2"),
        ],
    )
    def test_a_wrong_table_is_refused(self, tmp_path, text, said):
        with pytest.raises(RequestError, match=said):
            read_cases(self.table(tmp_path, text))

    def test_a_table_that_is_no_text_is_refused(self, tmp_path):
        path = tmp_path / "cases.csv"
        path.write_bytes(b"input\n\xff\xfe\n")
        with pytest.raises(InputError, match="UTF-8"):
            read_cases(path)

    def test_empty_columns_of_a_spreadsheet_do_not_count(self, tmp_path):
        path = self.table(tmp_path, "input;name;;\na.nii.gz;x;;\n")
        assert [s.name for s in read_cases(path)] == ["x"]

    def test_a_row_outdoes_what_a_folder_holds_and_a_lost_map_is_said(self, tmp_path):
        volume(tmp_path / "a.nii.gz")
        path = self.table(tmp_path, "input,lungs\na.nii.gz,one.nrrd\na.nii.gz,two.nrrd\n")
        found = find_studies([str(tmp_path), str(path)])
        assert [s.lungs for s in found.studies] == [tmp_path / "one.nrrd"]
        assert ["other maps" in one.why for one in found.left_out if one.kind == "study"] == [True]

    def test_a_row_that_names_nothing_fails_alone(self, tmp_path):
        path = self.table(tmp_path, "input\nnowhere.nii.gz\n")
        assert [s.path.name for s in find_studies([str(path)]).studies] == ["nowhere.nii.gz"]


class TestNames:
    def test_they_are_the_same_in_every_run_whatever_the_order(self):
        studies = [Study("CT", Path("/a/CT")), Study("ct", Path("/b/ct")), Study("x", Path("/x"))]
        names = [s.name for s in named(studies, nothing_there)]
        assert len({name.casefold() for name in names}) == 3
        assert sorted(names) == sorted(s.name for s in named(studies[::-1], nothing_there))
        assert "x" in names

    def test_another_studys_results_keep_their_name(self):
        study = Study("CT", Path("/a/CT"))
        assert [s.name for s in named([study], {"CT": study.key}.get)] == ["CT"]
        for owner in ("", "another key"):
            (other,) = named([study], {"CT": owner}.get)
            assert other.name == f"CT-{study.key[:8]}"

    def test_results_keep_their_name_when_another_study_comes_or_goes(self):
        one, two = Study("CT", Path("/a/CT")), Study("CT", Path("/b/CT"))
        marked = f"CT-{two.key[:8]}"
        both = [s.name for s in named([one, two], {"CT": one.key}.get)]
        assert both == ["CT", marked]
        assert [s.name for s in named([two], {marked: two.key}.get)] == [marked]

    def test_accents_written_in_two_ways_are_one_name(self):
        studies = [Study("M\u00fc", Path("/a")), Study("Mu\u0308", Path("/b"))]
        names = [unicodedata.normalize("NFC", s.name) for s in named(studies, nothing_there)]
        assert len(set(names)) == 2

    @pytest.mark.parametrize("name", ["summary.csv", ".batch", "con", "a" * 300, "x/../y"])
    def test_every_name_can_be_a_folder_of_its_own(self, tmp_path, name):
        (study,) = named([Study(name, Path("/a"))], nothing_there)
        (tmp_path / study.name).mkdir()
        assert study.name.casefold() not in ("summary.csv", ".batch")

    def test_a_patients_name_is_taken_out(self, tree):
        (tree / "mixed").rename(tree / "DOE_Jane_chest")
        studies = named(find_studies([str(tree)]).studies, nothing_there)
        assert not any("doe" in s.name.lower() or "jane" in s.name.lower() for s in studies)

    def test_codes_need_the_key_and_stay_the_same(self, tmp_path):
        study = Study("Doe", Path("/a"), series_uid="1.2.3")
        key = tmp_path / "key"
        (first,) = named([study], nothing_there, Pseudonyms.from_file(key))
        (again,) = named([study], nothing_there, Pseudonyms.from_file(key))
        (other,) = named([study], nothing_there, Pseudonyms.from_file(tmp_path / "other"))
        assert first.name == again.name != other.name
        assert first.key == first.name, "no checksum that anybody could try out"
        assert key.stat().st_mode & 0o077 == 0

    def test_a_run_killed_while_it_makes_the_key_leaves_none(self, tmp_path, monkeypatch):
        def killed(length: int) -> str:
            raise KeyboardInterrupt

        key = tmp_path / "key"
        with monkeypatch.context() as patch:
            patch.setattr("secrets.token_hex", killed)
            with pytest.raises(KeyboardInterrupt):
                Pseudonyms.from_file(key)
        assert Pseudonyms.from_file(key).code("a") == Pseudonyms.from_file(key).code("a")
        assert [path.name for path in tmp_path.iterdir()] == ["key"]

    def test_a_key_that_is_none_is_refused(self, tmp_path):
        (tmp_path / "key").write_text("password")
        with pytest.raises(RequestError, match="--pseudonym-key"):
            Pseudonyms.from_file(tmp_path / "key")


def test_names_are_hidden_in_texts_in_any_capitals():
    assert hide_names("DOE's scan of doerfler", ["doe", "doerfler"]) == "[name]'s scan of [name]"


def test_identity_is_hidden_in_texts():
    path = Path("/data/Doe/CT 7")
    text = f"{path}/IM1.dcm is damaged; series 1.2.840.113619.2.55.3 ('Chest of Doe') in CT 7."
    hidden = hide_identity(text, path)
    assert "Doe" not in hidden
    assert "1.2.840" not in hidden
    assert "IM1" not in hidden
    assert "is damaged" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "left out 'Chest of Doe's', UID 2.25.329800735698586629295641978511506172918.",
        "read ''Doe' thorax' (CT, 3 images), 'Doe', UID 1.2.840.113619.",
    ],
)
def test_odd_descriptions_and_uids_are_hidden_too(text):
    hidden = hide_identity(text, Path("/data"))
    assert "Doe" not in hidden
    assert not any(uid in hidden for uid in ("3298", "113619"))


def test_words_of_a_name_are_no_codes(tree):
    (study,) = [s for s in find_studies([str(tree)]).studies if s.series_uid == "1.2.3.1.1"]
    assert study.name_words >= {"doe", "jane"}
    change = tagged(PatientName="P001^anonymous")
    write_series(tree.parent / "code", make_hu(), change=change)
    (coded,) = find_studies([str(tree.parent / "code")]).studies
    assert coded.name_words == frozenset()
