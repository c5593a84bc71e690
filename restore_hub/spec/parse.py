"""A document to a `Spec`, with pydantic's findings turned into one line that points at the file."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from restore_hub.errors import SpecError, did_you_mean
from restore_hub.spec.models import Spec
from restore_hub.spec.reader import Document


def parse(document: Document) -> Spec:
    """Return the checked spec.

    Raises:
        SpecError: `file:line:col key.path: what`, for the first finding.
    """
    try:
        return Spec.model_validate(document.data)
    except ValidationError as error:
        raise _translate(document, error.errors()[0]) from None


def _translate(document: Document, finding: Any) -> SpecError:
    keys = _without_union_tags(document.data, tuple(finding["loc"]))
    kind = finding["type"]
    if kind == "extra_forbidden":
        known = _known_keys(keys[:-1])
        hint = did_you_mean(str(keys[-1]), known) or f"; known keys: {', '.join(known)}"
        return document.error(f"unknown key{hint}", *keys)
    if kind == "missing":
        return document.error(f"needs the key `{keys[-1]}`", *keys[:-1])
    if kind == "value_error":
        return document.error(str(finding["ctx"]["error"]), *keys)
    if kind == "string_pattern_mismatch":
        return document.error("a name has letters, digits, '_' and '-', and begins with a letter", *keys)
    message = finding["msg"][0].lower() + finding["msg"][1:]
    return document.error(f"{message.replace('input', 'value', 1)}, got {finding['input']!r}", *keys)


def _without_union_tags(data: Any, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Drop the parts of a pydantic location that name a union's member rather than a key of the file."""
    keys: list[str | int] = []
    place = data
    for position, part in enumerate(loc):
        if _holds(place, part):
            place = place[part]
        elif position < len(loc) - 1 or part == "[key]" or not isinstance(place, dict):
            continue  # a union's member, not a key of the file
        keys.append(part)
    return tuple(keys)


def _holds(place: Any, part: str | int) -> bool:
    if isinstance(place, list):
        return isinstance(part, int) and part < len(place)
    return isinstance(place, dict) and part in place


def _known_keys(keys: tuple[str | int, ...]) -> list[str]:
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
