"""What may stand in names, logs and summaries: never a patient's name, and codes where asked for.

A study's identity becomes a code by HMAC-SHA-256 under a key that lies outside the results, so that
nobody without the key can try out identifiers, and a second run gives the same codes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct.dicom_names import is_east_asian
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import RequestError

HIDDEN = "[name]"
CODE_LENGTH = 12
_KEY_BYTES = 32
_LONGEST_KEY = 4096
_UID = re.compile(r"\b[0-2](?:(?:\.\d+){3,}|\.\d+\.\d{6,})\b")  # PS3.5 9.1, B.2: 2.25.UUID
_MARK = "[\u0300-\u036f\u3099\u309a]"
"""Accents, and the marks of voiced kana."""
_KEPT = ("format", "slices", "manufacturer", "model", "kernel", "slice_thickness_mm")
"""Of a CT's source, what says nothing of the person."""


def hide_names(text: str, words: Iterable[str]) -> str:
    """``text`` without the words of a patient's name, in whatever capitals, also within words.

    With or without accents, or an umlaut as "ue". A word of two letters (Li) counts by itself or
    beside another word of the name.
    """
    pattern = _pattern(frozenset(words))
    if pattern is None:
        return text
    plain = unicodedata.normalize("NFD", text)
    hidden = pattern.sub(HIDDEN, plain)
    return text if hidden == plain else unicodedata.normalize("NFC", hidden)


@functools.lru_cache(maxsize=256)
def _pattern(words: frozenset[str]) -> re.Pattern[str] | None:
    """What finds the words in decomposed text; what has been hidden before is left alone."""
    ordered = sorted(words, key=lambda word: (-len(word), word))
    long = "|".join(_spelt(w) for w in ordered if len(w) > 2 or is_east_asian(w))
    short = "|".join(_spelt(w) for w in ordered if len(w) == 2 and not is_east_asian(w))
    letter = r"[^\W\d_]"
    found = [f"(?:{short})*(?:{long})(?:{short})*" if short else long] if long else []
    found += [f"(?<!{letter})(?:{short})+(?!{letter})"] if short else []
    if not found:
        return None
    return re.compile("|".join([re.escape(HIDDEN), *found]), re.IGNORECASE)


def _spelt(word: str) -> str:
    letters = ""
    for sign in unicodedata.normalize("NFD", word):
        if sign == "\u0308":
            letters += "e?"
        elif not re.match(_MARK, sign):
            letters += f"{re.escape(sign)}{_MARK}*"
    sharp = f"s{_MARK}*" * 2
    return letters.replace(sharp, f"(?:{sharp}|\u00df)")


class Pseudonyms:
    """Codes for identities."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> Pseudonyms:
        """With the key in ``path``, which is made, for its owner's eyes only, where it is missing.

        Raises
        ------
        RequestError
            The file cannot be read or made, or holds something else.
        """
        try:
            if not path.exists():
                _make_key(path)
            if not path.is_file():  # a pipe may never end
                raise OSError("it is no file")
            with path.open("rb") as file:
                key = bytes.fromhex(file.read(_LONGEST_KEY).decode("ascii").strip())
        except (OSError, ValueError) as error:
            raise RequestError(
                f"The key for the codes cannot be read from or written to {path} ({error}): name "
                "another file (--pseudonym-key)."
            ) from error
        if len(key) < _KEY_BYTES:
            raise RequestError(
                f"{path} holds no key of {2 * _KEY_BYTES} hexadecimal digits: name another file "
                "(--pseudonym-key)."
            )
        return cls(key)

    def code(self, identity: str) -> str:
        """The code of an identity: "study-" and twelve hexadecimal digits."""
        told = identity.encode("utf-8", "surrogateescape")  # file names need not be UTF-8
        digest = hmac.new(self._key, told, hashlib.sha256)
        return f"study-{digest.hexdigest()[:CODE_LENGTH]}"


def _make_key(path: Path) -> None:
    """Whole or not at all; one that another run has made meanwhile stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(6)}.{path.name}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def without_identity(ct: CTVolume, name: str, path: Path) -> CTVolume:
    """The CT under a code, without path, UIDs and descriptions, also in what was noticed."""
    kept: dict[str, Any] = {key: ct.source[key] for key in _KEPT if key in ct.source}
    return replace(
        ct,
        name=name,
        source=kept,
        warnings=tuple(hide_identity(text, path) for text in ct.warnings),
    )


def hide_identity(text: str, path: Path) -> str:
    """``text`` without the parts of a path, UIDs and whatever stands in quotation marks."""
    for part in sorted({str(path), str(path.resolve()), *path.parts}, key=len, reverse=True):
        if len(part) > 2:
            text = text.replace(part, "...")
    text = re.sub(r"(?<!\w)'.*'(?!\w)", "'...'", text)  # to the last one: names hold apostrophes
    text = re.sub(r"(?:\.\.\.[/\\])+[^\s:;,()]+", "...", text)  # files below the path
    return _UID.sub("...", text)
