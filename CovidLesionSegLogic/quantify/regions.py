"""A label map of regions, with names: from the file, from the user, or from known numbers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.label_names import read_label_names
from CovidLesionSegLogic.ct.labels import read_labels
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import RequestError

from .lobes import COVERED, LOBES, TOTALSEGMENTATOR, Places, lobe_of

logger = logging.getLogger(__name__)

HOW = '--region-names "1=left upper lobe,2=..." or a .json file {"1": "left upper lobe", ...}'
LONGEST_NAME = 200


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions to measure in, ready for :func:`.quantify`.

    Parameters
    ----------
    labels
        (z, y, x) on the CT's own grid, uint8, 0 no region.
    names
        By label; a label without one is measured as "region N".
    notes
        What a person should know of the map, one sentence each.
    """

    labels: NDArray[np.uint8]
    names: Mapping[int, str]
    notes: tuple[str, ...] = ()


def read_regions(
    path: str | os.PathLike[str], ct: CTVolume, *, names: Mapping[int, str] | None = None
) -> Regions:
    """Read a label map of regions onto the CT's grid, with the names that are known for it.

    ``names`` (of :func:`parse_region_names`) replace those that the file carries. Follow with
    :func:`name_lobes` once the lungs are known.

    Raises
    ------
    InputError
        When the file is no label map or does not overlap the CT.
    """
    notes: list[str] = []
    labels = read_labels(path, ct, notes=notes)
    known = read_label_names(path) if names is None else names
    return Regions(labels, {n: known[n] for n in known if n <= 255}, tuple(notes))


def name_lobes(regions: Regions, ct: CTVolume, lungs: NDArray[Any] | None) -> Regions:
    """Make out the lobes among the regions.

    Without names, the numbers of TotalSegmentator's task "total" are recognised where labels 10
    to 14, and only they, fill the lungs; any other map stays without names, for 1 to 5 mean
    different lobes to different programs. Where all five lobes are named, only they remain
    (labels of one lobe, such as the lingula's and its upper lobe's, become one) and are called by
    :data:`~.lobes.LOBES`. Names that do not fit the places are kept, with a note.

    Parameters
    ----------
    regions
        Of :func:`read_regions`.
    ct
        The CT whose grid they are on.
    lungs
        (z, y, x) on the same grid, 0 outside; None where unknown.
    """
    notes: list[str] = []
    places = Places.of(ct, regions.labels, lungs)
    names = dict(regions.names)
    if not names:
        if not places.fit_totalsegmentator():
            notes.append(
                "The region map names no regions, so it is not known which of them are lobes and "
                f"no CT severity score is given: give their names with {HOW}."
            )
            return _with(regions, notes)
        names = dict(TOTALSEGMENTATOR)
        notes.append(
            "The region map carries no names; its labels 10 to 14 were taken as the lobes, as "
            "TotalSegmentator (task 'total', version 2) numbers them."
        )
    lobes = {label: lobe for label, name in names.items() if (lobe := lobe_of(name))}
    if set(lobes.values()) != set(LOBES):
        missing = [lobe for lobe in LOBES if lobe not in lobes.values()]
        if lobes:
            notes.append(
                f"The region map names no {_words(missing, 'or')}, so no CT severity score is "
                "given."
            )
        # A file may list all that its program knows: what is not there is no region of this CT.
        present = {n: name for n, name in names.items() if places.voxels[n] > 0}
        return _with(replace(regions, names=present), notes)
    labels, names = _only_lobes(regions.labels, lobes)
    merged = sorted(set(lobes) - set(names))
    if merged:
        notes.append(
            "Labels of the region map that mean the same lobe were taken together: "
            f"{', '.join(_named(n, regions.names) for n in merged)}."
        )
    others = [n for n in np.flatnonzero(places.voxels).tolist() if n > 0 and n not in lobes]
    if others:
        notes.append(
            "Of the region map only the lobes are measured; other labels were left out: "
            f"{', '.join(_named(n, regions.names) for n in others[:3])}"
            f"{f' and {len(others) - 3} more' if len(others) > 3 else ''}."
        )
    faults = places.misplaced(lobes)
    if faults:
        notes.append(
            f"The lobes' names do not fit where they lie: {_words(faults, 'and')}; check the names "
            "and the orientation of the region map."
        )
    covered = places.covered(list(lobes))
    if covered is not None and covered < COVERED:
        notes.append(
            f"The lobes fill only {100 * covered:.0f} % of the lungs; check that the region map "
            "belongs to this CT."
        )
    return _with(replace(regions, labels=labels, names=names), notes)


