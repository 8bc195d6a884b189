"""The Slicer module's file and logic, on real MRML nodes without the application."""

from __future__ import annotations

import ast
import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from CovidLesionSegLogic.errors import InputError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from CovidLesionSegLogic.models import ModelCard
    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")
panel_host = pytest.importorskip("panel_host")

from CovidLesionSegLogic import mrml, pipeline  # noqa: E402
from CovidLesionSegLogic.ct import CTVolume, write_image  # noqa: E402
from CovidLesionSegLogic.models import LesionClass  # noqa: E402
from CovidLesionSegLogic.quantify import quantify  # noqa: E402

CLASSES = (LesionClass("ground-glass opacity", 1), LesionClass("consolidation", 2))


@pytest.fixture
def host() -> Iterator[Any]:
    with panel_host.running() as host:
        yield host


@pytest.fixture
def module(host: Any, repository: Path) -> ModuleType:
    module: ModuleType = host.load(repository / "CovidLesionSeg" / "CovidLesionSeg.py")
    return module


@pytest.fixture
def known_result(monkeypatch: pytest.MonkeyPatch, phantom: Phantom) -> list[object]:
    """The pipeline answers with the phantom's truth; returns the calls it received.

    What the networks find is tested with the pipeline; here it is how nodes go in and come out.
    """
    calls: list[object] = []

    def segment_ct(ct, options, *, progress=None, cancel=None):  # type: ignore[no-untyped-def]
        calls.append((ct, options, cancel))
        if progress is not None:
            progress("segment", 1, 1)
        return pipeline.SegmentationResult(
            ct=ct,
            labels=phantom.lesions,
            lungs=phantom.lungs,
            probability=None,
            classes=CLASSES,
            quantification=quantify(ct, phantom.lesions, phantom.lungs, CLASSES),
            provenance={"seconds": {"segment": 1.0}, "model": {"name": options.model}},
        )

    monkeypatch.setattr(pipeline, "segment_ct", segment_ct)
    return calls


def test_process_writes_the_result_into_the_users_node(
    module: ModuleType, phantom: Phantom, known_result: list[object]
) -> None:
    volume = mrml.volume_to_node(phantom.ct, name="Thorax")
    logic = module.CovidLesionSegLogic()
    segmentation = logic.createSegmentation(volume)
    assert segmentation.GetName().startswith("Thorax lesions")
    progress: list[tuple[str, int, int]] = []
    result = logic.processHere(
        volume,
        segmentation,
        model="another",
        threshold=0.4,
        progressCallback=lambda *step: progress.append(step),
    )
    ct, options, _ = known_result[0]  # type: ignore[misc]
    np.testing.assert_array_equal(ct.array, phantom.ct.array)
    assert (options.model, options.threshold) == ("another", 0.4)
    assert progress == [("segment", 1, 1)]
    labels, lungs = mrml.segmentation_to_labels(segmentation, phantom.ct)
    np.testing.assert_array_equal(labels, phantom.lesions)
    np.testing.assert_array_equal(lungs, phantom.lungs)
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is volume
    assert result.quantification.to_dict() == logic.measure(volume, segmentation).to_dict()


