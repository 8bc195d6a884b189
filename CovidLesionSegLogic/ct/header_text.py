"""Fields of the text headers of volume files: strictly read, and the file that holds the voxels."""

from __future__ import annotations

import math
import re
from pathlib import Path

from CovidLesionSegLogic.errors import InputError

MOST_BYTES = 1 << 24
"""No header with names is longer; a damaged one must not fill the memory."""
MOST_NUMBERS = 64
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_REAL = re.compile(r"(?i)[+-]?(?:[0-9.]{1,40}(?:e[+-]?[0-9]{1,4})?|nan|inf|infinity)")


def whole_numbers(text: str) -> list[int]:
    """Whole numbers apart by blanks; ValueError for anything else."""
    words = text.split(maxsplit=MOST_NUMBERS)
    if not all(_WHOLE.fullmatch(word) for word in words):
        raise ValueError(f"'{text[:40]}' are no whole numbers")
    return [int(word) for word in words]


def real_numbers(text: str) -> list[float]:
    """Numbers apart by blanks or commas; ValueError for anything else."""
    words = text.replace(",", " ").split(maxsplit=MOST_NUMBERS)
    if not all(_REAL.fullmatch(word) for word in words):
        raise ValueError(f"'{text[:40]}' are no numbers")
    return [float(word) for word in words]


def positive(values: list[float]) -> bool:
    """Whether all can be voxel sizes."""
    return all(math.isfinite(value) and value > 0 for value in values)


def data_file(path: Path, name: str) -> Path:
    """The file beside the header ``path`` that holds its voxels.

    Raises
    ------
    InputError
        It is not there, or no regular file: a device or pipe never ends.
    """
    data = path.parent / name
    try:
        present = data.is_file()
    except (OSError, ValueError):  # no right to look, a name too long or with a zero byte
        present = False
    if not present and ("%" in name or re.match(r"LIST\b", name)):
        raise InputError(
            f"{path} spreads its voxels over several files: save the CT as a single one, such as "
            ".nrrd or .mha."
        )
    if not present:
        raise InputError(
            f"{path} cannot be read, its data file {name} is missing: copy both files together."
        )
    return data


def no_orientation(said: str = "") -> str:
    """The warning for a file whose axes are not placed in the patient."""
    return (
        f"The file states no orientation{said}; its axes were taken as patient left, posterior, "
        "superior."
    )


def no_voxel_size(path: Path) -> InputError:
    """The refusal of a file without a usable spacing."""
    return InputError(
        f"{path} states no voxel size, without which volumes cannot be measured: add the spacing "
        "(mm) to its header, or export the CT again."
    )


def several_values(path: Path, count: int) -> InputError:
    """The refusal of colours and vectors."""
    return InputError(
        f"{path} holds {count} values a voxel (colours or several maps), but a CT has one: save "
        "one volume of it."
    )
