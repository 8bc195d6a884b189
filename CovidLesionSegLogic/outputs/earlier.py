"""What an earlier run left under the same names, and whether it was of the same study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.outputs.folder import write_error
from CovidLesionSegLogic.quantify.export import encodable

ENDINGS = {
    "quantification_json": "_quantification.json",
    "quantification_csv": "_quantification.csv",
    "labels": "_labels.nii.gz",
    "lungs": "_lungs.nii.gz",
    "probability": "_probability.nii.gz",
    "segmentation": ".seg.nrrd",
    "dicom_seg": ".seg.dcm",
    "overview": "_overview.png",
    "report": "_report.html",
}
"""How the file names of a result end, by the keys of :func:`write_outputs`."""


def check_same_study(folder: str | Path, stem: str, source: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds an earlier result called ``stem``; it must be of the same study.

    Parameters
    ----------
    source
        Where the CT comes from (:attr:`CTVolume.source`). Studies are told apart by the Series
        Instance UID where both have one, else by path, else by format.

    Raises
    ------
    RequestError
        The earlier result is of another study, or cannot be read: replacing it would lose it.
    """
    path = Path(folder).absolute() / f"{stem}{ENDINGS['quantification_json']}"
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["provenance"]["input"]
        same = _same(earlier, source)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise write_error(path.parent, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{path} is not a result of this program and would be replaced; choose another output "
            "folder or another name (--name)."
        ) from error
    if not same:
        raise RequestError(
            f"{path.parent} already holds a result called '{stem}' of another study "
            f"({earlier.get('path') or earlier.get('format') or 'unknown'}); choose another "
            "output folder or another name (--name)."
        )
    return True


def _same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    for key in ("series_uid", "path"):
        if earlier.get(key) and now.get(key):
            return bool(earlier[key] == encodable(str(now[key])))  # as it was written
    return bool(earlier.get("path")) == bool(now.get("path")) and (
        earlier.get("format") == now.get("format")
    )


def outdated_files(folder: str | Path, stem: str, provenance: Mapping[str, Any]) -> frozenset[str]:
    """Names of an earlier result's files, but none that the new result was made from."""
    options = provenance.get("options", {})
    used = {provenance.get("input", {}).get("path"), options.get("lungs"), options.get("regions")}
    inputs = {Path(path).resolve() for path in used if path}
    names = (stem + ending for ending in ENDINGS.values())
    return frozenset(n for n in names if Path(folder, n).resolve() not in inputs)
