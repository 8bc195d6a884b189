"""Which patients train and which validate: decided once, kept in a file that people can read."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.errors import InputError

from .sources import Slice


@dataclass(frozen=True)
class SplitManifest:
    """Patients on either side of a split, sorted.

    Images that belong together (near-identical ones, say) share a ``patient`` and so stay on one
    side.

    Raises
    ------
    ValueError
        A side is empty, or a patient is named twice.
    """

    seed: int
    training: tuple[str, ...]
    validation: tuple[str, ...]

    def __post_init__(self) -> None:
        for side in ("training", "validation"):
            names = tuple(sorted(getattr(self, side)))
            if not names:
                raise ValueError(f"'{side}' names no patient")
            if not all(isinstance(name, str) and name for name in names):
                raise ValueError(f"'{side}' must hold names of patients")
            object.__setattr__(self, side, names)
        counts = Counter(self.training + self.validation)
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"the patient '{twice[0]}' is named twice")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        data = asdict(self)
        return data | {side: list(data[side]) for side in ("training", "validation")}

    def to_json(self, path: str | Path) -> None:
        """Write the file ``path``; it appears whole or not at all."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def from_json(cls, path: str | Path) -> SplitManifest:
        """Read the file ``path``; InputError says what is wrong with it."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise ValueError("it is no JSON object")
            sides = {}
            for side in ("training", "validation"):
                if not isinstance(data.get(side), list):
                    raise ValueError(f"'{side}' is no list of patients")
                sides[side] = tuple(str(name) for name in data[side])
            return cls(int(data.get("seed", 0)), **sides)
        except OSError as error:
            raise InputError(
                f"The split {path} cannot be read ({error.strerror}): correct the name."
            ) from error
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The split {path} is not valid ({error}): mend it or let a new one be made."
            ) from error


def make_split(
    patients: Iterable[str],
    *,
    validation_share: float | None = None,
    validation_count: int | None = None,
    seed: int = 0,
) -> SplitManifest:
    """Split by patient.

    A patient's place follows from its name and the seed (SHA-256), not from the order of files,
    and another patient more moves few of the others.

    Parameters
    ----------
    patients
        Names, in any order, repeated or not.
    validation_share, validation_count
        How many patients validate: a share between 0 and 1 (rounded, at least one), or a number.

    Raises
    ------
    InputError
        There are too few patients for the split.
    ValueError
        Not exactly one of share and count is given, or it is out of range.
    """
    if (validation_share is None) == (validation_count is None):
        raise ValueError("give either validation_share or validation_count")
    names = sorted(set(patients))
    if validation_share is not None:
        if not 0 < validation_share < 1:
            raise ValueError(f"validation_share must lie between 0 and 1, not {validation_share}")
        validation_count = max(1, round(validation_share * len(names)))
    assert validation_count is not None
    if validation_count < 1:
        raise ValueError(f"validation_count must be at least 1, not {validation_count}")
    if len(names) <= validation_count:
        raise InputError(
            f"There are too few patients for a split ({len(names)}, of which {validation_count} "
            "would validate and none train): add data of other patients, or let fewer validate."
        )
    ranked = sorted(names, key=lambda n: hashlib.sha256(f"{seed}:{n}".encode()).digest())
    return SplitManifest(seed, tuple(ranked[validation_count:]), tuple(ranked[:validation_count]))


def select(slices: Sequence[Slice], manifest: SplitManifest) -> tuple[list[Slice], list[Slice]]:
    """(training, validation) slices as ``manifest`` says, in their own order.

    Raises
    ------
    InputError
        A slice's patient is on neither side, or a side has no slices here.
    """
    sides = dict.fromkeys(manifest.training, 0) | dict.fromkeys(manifest.validation, 1)
    unknown = sorted({s.patient for s in slices} - sides.keys())
    if unknown:
        more = f" and {len(unknown) - 5} others" if len(unknown) > 5 else ""
        raise InputError(
            f"The split does not name the patients {', '.join(unknown[:5])}{more}: use the split "
            "that was made for these data, or let a new one be made."
        )
    both: tuple[list[Slice], list[Slice]] = ([], [])
    for item in slices:
        both[sides[item.patient]].append(item)
    for side, chosen in zip(("trains", "validates"), both, strict=True):
        if not chosen:
            raise InputError(
                f"No patient that {side} in the split is among these data: use the "
                "split that was made for them."
            )
    return both
