"""One to four classes through the coarse-refine network: saved, loaded, run, named, written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_model
from test_mrml_segments import ids, segment_array

from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.mrml.terminology import entry_for
from CovidLesionSegLogic.outputs import write_outputs
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct

pytest.importorskip("slicer", reason="slicer-core is not installed")
mrml = pytest.importorskip("CovidLesionSegLogic.mrml")

NAMES = ("Ground-glass opacity", "Consolidation", "Fibrosis", "Crazy paving")
CODES = (("DCM", "112120"), ("SCT", "9656002"), ("SCT", "112674009"), ("SCT", "52988006"))


@pytest.fixture
def study(phantom, tmp_path):
    """Three slices of the phantom and the file of their lungs."""
    part = slice(22, 25)
    ct = replace(phantom.ct, array=phantom.ct.array[part], name="study")
    return ct, write_image(phantom.lungs[part], ct, tmp_path / "lungs.nii.gz")


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_class_becomes_a_segment_of_its_name(study, tmp_path, monkeypatch, n):
    folder = tmp_path / "models"
    folder.mkdir()
    card = tiny_model.install_coarse_refine(folder, monkeypatch, n)
    ct, lungs = study
    result = segment_ct(ct, SegmentOptions(model="coarse-refine", device="cpu", lungs=lungs))
    assert [c.name for c in result.classes] == [c["name"] for c in tiny_model.LESION_TYPES[:n]]
    present = set(np.unique(result.labels)) - {0}
    assert present == set(range(1, n + 1))

    measures = result.quantification.classes
    assert [m.name for m in measures] == [c.name for c in card.classes]
    for m in measures:
        voxels = np.count_nonzero(result.labels == m.label)
        assert m.volume_ml == pytest.approx(voxels * ct.voxel_volume_ml)
    total = result.quantification.total
    assert total.volume_ml == pytest.approx(sum(m.volume_ml for m in measures))
    assert total.share_of_lungs_percent == pytest.approx(
        sum(m.share_of_lungs_percent for m in measures)
    )

    files = write_outputs(result, tmp_path / "out", report=False)
    data = json.loads(files["quantification_json"].read_text())
    assert [c["name"] for c in data["classes"]] == [c.name for c in card.classes]
    shown = mrml.result_to_segmentation(result)
    for node in (shown, mrml.read_segmentation(files["segmentation"])):
        segmentation = node.GetSegmentation()
        assert node.GetClassName() == "vtkMRMLSegmentationNode"
        segments = [segmentation.GetSegment(i) for i in ids(node)]
        assert [s.GetName() for s in segments] == [*NAMES[:n], "Right lung", "Left lung"]
        for segment, segment_id, known, code in zip(
            segments, ids(node), card.classes, CODES, strict=False
        ):
            np.testing.assert_allclose(segment.GetColor(), np.array(known.color) / 255, atol=1e-6)
            assert "^".join(code) in segment.GetTerminology()
            np.testing.assert_array_equal(
                segment_array(node, segment_id, ct.shape), result.labels == known.label
            )
        labels, own_lungs = mrml.segmentation_to_labels(node, ct)
        np.testing.assert_array_equal(labels, result.labels)
        np.testing.assert_array_equal(own_lungs, result.lungs)
        assert [(c.name, c.label, c.color) for c in mrml.segmentation_classes(node)] == [
            (c.name, c.label, c.color) for c in card.classes
        ]


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("ground-glass opacity", "Ground glass opacity"),
        ("consolidation", "Consolidation"),
        ("fibrosis", "Fibrosis"),
        ("infection", "Lesion"),
    ],
)
def test_the_terminology_knows_the_lesion_types(name, meaning):
    entry = entry_for(name)
    assert entry.type.meaning == meaning
    assert entry.region.meaning == "Lung"
