"""Words of a patient's name that can give the person away, to be kept out of texts."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_STAND_INS = """
    anon anonym anonymous anonymised anonymized deidentified none unknown name
    patient subject case study scan phantom test covid normal
    ct mr id pt dr jr md xx
"""
NO_NAMES = frozenset(_STAND_INS.split())
"""Words that stand in PatientName where the name has been removed, or that are none."""
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")
LONGEST_NAME = 1024
"""Letters: three groups of at most 64 (PN, PS3.5 6.2), with room; a book is no name."""


@lru_cache(maxsize=256)  # one object for the many images of a patient
def name_words(name: str) -> frozenset[str]:
    """The words of a patient's name (PS3.5 6.2.1) that can give the person away.

    Codes, which hold digits, initials, and what stands in for a name are none.
    """
    folded = unicodedata.normalize("NFC", name[:LONGEST_NAME].casefold())
    # Vowel signs of many scripts are marks, which belong to their word.
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in folded)
    words = (w for w in "".join(kept).split() if not any(c.isdigit() for c in w))
    return frozenset(w for w in words if len(w) > 1 or is_east_asian(w)) - NO_NAMES


def is_east_asian(word: str) -> bool:
    """Whether a word is of Chinese, Japanese or Korean signs, of which one can be a name."""
    return all(unicodedata.name(c, "").startswith(_EAST_ASIAN) for c in word)
