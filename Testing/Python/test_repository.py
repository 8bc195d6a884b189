"""What every checkout must keep to: sizes, no private paths, no registry addresses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

MEGABYTE = 1_000_000
LARGE_FILES_ALLOWED = ("Resources/Models/", "docs/images/")
REGISTRY_SETTING = re.compile(r"--(extra-)?index-" + r"url[ =]|--find-" + r"links[ =]")
"""A setting that names a registry's address; in pieces, so that this file does not find itself."""


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    """Files under version control that are present in the working tree."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = [repository / name for name in listing.split("\0") if name]
    return [path for path in files if path.is_file()]


def test_tree_fits_the_extensions_index(tracked: list[Path]) -> None:
    assert sum(path.stat().st_size for path in tracked) < 100 * MEGABYTE


def test_large_files_lie_only_where_they_belong(tracked: list[Path], repository: Path) -> None:
    large = [
        path.relative_to(repository).as_posix()
        for path in tracked
        if path.stat().st_size > MEGABYTE
        and not path.relative_to(repository).as_posix().startswith(LARGE_FILES_ALLOWED)
    ]
    assert large == []


def test_no_images_of_patients_are_tracked(tracked: list[Path], repository: Path) -> None:
    medical = (".dcm", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".pkl", ".pth", ".pt")
    found = [
        path.relative_to(repository).as_posix()
        for path in tracked
        if path.name.lower().endswith(medical)
    ]
    assert found == []


def test_no_file_names_this_machine_or_a_registry(tracked: list[Path], repository: Path) -> None:
    checkout = repository.resolve().parent.as_posix()
    found = []
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if REGISTRY_SETTING.search(line) or (len(checkout) > 2 and f"{checkout}/" in line):
                found.append(f"{path.relative_to(repository).as_posix()}:{number}")
    assert found == []
