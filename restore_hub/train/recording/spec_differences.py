"""Where two resolved specs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN, WIDTH = 5, 60  # differences shown, and characters of a value


def differences(saved: Any, resolved: Mapping[str, Any]) -> list[str]:
    """Return `key.path old -> new` for each value in which two resolved specs differ; their source may."""
    one, other = ({key: value for key, value in spec.items() if key != "source"} for spec in (saved, resolved))
    return list(_between(one, other, ""))


def _between(one: Any, other: Any, path: str) -> Iterator[str]:
    if one == other:
        return
    tables = [_table(value) for value in (one, other)]
    if tables[0] is None or tables[1] is None:
        yield f"{path.removeprefix('spec.')} {_short(one)} -> {_short(other)}"
        return
    for key in {**tables[0], **tables[1]}:
        yield from _between(tables[0].get(key), tables[1].get(key), f"{path}.{key}" if path else str(key))


def _table(value: Any) -> Mapping[Any, Any] | None:
    """Return a value with keys of its own: a mapping, or a list of mappings by position; else nothing."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return dict(enumerate(value))
    return value if isinstance(value, Mapping) else None


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def summary(found: list[str]) -> str:
    """Return the first few differences, and how many more there are."""
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
