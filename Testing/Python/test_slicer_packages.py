"""Missing Python packages: named with a remedy, installed only by the panel and only when asked.

``slicer.packaging`` and ``PyTorchUtils`` are not in slicer-core; stand-ins with the documented
signatures note what they are asked for.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from CovidLesionSegLogic.errors import CovidLesionSegError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")
panel_host = pytest.importorskip("panel_host")

from CovidLesionSegLogic import mrml  # noqa: E402


@pytest.fixture
def module(repository: Path) -> Iterator[ModuleType]:
    with panel_host.running() as host:
        yield host.load(repository / "CovidLesionSeg" / "CovidLesionSeg.py")


@pytest.fixture
def packages(module: ModuleType) -> ModuleType:
    module.CovidLesionSegLogic()  # puts the module's own packages on the path
    return importlib.import_module("CovidLesionSegLib.packages")


class Installers:
    """Slicer's two installers; ``done`` are the calls in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, object]] = []
        self.torch: object = "the module torch"
        self.failure: Exception | None = None
        done, outer = self.done, self

        def load_requirements(path: str | Path) -> list[Any]:
            from packaging.requirements import Requirement

            with open(path, encoding="utf-8") as file:
                lines = [line.split("#")[0].strip() for line in file]
            return [Requirement(line) for line in lines if line]

        def pip_ensure(  # type: ignore[no-untyped-def]
            requirements,
            constraints=None,
            skip_packages=None,
            prompt_install=True,
            prompt_restart=True,
            requester=None,
            skip_in_testing=True,
            show_progress=True,
        ) -> None:
            assert not prompt_install, "the user would be asked twice"
            done.append(("pip", [str(one) for one in requirements]))
            if outer.failure is not None:
                raise outer.failure
            for one in requirements:
                monkeypatch.delitem(sys.modules, one.name)

        class PyTorchUtilsLogic:
            def installTorch(
                self,
                askConfirmation: bool = False,
                forceComputationBackend: str | None = None,
                torchVersionRequirement: str | None = None,
                torchvisionVersionRequirement: str | None = None,
            ) -> object:
                done.append(("torch", askConfirmation))
                if outer.failure is not None:
                    raise outer.failure
                if outer.torch is not None:
                    monkeypatch.delitem(sys.modules, "torch")
                return outer.torch

        members = {"load_requirements": load_requirements, "pip_ensure": pip_ensure}
        packaging = panel_host.strict_module("slicer.packaging", members)
        monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
        utils = panel_host.strict_module("PyTorchUtils", {"PyTorchUtilsLogic": PyTorchUtilsLogic})
        monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)


@pytest.fixture
def installers(monkeypatch: pytest.MonkeyPatch) -> Installers:
    return Installers(monkeypatch)


def remove(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have Python say that the packages are not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_missing_packages_are_found_at_call_time(
    packages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packages.needed() == ["matplotlib", "safetensors", "scipy", "torch"]
    assert packages.missing() == []
    packages.check()
    remove(monkeypatch, "torch", "safetensors")
    assert packages.missing() == ["safetensors", "torch"]


def test_a_half_removed_package_is_missing(
    packages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left_over" / "lib").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packages.missing(["left_over", "json"]) == ["left_over"]


def test_the_logic_names_what_is_missing_and_installs_nothing(
    module: ModuleType,
    phantom: Phantom,
    installers: Installers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume = mrml.volume_to_node(phantom.ct)
    logic = module.CovidLesionSegLogic()
    segmentation = logic.createSegmentation(volume)
    remove(monkeypatch, "safetensors", "torch")
    with pytest.raises(CovidLesionSegError) as caught:
        logic.process(volume, segmentation)
    message = str(caught.value)
    for part in ("safetensors, torch", "PythonSlicer -m pip", "requirements.txt", "PyTorch Utils"):
        assert part in message
    assert "scipy" not in message
    assert installers.done == []
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_only_what_is_missing_is_installed(
    packages: ModuleType, installers: Installers, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch, "safetensors", "torch")
    packages.install(packages.missing())
    assert installers.done == [("pip", ["safetensors>=0.4"]), ("torch", True)]
    assert packages.missing() == []


def test_nothing_is_downloaded_without_the_extension_pytorch(
    packages: ModuleType, installers: Installers, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch, "safetensors", "torch", "PyTorchUtils")
    with pytest.raises(CovidLesionSegError, match=r"install 'PyTorch' in View > Extensions"):
        packages.install(["safetensors", "torch"])
    assert installers.done == []


def test_torch_declined_pip_failed_and_an_old_slicer_are_said(
    packages: ModuleType, installers: Installers, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch, "safetensors", "torch")
    installers.torch = None
    with pytest.raises(CovidLesionSegError, match="PyTorch was not installed"):
        packages.install(["torch"])
    installers.failure = ModuleNotFoundError("No module named 'torch'")
    with pytest.raises(CovidLesionSegError, match="PyTorch could not be installed"):
        packages.install(["torch"])
    installers.failure = subprocess.CalledProcessError(1, "pip")
    with pytest.raises(CovidLesionSegError, match="pip could not install safetensors"):
        packages.install(["safetensors"])
    monkeypatch.delattr(slicer, "packaging")
    with pytest.raises(CovidLesionSegError, match=r"too old .* 5\.12"):
        packages.install(["safetensors"])


def test_what_is_still_missing_after_installing_is_said(
    packages: ModuleType, installers: Installers, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch, "safetensors", "scipy")
    with pytest.raises(CovidLesionSegError, match=r"needs: scipy\."):
        packages.install(["safetensors"])
