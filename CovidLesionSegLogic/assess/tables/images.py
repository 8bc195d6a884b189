"""The images of a plan: one split for all runs, and what each run trains on."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLesionSegLogic.assess.pictures import find_pairs, read_pair
from CovidLesionSegLogic.assess.tables.plan import DataSpec, Run
from CovidLesionSegLogic.errors import InputError, RequestError

if TYPE_CHECKING:
    from CovidLesionSegLogic.learn.sources import Slice

MAIN = "sirm100"
DAMAGED = (
    *(OSError, ValueError, KeyError, SyntaxError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Images:
    """The plan's data set, divided by patient, each part in the order of the slices' names."""

    training: list[Slice]
    validation: list[Slice]
    test: list[Slice]

    def counts(self, training: list[Slice]) -> dict[str, Any]:
        """Slices and patients of each part; of a run's training slices also by source."""
        by_source: dict[str, int] = {}
        for item in training:
            by_source[item.source] = by_source.get(item.source, 0) + 1
        parts = {"training": training, "validation": self.validation, "test": self.test}
        counts: dict[str, Any] = {
            name: {"slices": len(part), "patients": len({s.patient for s in part})}
            for name, part in parts.items()
        }
        counts["training"]["by_source"] = by_source
        return counts


def load_images(data: Path, spec: DataSpec) -> Images:
    """Read and divide the plan's data set.

    Parameters
    ----------
    data
        Folder of the data sets.

    Raises
    ------
    RequestError
        A folder is missing, or there are too few patients for the split.
    InputError
        A picture cannot be used.
    """
    from CovidLesionSegLogic.learn.manifest import make_split, select
    from CovidLesionSegLogic.learn.sources import sirm100

    slices = _checked(data / spec.folder, lambda: sirm100(data / spec.folder))
    patients = len({s.patient for s in slices})
    wanted = spec.test_patients + spec.validation_patients
    if wanted >= patients:
        raise RequestError(
            f"The plan sets {wanted} patients aside but {data / spec.folder} has {patients}: "
            "give a plan with fewer, or more images."
        )
    if spec.test_folder is None:
        rest, test = _divide(slices, spec.test_patients, spec.seed, make_split, select)
    else:
        rest, test = slices, _test_folder(data / spec.test_folder)
    training, validation = rest, list[Any]()
    if spec.validation_patients:
        training, validation = _divide(
            rest, spec.validation_patients, spec.seed, make_split, select
        )
    return Images(training, validation, test)


def _divide(
    slices: list[Slice], count: int, seed: int, make_split: Any, select: Any
) -> tuple[list[Slice], list[Slice]]:
    patients = sorted({s.patient for s in slices})
    manifest = make_split(patients, validation_count=count, seed=seed)
    one, other = select(slices, manifest)
    return list(one), list(other)


def _test_folder(folder: Path) -> list[Slice]:
    from CovidLesionSegLogic.learn.sources import Slice

    found = []
    for pair in find_pairs(folder / "images", folder / "lesion"):
        image, mask = read_pair(pair)
        found.append(Slice(image, mask.astype(np.uint8), f"test_{pair.name}", MAIN, pair.name))
    return found


def training_slices(data: Path, run: Run, images: Images, extra: dict[str, Path]) -> list[Slice]:
    """All slices that ``run`` trains on; never one of a patient set aside.

    Parameters
    ----------
    extra
        Files of further slices by the name that runs use for them.

    Raises
    ------
    RequestError
        A source's folder is missing.
    InputError
        A file of a source cannot be used.
    """
    from CovidLesionSegLogic.learn import sources
    from CovidLesionSegLogic.learn.lesions import VALIDATION_PATIENTS
    from CovidLesionSegLogic.learn.pseudo import read_slices

    readers: dict[str, tuple[str, Callable[[Path], list[Slice]]]] = {
        "zenodo20": ("zenodo20", sources.zenodo20),
        "medseg": ("medseg_volumes", sources.medseg_lesions),
        "medseg_free": ("medseg_volumes", sources.medseg_lesions),
        "covid_ct_md_free": ("covid_ct_md", lambda p: sources.covid_ct_md(p, infected=False)),
    }
    found: list[Slice] = []
    read: set[str] = set()
    for source in run.data:
        if source not in readers or readers[source][0] in read:
            continue
        name, reader = readers[source]
        read.add(name)
        folder = data / name
        found += _checked(folder, lambda r=reader, f=folder: r(f))  # type: ignore[misc]
    if run.slices is not None:
        path = extra[run.slices]
        found += _checked(path, lambda: read_slices(path))
    # Volumes of patients kept for validation elsewhere stay unseen here, too: runs can be judged on
    # them (but not on their slices of the plan's own set, which trains whatever it does not test).
    found = [*images.training, *(s for s in found if s.patient not in VALIDATION_PATIENTS)]
    kept_apart = {s.patient for s in (*images.validation, *images.test)}
    found = [s for s in found if s.source in run.data and s.patient not in kept_apart]
    missing = [source for source in run.data if source not in {s.source for s in found}]
    if missing:
        raise InputError(
            f"The run '{run.name}' trains on '{missing[0]}', of which nothing was found: check "
            "the data folder and the file of slices."
        )
    return found


def _checked(path: Path, read: Callable[[], list[Slice]]) -> list[Slice]:
    if not path.exists():
        raise RequestError(f"{path} is missing: give the folder of the data sets with --data.")
    try:
        found = read()
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {reason}): mend or replace the file."
        ) from error
    if not found:
        raise InputError(f"{path} holds no slices: give the right folder.")
    return [replace(s, mask=(s.mask > 0).astype(np.uint8)) for s in found]