def parse_region_names(text: str) -> dict[int, str]:
    """Names by label from "1=left upper lobe,2=..." or from a ``.json`` file's path.

    The file holds one object, ``{"1": "left upper lobe", "2": ...}``.

    Raises
    ------
    RequestError
        When the text or file is no such list, a label is not 1 to 255, or a name is given twice.
    """
    pairs = _from_file(text.strip()) if text.strip().lower().endswith(".json") else _pairs(text)
    names: dict[int, str] = {}
    for key, value in pairs:
        label = int(key) if key.isdecimal() and len(key) < 9 else 0
        name = " ".join(value.split()) if isinstance(value, str) else ""
        if not 1 <= label <= 255:
            raise RequestError(
                f"Region names: '{key[:40]}' is no label from 1 to 255; write {HOW}."
            )
        if not name or len(name) > LONGEST_NAME:
            raise RequestError(
                f"Region names: label {label} needs a name of 1 to {LONGEST_NAME} letters; "
                f"write {HOW}."
            )
        if label in names:
            raise RequestError(f"Region names: label {label} is named twice; name it once.")
        if name.casefold() in map(str.casefold, names.values()):
            raise RequestError(f"Region names: two labels are called '{name}'; name them apart.")
        names[label] = name
    if not names:
        raise RequestError(f"Region names: the list is empty; write {HOW}.")
    return names


def _pairs(text: str) -> list[tuple[str, Any]]:
    pairs = []
    for part in text.split(","):
        key, found, name = part.partition("=")
        if not found:
            raise RequestError(
                f"Region names: '{part.strip()[:40]}' is no label=name; write {HOW}."
            )
        pairs.append((key.strip(), name))
    return pairs


def _from_file(name: str) -> list[tuple[str, Any]]:
    path = Path(name).expanduser()
    if path.exists() and not path.is_file():  # a pipe may never end
        raise RequestError(f"The region names {path} are no file; check the path.")
    try:
        # As pairs: a label that comes twice must be seen, not replaced.
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=list)
    except OSError as error:
        raise RequestError(
            f"The region names {path} cannot be read ({error.strerror or error}); check the path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(
            f"The region names {path} are no JSON ({error}); write {HOW}."
        ) from error
    if not isinstance(data, list) or not all(isinstance(p, tuple) for p in data):
        raise RequestError(f"The region names {path} are no JSON object; write {HOW}.")
    return [(key.strip(), value) for key, value in data]


def _only_lobes(
    labels: NDArray[np.uint8], lobes: Mapping[int, str]
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The map with one label per lobe (its lowest) and nothing else; names by label."""
    names: dict[int, str] = {}
    first: dict[str, int] = {}
    for label in sorted(lobes):
        first.setdefault(lobes[label], label)
    for lobe in LOBES:
        names[first[lobe]] = lobe
    lookup = np.zeros(256, np.uint8)
    for label, lobe in lobes.items():
        lookup[label] = first[lobe]
    kept = np.empty_like(labels)
    for target, plane in zip(kept, labels, strict=True):
        np.take(lookup, plane, out=target)
    return kept, names


def _with(regions: Regions, notes: list[str]) -> Regions:
    for note in notes:
        logger.warning(note)
    return replace(regions, notes=(*regions.notes, *notes))


def _named(label: int, names: Mapping[int, str]) -> str:
    return f"{label} {names[label]}" if label in names else str(label)


def _words(parts: list[str], last: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"
