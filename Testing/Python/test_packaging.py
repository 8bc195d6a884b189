"""A wheel holds the whole package, the models and the terminology, and finds them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this source tree with a small stand-in for the shipped weights, unpacked."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    for name in ("CovidLesionSegLogic", "Resources"):
        ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(repository / name, source / name, ignore=ignore)
    (source / "Resources" / "Models" / "stand-in.safetensors").write_bytes(b"weights")
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--no-index", "--wheel-dir", str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = target.glob("covid_lesion_seg-*.whl")
    installed = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(installed)
    return installed


@pytest.mark.slow
def test_wheel_holds_every_module_and_nothing_beside_it(wheel: Path, repository: Path) -> None:
    package = repository / "CovidLesionSegLogic"
    expected = {path.relative_to(repository) for path in package.rglob("*.py")}
    found = {path.relative_to(wheel) for path in wheel.rglob("*.py")}
    assert found == expected
    tops = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"CovidLesionSegLogic"}


@pytest.mark.slow
def test_wheel_holds_licences(wheel: Path) -> None:
    (licences,) = wheel.glob("*.dist-info/licenses")
    names = {path.relative_to(licences).as_posix() for path in licences.rglob("*.*")}
    assert "Resources/Models/LICENSE-WEIGHTS.md" in names
    assert (licences / "LICENSE").is_file()


@pytest.mark.slow
def test_installed_package_finds_models_and_terms(wheel: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(wheel)!r})
from CovidLesionSegLogic.models.registry import shipped_folders
from CovidLesionSegLogic.mrml.terminology import terminology_file
(folder,) = [f for f in shipped_folders() if f.is_dir()]
print((folder / "stand-in.safetensors").read_text(), terminology_file().is_file())
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["weights", "True"], done.stderr
