"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import os

# Before numpy and torch are imported: a test machine has few cores, and no screen.
_SHARED = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, str(max(1, min(2, (os.cpu_count() or 1) // _SHARED))))
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fault_line import Line
    from orthanc_server import OrthancServer

    from CovidLesionSegLogic.models import ModelCard
    from CovidLesionSegLogic.phantom import Phantom

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images beside the repository; the test is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images (../shared/data) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """Synthetic chest CT with lesions, 48 x 128 x 128 voxels of 2.8 x 2.8 x 6 mm.

    It is shared by all tests: copy its arrays before changing them.
    """
    from CovidLesionSegLogic.phantom import make_phantom

    return make_phantom((48, 128, 128), (2.8, 2.8, 6.0))


@pytest.fixture(scope="session")
def lesion_cards() -> list[ModelCard]:
    """Cards of the lesion models shipped in ``Resources/Models``; skipped where there are none."""
    from CovidLesionSegLogic.models import list_models

    cards = [card for card in list_models() if card.task == "lesion"]
    if not cards:
        pytest.skip("no lesion model is shipped in Resources/Models")
    return cards


@pytest.fixture(scope="session")
def orthanc() -> Iterator[OrthancServer]:
    """A real PACS on loopback, shared by all tests: each seeds its own; skipped without Orthanc."""
    import orthanc_server

    with orthanc_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def batch_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small model of lesion types, for batches in processes of their own."""
    import batch_case

    folder = tmp_path_factory.mktemp("batch") / "models"
    batch_case.environment(folder)
    return folder


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The command line, its runs quickly started; in its folder ``scan.nii.gz`` and its lungs."""
    import batch_case
    import fault_line

    top = tmp_path_factory.mktemp("line")
    batch_case.write_case(top, "scan")
    line = fault_line.Line(top)
    yield line
    line.close()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host of the panel in which the model of lesion types is a small one of random weights."""
    import panel_host
    import tiny_model

    folder = tmp_path / "models"
    folder.mkdir()
    with monkeypatch.context() as patch:
        tiny_model.install_coarse_refine(folder, patch, 2)
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with panel_host.running() as host:
        yield host


@pytest.fixture
def panel(host: Any, repository: Path) -> Any:
    """The real panel, opened."""
    return host.open(repository / "CovidLesionSeg" / "CovidLesionSeg.py")


@pytest.fixture
def thorax(panel: Any, phantom: Phantom) -> Any:
    """The phantom's CT, chosen in the panel, with its lungs and the small model."""
    import numpy as np
    from panel_driver import choose

    from CovidLesionSegLogic import mrml

    volume = mrml.volume_to_node(phantom.ct, name="Thorax")
    empty = np.zeros(phantom.ct.shape, np.uint8)
    lungs = mrml.labels_to_segmentation(
        empty, phantom.lungs, phantom.ct, (), name="Lungs", reference=volume
    )
    panel._parameterNode.inputVolume = volume
    panel._parameterNode.regions = lungs
    choose(panel.ui.modelSelector, "coarse-refine")
    choose(panel.ui.deviceSelector, "cpu")
    return volume
