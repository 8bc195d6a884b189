"""JSON in which anything may stand anywhere, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Place = tuple[Any, ...]


def values(*tempting: Any) -> st.SearchStrategy[Any]:
    """Small values of every type, ``tempting`` ones among them."""
    return st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=20),
            st.sampled_from([10**400, -1, 1e308, "\x1b[31m", "../x", *tempting]),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    )


def places(data: Any, before: Place = ()) -> list[Place]:
    """Every place in lists and objects, as the keys that lead there."""
    found = [before] if before else []
    if isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            found += places(value, (*before, key))
    return found


def put(data: Any, place: Sequence[Any], value: Any) -> None:
    """Let ``value`` stand at ``place``."""
    for key in place[:-1]:
        data = data[key]
    data[place[-1]] = value
