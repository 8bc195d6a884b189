"""Every study's folder name: its own, the same in every run, and safe on every system."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

from CovidLesionSegLogic.batch.place import HIDDEN
from CovidLesionSegLogic.batch.privacy import Pseudonyms, hide_names
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.outputs import file_stem

MARK_LENGTH = 8
LONGEST = 80


def named(
    studies: Sequence[Study],
    owner_of: Callable[[str], str | None],
    pseudonyms: Pseudonyms | None = None,
) -> list[Study]:
    """The studies under names of their own, in the order of these.

    A name that two studies want, or that another one's results have already, gets a mark from the
    study's key; a study that has results keeps their name. Words of a patient's name are taken out.

    Parameters
    ----------
    owner_of
        Name of a folder among the results -> key of the study it belongs to, "" for a folder that
        belongs to none, None where there is no such folder.
    pseudonyms
        Codes to be used for names.
    """
    if pseudonyms is not None:
        codes = [pseudonyms.code(study.identity) for study in studies]
        coded = [replace(s, name=code, code=code) for s, code in zip(studies, codes, strict=True)]
        return sorted(coded, key=lambda study: study.name)
    wanted: dict[str, list[Study]] = {}
    for study in studies:
        name = file_stem(hide_names(study.name, study.name_words))[:LONGEST].rstrip(" .")
        # Some systems tell neither capitals nor ways to write an accent apart.
        alike = unicodedata.normalize("NFC", name.casefold())
        wanted.setdefault(alike, []).append(replace(study, name=name))
    result = []
    for name, several in wanted.items():
        for study in several:
            taken = owner_of(study.name)
            alone = len(several) == 1 and name != HIDDEN and not name.startswith("summary.")
            marked = replace(study, name=f"{study.name}-{study.key[:MARK_LENGTH]}")
            if owner_of(marked.name) == study.key:
                result.append(marked)
            elif taken == study.key or (alone and taken is None):
                result.append(study)
            else:
                result.append(marked)
    return sorted(result, key=lambda study: (study.name.casefold(), study.key))