def test_a_corrected_segmentation_is_measured_as_it_now_is(
    module: ModuleType, phantom: Phantom, known_result: list[object]
) -> None:
    volume = mrml.volume_to_node(phantom.ct)
    logic = module.CovidLesionSegLogic()
    segmentation = logic.createSegmentation(volume)
    logic.processHere(volume, segmentation)
    lesion = segmentation.GetSegmentation().GetNthSegmentID(0)
    nothing = np.zeros(phantom.ct.shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(nothing, segmentation, lesion, volume)
    corrected = phantom.lesions * (phantom.lesions == 2)
    expected = quantify(phantom.ct, corrected, phantom.lungs, CLASSES)
    assert logic.measure(volume, segmentation).to_dict() == expected.to_dict()


def test_options_reach_the_result(
    module: ModuleType, phantom: Phantom, known_result: list[object]
) -> None:
    volume = mrml.volume_to_node(phantom.ct)
    logic = module.CovidLesionSegLogic()
    segmentation = logic.createSegmentation(volume)
    logic.processHere(volume, segmentation, showLungs=False, surfaces=True)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_wrong_requests_are_refused_before_any_work(
    module: ModuleType, phantom: Phantom, known_result: list[object]
) -> None:
    logic = module.CovidLesionSegLogic()
    volume = mrml.volume_to_node(phantom.ct)
    segmentation = logic.createSegmentation(volume)
    with pytest.raises(RequestError, match="not a segmentation"):
        logic.processHere(volume, volume)
    with pytest.raises(InputError, match="not a volume"):
        logic.processHere(segmentation, segmentation)
    with pytest.raises(RequestError, match="threshold"):
        logic.processHere(volume, segmentation, threshold=2)
    with pytest.raises(TypeError, match="positional"):
        logic.processHere(volume, segmentation, "refnet")
    assert known_result == []
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_module_describes_itself_and_loads_its_terms_at_start(
    host: Any, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = SimpleNamespace()
    module.CovidLesionSeg(parent)
    assert parent.title
    assert parent.categories == ["Segmentation"]
    assert "not for clinical use" in parent.helpText
    assert "change over time" not in parent.helpText
    samples: list[dict[str, Any]] = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **entry: samples.append(entry))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    host.app.emit("startupCompleted()")
    assert mrml.load_terminology()
    assert [entry["category"] for entry in samples] == ["COVID-19"]
    assert Path(samples[0]["thumbnailFileName"]).is_file()


@pytest.mark.slow
def test_the_sample_is_a_chest_ct(host: Any, module: ModuleType) -> None:
    module.CovidLesionSegLogic()
    sampledata = importlib.import_module("CovidLesionSegLib.sampledata")
    node = sampledata.load()
    array = slicer.util.arrayFromVolume(node)
    assert array.shape == sampledata.SHAPE
    assert array.min() < -950
    assert array.max() > 100


def test_process_runs_the_real_pipeline_on_an_oblique_node(
    module: ModuleType, phantom: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing replaced but the model: node in, pipeline, node out, voxel by voxel."""
    import tiny_model

    card = tiny_model.install(tmp_path, monkeypatch)
    angle = np.deg2rad(9)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    ct = CTVolume(phantom.ct.array, phantom.ct.origin, phantom.ct.spacing, rotation, "oblique")
    lungs = write_image(phantom.lungs, ct, tmp_path / "lungs.nii.gz")
    volume = mrml.volume_to_node(ct)
    logic = module.CovidLesionSegLogic()
    segmentation = logic.createSegmentation(volume)
    result = logic.processHere(volume, segmentation, model="tiny", device="cpu", lungs=lungs)
    assert result.labels.any()
    labels, lungs_back = mrml.segmentation_to_labels(segmentation, ct)
    np.testing.assert_array_equal(labels, result.labels)
    np.testing.assert_array_equal(lungs_back, phantom.lungs)
    names = [c.name for c in mrml.segmentation_classes(segmentation)]
    assert names == ["infection"]
    provenance = json.loads(segmentation.GetAttribute("CovidLesionSeg.provenance"))
    assert provenance["input"]["node"] == volume.GetID()
    assert provenance["model"]["sha256"] == card.weights.sha256


def test_self_test_passes(
    host: Any,
    module: ModuleType,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The script for a real Slicer, with a small model under the default one's name."""
    import tiny_model

    codes: list[int] = []
    monkeypatch.setattr(slicer.util, "exit", codes.append)
    with monkeypatch.context() as patch:
        tiny_model.install_coarse_refine(tmp_path, patch, 1, name="refnet")
        monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(tmp_path))
        runpy.run_path(str(repository / "Testing" / "Slicer" / "self_test.py"), run_name="__main__")
    assert codes == [0]


@pytest.mark.slow
def test_self_test_passes_with_the_shipped_models(
    module: ModuleType, lesion_cards: list[ModelCard]
) -> None:
    module.CovidLesionSegTest().test_segmentPhantom()


def test_module_file_imports_only_slicer_and_the_standard_library(repository: Path) -> None:
    tree = ast.parse((repository / "CovidLesionSeg" / "CovidLesionSeg.py").read_text("utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    tops = {name.split(".")[0] for name in names}
    assert tops - set(sys.stdlib_module_names) == {"slicer", "vtk"}


CHILD = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])  # only the tests' own folder: the package is not on the path
import slicer.util
sys.path.insert(0, sys.argv[3])
import panel_host
sys.path.remove(sys.argv[3])
for name in [name for name in sys.modules if name.split(".")[0] == "CovidLesionSegLogic"]:
    del sys.modules[name]  # the host's own
with panel_host.running() as host:
    module = host.load(pathlib.Path(sys.argv[1]))
    module.CovidLesionSegLogic()
    import CovidLesionSegLogic
    print(pathlib.Path(CovidLesionSegLogic.__file__).resolve())
    print("torch" in sys.modules)
    # As in a stock Slicer: neither the panel's first steps nor the logic's answer may need these.
    from CovidLesionSegLib import packages
    for name in packages.needed():
        if name in sys.modules:
            raise SystemExit(f"{name} is imported already")
        sys.modules[name] = None
    from CovidLesionSegLogic.engine import Cancel
    logic = module.CovidLesionSegLogic()
    logic.installedModels()
    try:
        logic.process(None, None)
    except Exception as error:
        print(type(error).__name__, "matplotlib, safetensors, scipy, torch" in str(error))
"""


@pytest.mark.parametrize("layout", ["source", "installed"])
def test_the_package_is_found_in_both_layouts(
    layout: str, repository: Path, tmp_path: Path
) -> None:
    """Beside the module file (installed) and one folder up (source), from any folder."""
    package = tmp_path / "CovidLesionSegLogic"
    home = tmp_path / "CovidLesionSeg" if layout == "source" else tmp_path
    home.mkdir(exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repository / "CovidLesionSeg", home, ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(repository / "CovidLesionSegLogic", package)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            str(home / "CovidLesionSeg.py"),
            str(repository / "Testing" / "Python"),
            str(repository),
        ],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, torch_loaded, *answer = done.stdout.split()
    assert answer == ["CovidLesionSegError", "True"]
    # An installed development copy of the package must not hide the one that belongs to the file.
    assert found == str((package / "__init__.py").resolve())
    assert torch_loaded == "False"
