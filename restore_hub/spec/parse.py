"""A document to a `Spec`; the first of pydantic's findings becomes one error that points at the file."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from restore_hub.errors import SpecError, nearest
from restore_hub.expected import expected, shown
from restore_hub.spec.models import AT, FLAT_KEYS, Level, Spec, Stage
from restore_hub.spec.reader import Document
from restore_hub.spec.stages import Keys, with_levels, written

Finding = dict[str, Any]


def parse(document: Document) -> Spec:
    """Return the checked spec.

    Raises:
        SpecError: the first finding, at its place.
    """
    data = with_levels(document)
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        raise _translate(document, data, [dict(finding) for finding in error.errors()]) from None


def _translate(document: Document, data: dict[str, Any], findings: list[Finding]) -> SpecError:
    keys, finding, *others = _first(data, findings)
    place, kind = written(document, keys), finding["type"]
    if kind == "missing":
        return _missing(document, keys)
    if kind == "extra_forbidden":
        return _unknown(document, place, _known_keys(document, keys[:-1]))
    if "." in kind:  # one of the models' own findings is named by its code
        context = dict(finding["ctx"])
        return document.error(kind, *written(document, (*keys, *context.pop(AT))), **context)
    if kind == "too_short":
        return document.error("spec.empty", *place)
    got = shown(finding["input"])
    if kind == "string_pattern_mismatch":
        return document.error("spec.bad-name", *place, got=got)
    wanted = " or ".join(expected(each) for each in (finding, *others))
    return document.error("spec.wrong-value", *place, expected=wanted, got=got)


def _first(data: Any, findings: list[Finding]) -> tuple[Any, ...]:
    """Return the keys of the first finding, then that finding.

    A value that fits no member of a union has a finding for each. The deepest one means the member that was meant;
    of equally deep ones it is one of the models' own, or the one beyond the type. Where all are about the type, all are
    returned.
    """
    placed = [(_without_union_tags(data, f["loc"], f["type"] == "missing"), f) for f in findings]
    start = placed[0][0]
    placed = [(keys, f) for keys, f in placed if keys[: len(start)] == start]
    keys, best = max(placed, key=lambda item: (len(item[0]), "." in item[1]["type"], not _is_about_type(item[1])))
    same = [f for other, f in placed if other == keys and f is not best and _is_about_type(f)]
    return (keys, best, *(same if _is_about_type(best) else ()))


def _is_about_type(finding: Finding) -> bool:
    return str(finding["type"]).endswith("_type")


def _missing(document: Document, keys: Keys) -> SpecError:
    """A missing key is often there, misspelt: then point at that one."""
    *above, last = keys
    place = written(document, tuple(above))
    mapping: Any = document.data
    for key in place:
        mapping = mapping[key]
    known = _known_keys(document, tuple(above))
    for given in mapping:
        if given not in known and nearest(given, [str(last)]):
            return _unknown(document, (*place, given), [str(last)])
    return document.error("spec.missing-key", *place, key=last)


def _unknown(document: Document, place: Keys, known: list[str]) -> SpecError:
    key = str(place[-1])
    return document.error("spec.unknown-key", *place, key=key, known=", ".join(known), mend=nearest(key, known))


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


def _known_keys(document: Document, keys: Keys) -> list[str]:
    """Return the keys that a person may write at a key path of `with_levels`."""
    model: Any = Spec
    for key in keys:
        inner = model.model_fields[str(key)].annotation if _is_model(model) else typing.get_args(model)[-1]
        model = _unwrap(inner)
    place = written(document, keys)
    if model is Level and place[-1] not in ("lower", *range(1, 99)):
        return list(Stage.reserved_keys() if len(place) == 2 else FLAT_KEYS)
    return list(model.model_fields) if _is_model(model) else []


def _unwrap(annotation: Any) -> Any:
    """Return the X of `X | None` and `Annotated[X, ...]`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _unwrap(args[0])
    if origin in (typing.Union, types.UnionType):
        return _unwrap(max((a for a in args if a is not type(None)), key=_is_model))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
