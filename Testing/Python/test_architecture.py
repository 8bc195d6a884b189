"""The direction of the imports, and what importing must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "CovidLesionSegLogic"
# A room imports only rooms before it in this list.
ROOMS = (
    "errors",
    "stages",
    "ct",
    "phantom",
    "networks",
    "models",
    "lungs",
    "engine",
    "quantify",
    "pipeline",
    "mrml",
    "report",
    "outputs",
    "batch",
    "learn",
    "assess",
    "cli",
)
HEAVY = ("torch", "skimage", "pydicom", "matplotlib", "vtk", "vtkmodules", "slicer")
HEAVY += ("highdicom", "dicomweb_client", "requests", "dask", "distributed")
SLICER_ONLY_IN = {"slicer": "mrml", "vtk": "mrml", "vtkmodules": "mrml", "qt": None, "ctk": None}


def room_of(path: Path, package: Path) -> str:
    """Room a source file belongs to: its folder or, at the top of the package, its own name."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported_names(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def imports_of(path: Path, root: Path) -> list[tuple[int, str]]:
    module = ".".join(path.relative_to(root).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return list(imported_names(tree, module))


@pytest.fixture(scope="module")
def sources(repository: Path) -> list[Path]:
    """All source files of the package."""
    return sorted((repository / PACKAGE).rglob("*.py"))


def test_relative_and_nested_imports_are_seen() -> None:
    tree = ast.parse("def f():\n    from ..ct import volume\nimport os.path\nfrom . import x\n")
    names = {name for _, name in imported_names(tree, f"{PACKAGE}.lungs.classical")}
    assert names == {f"{PACKAGE}.ct.volume", "os.path", f"{PACKAGE}.lungs.x"}


def test_every_room_is_in_the_list(repository: Path, sources: list[Path]) -> None:
    rooms = {room_of(path, repository / PACKAGE) for path in sources}
    assert rooms - {"__init__", "__main__"} <= set(ROOMS)


def test_rooms_import_only_rooms_above(repository: Path, sources: list[Path]) -> None:
    package = repository / PACKAGE
    wrong = []
    for path in sources:
        room = room_of(path, package)
        if room in ("__init__", "__main__"):
            continue
        for line, name in imports_of(path, repository):
            parts = name.split(".")
            other = parts[1] if parts[0] == PACKAGE and len(parts) > 1 else room
            if other in ROOMS and ROOMS.index(other) > ROOMS.index(room):
                wrong.append(f"{path.relative_to(repository)}:{line} imports {other}")
    assert wrong == []


def test_slicer_and_qt_stay_in_their_place(repository: Path, sources: list[Path]) -> None:
    wrong = []
    for path in sources:
        for line, name in imports_of(path, repository):
            top = name.split(".")[0]
            if top in SLICER_ONLY_IN and room_of(path, repository / PACKAGE) != SLICER_ONLY_IN[top]:
                wrong.append(f"{path.relative_to(repository)}:{line} imports {top}")
    assert wrong == []


def test_networks_need_torch_only(repository: Path) -> None:
    allowed = {"torch", "__future__", PACKAGE} | set(sys.stdlib_module_names)
    wrong = [
        f"{path.relative_to(repository)}:{line} imports {name}"
        for path in (repository / PACKAGE / "networks").rglob("*.py")
        for line, name in imports_of(path, repository)
        if name.split(".")[0] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.cli", f"{PACKAGE}.errors"])
def test_importing_loads_nothing_heavy(module: str, repository: Path) -> None:
    heavy = set(HEAVY)
    statement = f"import sys, {module}; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", statement],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_importing_writes_nothing(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {PACKAGE}.cli"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
