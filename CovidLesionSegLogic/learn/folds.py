"""Five patient-level folds, 70/10/20, one file for segmentation and classification alike.

The coarse-refine paper splits "at the human level" into 70 % training, 10 % validation and 20 %
test data and cross-validates five times (section 2.2). Segmentation and classification must share
the folds: a gate on a frozen encoder would otherwise be tested on patients the encoder has seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.errors import InputError

from .image_table import COVID, SEVERITIES, ImageRecord

FOLDS = 5
PARTS = ("training", "validation", "test")
TENTHS = 10


class Patient(NamedTuple):
    """What a split is stratified by.

    ``label``: "COVID-19" or another kind; ``severity``: mild, moderate, severe or None;
    ``outlined``: some image has a mask.
    """

    name: str
    label: str
    severity: str | None = None
    outlined: bool = False


class Fold(NamedTuple):
    """Names of the patients of each part, sorted."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class FoldManifest:
    """Five folds; every patient is tested on in exactly one of them.

    Raises
    ------
    ValueError
        A part is empty, a patient is missing, or stands in two parts or two test parts.
    """

    seed: int
    folds: tuple[Fold, ...]

    def __post_init__(self) -> None:
        folds = tuple(Fold(*(tuple(sorted(part)) for part in fold)) for fold in self.folds)
        object.__setattr__(self, "folds", folds)
        if len(folds) != FOLDS:
            raise ValueError(f"there are {len(folds)} folds and not {FOLDS}")
        for number, fold in enumerate(folds, 1):
            for name, part in zip(PARTS, fold, strict=True):
                if not part:
                    raise ValueError(f"'{name}' of fold {number} names no patient")
            _once(fold, f"fold {number}")
        _once([fold.test for fold in folds], "the test parts")
        everyone = set(self.patients)
        for number, fold in enumerate(folds, 1):
            missing = everyone.symmetric_difference(name for part in fold for name in part)
            if missing:
                raise ValueError(
                    f"the patient '{min(missing)}' is not in fold {number}, or in no test part"
                )

    @property
    def patients(self) -> tuple[str, ...]:
        """All patients, sorted."""
        return tuple(sorted(name for fold in self.folds for name in fold.test))

    def fold(self, index: int) -> Fold:
        """(training, validation, test) patients of fold ``index``, 0 to 4."""
        if not 0 <= index < FOLDS:
            raise ValueError(f"there are the folds 0 to {FOLDS - 1}, not {index}")
        return self.folds[index]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        folds = [{name: list(part) for name, part in fold._asdict().items()} for fold in self.folds]
        return {"seed": self.seed, "folds": folds}

    def to_json(self, path: str | Path) -> None:
        """Write the file ``path``; it appears whole or not at all."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def from_json(cls, path: str | Path) -> FoldManifest:
        """Read the file ``path``; InputError says what is wrong with it."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(data, dict) or not isinstance(data.get("folds"), list):
                raise ValueError("it holds no list 'folds'")
            folds = []
            for number, fold in enumerate(data["folds"], 1):
                for name in PARTS:
                    if not isinstance(fold, dict) or not isinstance(fold.get(name), list):
                        raise ValueError(f"'{name}' of fold {number} is no list of patients")
                folds.append(Fold(*(tuple(map(str, fold[name])) for name in PARTS)))
            return cls(int(data.get("seed", 0)), tuple(folds))
        except OSError as error:
            raise InputError(
                f"The folds {path} cannot be read ({error.strerror}): correct the name."
            ) from error
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The folds {path} are not valid ({error}): mend the file or let a new one be made."
            ) from error


def _once(parts: Iterable[Sequence[str]], where: str) -> None:
    seen: set[str] = set()
    for part in parts:
        for name in part:
            if name in seen:
                raise ValueError(f"the patient '{name}' is named twice in {where}")
            seen.add(name)


def patients_of(records: Iterable[ImageRecord]) -> list[Patient]:
    """The patients of a table's images, sorted by name."""
    found: dict[str, Patient] = {}
    for record in records:
        earlier = found.get(record.patient)
        outlined = bool(record.masks) or (earlier is not None and earlier.outlined)
        found[record.patient] = Patient(record.patient, record.label, record.severity, outlined)
    return [found[name] for name in sorted(found)]


def make_folds(patients: Iterable[Patient], *, seed: int = 0) -> FoldManifest:
    """Deal the patients into five folds, alike in label, masks and severity.

    The patients are ordered by stratum (label, then with masks or without, then severity), within
    a stratum by a hash of seed and name, and dealt in turn to ten tenths. Fold i is tested on the
    tenths i and i + 5, validated on one tenth of the next fold, and trained on the rest. So of the
    whole, of each label and of each stratum, test and validation hold a fifth and a tenth to
    within one patient (as long as there are ten; fewer validate one by one).

    Parameters
    ----------
    patients
        In any order; the result depends on names, strata and seed only.

    Raises
    ------
    InputError
        There are fewer patients than folds.
    ValueError
        A patient is given twice.
    """
    ordered = sorted(patients, key=lambda p: _place(p, seed))
    _once([[p.name for p in ordered]], "the list")
    if len(ordered) < FOLDS:
        raise InputError(
            f"There are too few patients for {FOLDS} folds ({len(ordered)}): add data of others."
        )
    tenths = [[p.name for p in ordered[i::TENTHS]] for i in range(TENTHS)]
    folds = []
    for i in range(FOLDS):
        validating = (i + 1) % FOLDS
        training = [
            name
            for t, tenth in enumerate(tenths)
            if t % FOLDS != i and t != validating
            for name in tenth
        ]
        folds.append(
            Fold(tuple(training), tuple(tenths[validating]), (*tenths[i], *tenths[i + FOLDS]))
        )
    return FoldManifest(seed, tuple(folds))


def _place(patient: Patient, seed: int) -> tuple[Any, ...]:
    severity = patient.severity
    grade = len(SEVERITIES) if severity is None else SEVERITIES.index(severity)
    digest = hashlib.sha256(f"{seed}:{patient.name}".encode()).digest()
    return (patient.label != COVID, patient.label, not patient.outlined, grade, digest)


class OfPatient(Protocol):
    """Anything that belongs to a patient: a record, a slice, a classified slice."""

    @property
    def patient(self) -> str: ...


Item = TypeVar("Item", bound=OfPatient)


def select_fold(items: Sequence[Item], fold: Fold) -> tuple[list[Item], list[Item], list[Item]]:
    """(training, validation, test) items as ``fold`` says, in their own order.

    Raises
    ------
    InputError
        An item's patient is in no part.
    """
    part_of = {name: index for index, part in enumerate(fold) for name in part}
    unknown = sorted({item.patient for item in items} - part_of.keys())
    if unknown:
        more = f" and {len(unknown) - 5} others" if len(unknown) > 5 else ""
        raise InputError(
            f"The folds do not name the patients {', '.join(unknown[:5])}{more}: use the folds "
            "that were made for these data, or let new ones be made."
        )
    parts: tuple[list[Item], list[Item], list[Item]] = ([], [], [])
    for item in items:
        parts[part_of[item.patient]].append(item)
    return parts
