"""Converts a nested spec and arbitrary names to what MLflow accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LONGEST_VALUE = 6000  # MLflow's limits for parameters
LONGEST_KEY = 250


def flatten(params: Mapping[str, Any]) -> dict[str, str]:
    """Return nested mappings and lists of mappings as texts by `a.b.0.c`, cut to MLflow's lengths.

    A value that is too long ends in `...`; the whole spec is also recorded as a file.
    """
    return {key_of(key): _cut(text) for key, text in _leaves("", params)}


def key_of(name: str) -> str:
    """Return a name with only the characters that MLflow allows in keys, cut to MLflow's length."""
    return re.sub(r"[^\w\-. /]", "_", name)[:LONGEST_KEY]


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    elif _is_list(value) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(f"{prefix}.{index}", inner)
    elif isinstance(value, Mapping) or _is_list(value):
        yield prefix, json.dumps(value, default=str)
    else:
        yield prefix, str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def plain(value: Any) -> Any:
    """Return nested plain values for YAML, with paths and the like as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
