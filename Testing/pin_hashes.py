"""Write hashes.txt: the checksums of the files behind constraints.txt.

    python Testing/pin_hashes.py [WHEEL …]

Needs `pip install pypi-simple packaging`, the network, and a minute. Listed are the wheels for the
Pythons and systems that `dev.py` supports; files given as WHEEL (PyTorch's CPU build, which comes
from another source) are added.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from pypi_simple import PyPISimple

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = re.compile(r"py3|py2\.py3|py31[0-3]|cp3[0-9]|cp31[0-3]")
SYSTEMS = re.compile(r"any|(many)?linux.*_x86_64|win_amd64|macosx_.*_(arm64|universal2)")


def wanted(name: str, version: str) -> bool:
    """Whether a file is a wheel of that version for a supported Python and system."""
    if not name.endswith(".whl"):
        return False
    _, found, _, tags = parse_wheel_filename(name)
    return found == Version(version) and any(
        PYTHONS.fullmatch(tag.interpreter)
        and SYSTEMS.fullmatch(tag.platform)
        and (tag.abi in ("none", "abi3") or re.fullmatch("cp31[0-3]", tag.abi))
        for tag in tags
    )


def published(constraints: Path) -> Iterator[tuple[str, str]]:
    """File names and SHA-256 of every version that constraints.txt pins."""
    with PyPISimple() as index:
        for line in constraints.read_text(encoding="utf-8").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            pin = Requirement(line)
            version = str(pin.specifier).removeprefix("==")
            files = [f for f in index.get_project_page(pin.name).packages if f.digests]
            of_version = [f for f in files if wanted(f.filename, version)]
            print(f"{pin.name} {version}: {len(of_version)} files", file=sys.stderr)
            yield from ((f.filename, f.digests["sha256"]) for f in of_version)


def main(wheels: Sequence[str]) -> None:
    """Write the list, sorted by file name."""
    found = dict(published(ROOT / "constraints.txt"))
    for wheel in map(Path, wheels):
        found[wheel.name] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lines = [f"{found[name]}  {name}\n" for name in sorted(found, key=str.lower)]
    (ROOT / "hashes.txt").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
