"""What may stand in names, logs and summaries: never a patient's name, and codes where asked for.

A study's identity becomes a code by HMAC-SHA-256 under a key that lies outside the results, so that
nobody without the key can try out identifiers, and a second run gives the same codes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import RequestError

HIDDEN = "[name]"
CODE_LENGTH = 12
_KEY_BYTES = 32
_UID = re.compile(r"\b[0-2](?:\.\d+){5,}\b")  # PS3.5 9.1: components of digits
_KEPT = ("format", "slices", "manufacturer", "model", "kernel", "slice_thickness_mm")
"""Of a CT's source, what says nothing of the person."""


def hide_names(text: str, words: Iterable[str]) -> str:
    """``text`` without the words of a patient's name, in whatever capitals, also within words."""
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(re.escape(word), HIDDEN, text, flags=re.IGNORECASE)
    return text


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
                path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w", encoding="ascii") as file:
                    file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            key = bytes.fromhex(path.read_text(encoding="ascii").strip())
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
        digest = hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()
        return f"study-{digest[:CODE_LENGTH]}"


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
    text = re.sub(r"'[^']*'", "'...'", text)
    text = re.sub(r"(?:\.\.\.[/\\])+[^\s:;,()]+", "...", text)  # files below the path
    return _UID.sub("...", text)
