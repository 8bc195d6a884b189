"""How the coverage of the package is summed up and printed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")
FILES = {
    name: dict(zip(COUNTS, counts, strict=True))
    for name, counts in {
        "ct/grid.py": (9, 10, 1, 4),
        "ct/box.py": (10, 10, 4, 4),
        "errors.py": (3, 4, 0, 0),
    }.items()
}


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    path = repository / "Testing" / "coverage_by_room.py"
    spec = importlib.util.spec_from_file_location("coverage_by_room", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rooms_and_their_sum(script: ModuleType) -> None:
    lines = script.table(FILES).splitlines()
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "ct 95.0 % of 20 62.5 % of 8",
        "errors 75.0 % of 4",
        "all 91.7 % of 24 62.5 % of 8",
    ]


def test_files_with_most_to_cover_come_first(script: ModuleType) -> None:
    names = [line.split()[0] for line in script.table(FILES, each_file=True).splitlines()[1:4]]
    assert names == ["ct/grid.py", "errors.py", "ct/box.py"]


def test_counts_are_those_of_a_run(tmp_path: Path, repository: Path) -> None:
    """A package of that name, of which one of two ways is taken, also in a child process."""
    package = tmp_path / "CovidLesionSegLogic"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("def way(x):\n    if x:\n        return 1\n    return 2\n")
    (tmp_path / "pyproject.toml").write_bytes((repository / "pyproject.toml").read_bytes())
    (tmp_path / "build" / "coverage").mkdir(parents=True)
    child = "from CovidLesionSegLogic.one import way; way(1)"
    (tmp_path / "run.py").write_text(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    for command in (["run", "run.py"], ["combine", "-q"]):
        subprocess.run([sys.executable, "-m", "coverage", *command], cwd=tmp_path, check=True)
    script = repository / "Testing" / "coverage_by_room.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1].split() == [
        "all",
        "75.0",
        "%",
        "of",
        "4",
        "50.0",
        "%",
        "of",
        "2",
    ]


def test_without_measurement_it_says_so(tmp_path: Path, repository: Path) -> None:
    script = repository / "Testing" / "coverage_by_room.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("The coverage was not measured (")
    assert len(done.stderr.splitlines()) == 1
