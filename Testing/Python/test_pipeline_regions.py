"""A lobe map given to a segmentation: lobes made out, score summed, wrong requests refused."""

from __future__ import annotations

import pytest
import tiny_model
from lobed_case import lobed_case

from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct
from CovidLesionSegLogic.quantify import parse_region_names

NAMES = "1=left upper lobe,2=left lower lobe,3=right upper lobe,4=right middle lobe,5=right lower"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The CT, its lungs, and its lobes as TotalSegmentator numbers them and as 1 to 5."""
    tiny_model.install(tmp_path, monkeypatch)
    ct, _, lungs, lobes = lobed_case()
    write_image(lungs, ct, tmp_path / "lungs.nii.gz")
    write_image(lobes, ct, tmp_path / "lobes.nii.gz")
    plain = (lobes - 9) * (lobes > 0)
    write_image(plain.astype("uint8"), ct, tmp_path / "plain.nii.gz")
    return ct, tmp_path


def segmented(files, regions, **options):
    ct, folder = files
    return segment_ct(
        ct,
        SegmentOptions(
            model="tiny",
            device="cpu",
            lungs=folder / "lungs.nii.gz",
            regions=folder / regions,
            **options,
        ),
    )


def test_known_lobes_get_a_score(files):
    quantification = segmented(files, "lobes.nii.gz").quantification
    assert {r.name for r in quantification.regions} >= {"left upper lobe", "right middle lobe"}
    assert quantification.score_0_to_25 is not None
    assert quantification.score_0_to_25 == sum(r.score for r in quantification.regions)


def test_plain_numbers_are_never_guessed(files):
    quantification = segmented(files, "plain.nii.gz").quantification
    assert len(quantification.regions) == 5
    assert quantification.score_0_to_25 is None


def test_names_make_lobes_of_plain_numbers(files):
    names = parse_region_names(NAMES + " lobe")
    result = segmented(files, "plain.nii.gz", region_names=names)
    lobes = segmented(files, "lobes.nii.gz").quantification
    assert result.quantification.score_0_to_25 == lobes.score_0_to_25
    assert result.provenance["options"]["region_names"]["5"] == "right lower lobe"


def test_names_without_a_map_are_refused():
    with pytest.raises(RequestError, match="--regions"):
        SegmentOptions(region_names={1: "left upper lobe"})
