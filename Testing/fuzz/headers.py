#!/usr/bin/env python3
"""Coverage-guided fuzzing of the DICOM and the volume headers with Atheris, where installed.

    python Testing/fuzz/headers.py dicom|nifti|text [-max_total_time=60] [-seed=0] [CORPUS]

Everything after the kind goes to libFuzzer. Only refusals may come; anything else ends the run and
leaves the input as crash-... See README.md beside this file.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parent / "Python")]

try:
    import atheris
except ImportError:
    raise SystemExit(
        "Atheris is not installed; Testing/fuzz/readers.py works without it."
    ) from None

with atheris.instrument_imports(include=["CovidLesionSegLogic", "pydicom"]):
    import pydicom  # noqa: F401

    from CovidLesionSegLogic.ct.dicom_header import read_headers
    from CovidLesionSegLogic.ct.dicom_scan import quiet_pydicom
    from CovidLesionSegLogic.ct.label_names import read_label_names
    from CovidLesionSegLogic.ct.read import read_ct
    from CovidLesionSegLogic.errors import InputError

SCRATCH = Path(tempfile.mkdtemp(prefix="fuzz-"))


def dicom(data: bytes) -> None:
    """The header of one DICOM file."""
    path = SCRATCH / "a.dcm"
    path.write_bytes(data)
    with contextlib.suppress(ValueError), quiet_pydicom():
        read_headers(path)


def volume(suffix: str) -> Callable[[bytes], None]:
    """A volume file and the names that it holds."""

    def once(data: bytes) -> None:
        path = SCRATCH / f"a{suffix}"
        path.write_bytes(data)
        for read in (read_ct, read_label_names):
            with contextlib.suppress(InputError):
                read(path)

    return once


def text(data: bytes) -> None:
    """NRRD or MetaImage, by how it begins."""
    volume(".nrrd" if data[:4] == b"NRRD" else ".mha")(data)


KINDS = {"dicom": dicom, "nifti": volume(".nii"), "text": text}


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind not in KINDS:
        raise SystemExit(__doc__)
    corpus = SCRATCH / "corpus"
    corpus.mkdir()
    _write_corpus(kind, corpus)
    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], KINDS[kind])
    atheris.Fuzz()


def _write_corpus(kind: str, corpus: Path) -> None:
    from seeds import write_seeds

    root = SCRATCH / "seeds"
    root.mkdir()
    write_seeds(root)
    wanted = {"dicom": "dicom-*/*", "nifti": "*nifti*/*.nii", "text": "*/ct.[nm][rh][ra]*"}[kind]
    for number, file in enumerate(sorted(root.glob(wanted))):
        (corpus / str(number)).write_bytes(file.read_bytes())


if __name__ == "__main__":
    main()
