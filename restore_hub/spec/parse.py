"""A document to a `Spec`, with pydantic's findings turned into one line that points at the file."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from restore_hub.errors import SpecError, did_you_mean
from restore_hub.spec.models import Spec
from restore_hub.spec.reader import Document

_LONGEST = 60
# What pydantic's kinds of finding mean to somebody who writes YAML; `{...}` is filled in from the finding.
_MEANING = {
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "finite_number": "should be a finite number",
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "list_type": "should be a list",
    "too_short": "should not be empty",
    "greater_than": "should be greater than {gt:g}",
    "greater_than_equal": "should be at least {ge}",
    "literal_error": "should be {expected}",
    "string_pattern_mismatch": "a name has letters, digits, '_' and '-', and begins with a letter or '_'",
}

Keys = tuple[str | int, ...]


def parse(document: Document) -> Spec:
    """Return the checked spec.

    Raises:
        SpecError: `file:line:col key.path: what`, for the first finding.
    """
    try:
        return Spec.model_validate(document.data)
    except ValidationError as error:
        raise _translate(document, [dict(finding) for finding in error.errors()]) from None


def _translate(document: Document, findings: list[dict[str, Any]]) -> SpecError:
    keys, finding, *others = _first(document.data, findings)
    kind = finding["type"]
    if kind == "missing":
        return _missing(document, keys)
    if kind == "extra_forbidden":
        known = _known_keys(keys[:-1])
        hint = did_you_mean(str(keys[-1]), known) or f"; known keys: {', '.join(known)}"
        return document.error(f"unknown key{hint}", *keys)
    if kind == "value_error":
        return document.error(str(finding["ctx"]["error"]), *keys)
    meanings = [_meaning(f) for f in (finding, *others)]
    meaning = " or ".join([meanings[0], *(text.removeprefix("should be ") for text in meanings[1:])])
    if kind == "too_short":
        return document.error(meaning, *keys)
    return document.error(f"{meaning}, got {_shown(finding['input'])}", *keys)


def _first(data: Any, findings: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Return the keys of the first finding, then that finding.

    A value that fits no member of a union has a finding for each. The deepest one means the member that was meant;
    of equally deep ones it is the one beyond the type. Where all are about the type, all are returned.
    """
    placed = [(_without_union_tags(data, f["loc"], f["type"] == "missing"), f) for f in findings]
    start = placed[0][0]
    placed = [(keys, f) for keys, f in placed if keys[: len(start)] == start]
    keys, best = max(placed, key=lambda item: (len(item[0]), not item[1]["type"].endswith("_type")))
    same = [f for other, f in placed if other == keys and f is not best and f["type"].endswith("_type")]
    return (keys, best, *(same if best["type"].endswith("_type") else ()))


def _missing(document: Document, keys: Keys) -> SpecError:
    """A missing key is often there, misspelt: then point at that one."""
    above: Any = document.data
    for key in keys[:-1]:
        above = above[key]
    known = _known_keys(keys[:-1])
    for given in above:
        if given not in known and (hint := did_you_mean(given, [str(keys[-1])])):
            return document.error(f"unknown key{hint}", *keys[:-1], given)
    return document.error(f"needs the key `{keys[-1]}`", *keys[:-1])


def _meaning(finding: dict[str, Any]) -> str:
    plain = _MEANING.get(finding["type"])
    if plain is None:
        return str(finding["msg"][0].lower() + finding["msg"][1:]).replace("input", "value", 1)
    return plain.format(**finding.get("ctx", {}))


def _shown(value: Any) -> str:
    """Return a value as its author would write it, or what it is where that is long."""
    if isinstance(value, dict | list):
        return f"a{' mapping' if isinstance(value, dict) else ' list' if value else 'n empty list'}"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _without_union_tags(data: Any, loc: Keys, missing: bool) -> Keys:
    """Drop the parts of a pydantic location that name a union's member, or a mapping's key, rather than a value."""
    keys: list[str | int] = []
    place = data
    for position, part in enumerate(loc):
        if _holds(place, part):
            place = place[part]
        elif not (missing and position == len(loc) - 1):
            continue
        keys.append(part)
    return tuple(keys)


def _holds(place: Any, part: str | int) -> bool:
    if isinstance(place, list):
        return isinstance(part, int) and part < len(place)
    return isinstance(place, dict) and part in place


def _known_keys(keys: Keys) -> list[str]:
    """Return the keys that the model at a key path names."""
    here: Any = Spec
    for key in keys:
        here = here.model_fields[str(key)].annotation if _is_model(here) else typing.get_args(here)[-1]
        here = _unwrap(here)
    return list(here.model_fields) if _is_model(here) else []


def _unwrap(annotation: Any) -> Any:
    """Return the X of `X | None` and `Annotated[X, ...]`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _unwrap(args[0])
    if origin in (typing.Union, types.UnionType):
        return _unwrap(next(a for a in args if a is not type(None)))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
