"""What a refusal must be, whatever was refused."""

from __future__ import annotations

import re

from CovidLesionSegLogic.errors import LONGEST_MESSAGE

UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, and overrides of the reading direction."""


def checked(error: Exception) -> str:
    """The sentence of a refusal, which is fit to be shown."""
    message = str(error)
    assert message.endswith(".")
    assert UNCLEAN.search(message) is None
    assert len(message) <= LONGEST_MESSAGE
    return message
