"""A stage as a person writes it: flat, with `upper` and `lower`, or with `levels`, as the models keep it."""

from __future__ import annotations

from typing import Any

from restore_hub.spec.models import FLAT_KEYS, LEVEL_NAMES, LOWER_KEYS, Spec, TopLevel
from restore_hub.spec.reader import Document

Keys = tuple[str | int, ...]


def with_levels(document: Document) -> dict[str, Any]:
    """Return the values of a document with `levels` in each stage. What isn't a stage is left for the models to refuse.

    Raises:
        SpecError: one level of two, flat keys beside two levels, or a key of the lower level in the upper one.
    """
    stages = document.data.get("stages")
    if not isinstance(stages, list):
        return document.data
    return {**document.data, "stages": [_stage(document, index, stage) for index, stage in enumerate(stages)]}


def written(document: Document, keys: Keys) -> Keys:
    """Return the keys of a value of `with_levels` as they're written in the file."""
    if keys[:1] != ("stages",) or keys[2:3] != ("levels",):
        return keys
    stage = document.data["stages"][keys[1]]
    if "levels" in stage:
        return keys
    two = any(stage.get(name) is not None for name in LEVEL_NAMES)
    name = (LEVEL_NAMES[int(keys[3])],) if two and len(keys) > 3 else ()
    return (*keys[:2], *name, *keys[4:])


def level_place(document: Document, index: int, level: int) -> Keys:
    """Return the keys where a level of a stage is written."""
    return written(document, ("stages", index, "levels", level))


def written_schema() -> dict[str, Any]:
    """Return the JSON Schema of what a person may write; the definitions of the levels are `Level` and `LowerLevel`."""
    schema = Spec.model_json_schema()
    definitions = schema["$defs"]
    definitions["LowerLevel"] = definitions["Level"]
    definitions["Level"] = upper = TopLevel.model_json_schema()
    stage = definitions["Stage"]
    stage["required"].remove("levels")
    stage["properties"]["levels"]["items"] = {"$ref": "#/$defs/LowerLevel"}
    for name, model in zip(LEVEL_NAMES, ("Level", "LowerLevel"), strict=True):
        reference = {"anyOf": [{"$ref": f"#/$defs/{model}"}, {"type": "null"}], "default": None}
        stage["properties"][name] = {**reference, "description": f"the {name} level of a bilevel stage"}
    for key, field in upper["properties"].items():
        stage["properties"][key] = {"default": None, **field, "description": f"flat stage: {field['description']}"}
    return schema


def _stage(document: Document, index: int, stage: Any) -> Any:
    if not isinstance(stage, dict):
        return stage
    place = ("stages", index)
    if "levels" in stage:
        return _listed(document, place, stage)
    two = [stage[name] for name in LEVEL_NAMES if stage.get(name) is not None]
    flat = {key: stage[key] for key in FLAT_KEYS if key in stage}
    rest = {key: value for key, value in stage.items() if key not in (*LEVEL_NAMES, *FLAT_KEYS)}
    if not two:
        return {**rest, "levels": [flat]}
    if len(two) == 1:
        raise document.error("spec.one-of-two-levels", *place)
    if flat:
        raise document.error("spec.flat-keys-beside-levels", *place, next(iter(flat)), keys=", ".join(flat))
    _check_top(document, two[0], *place, "upper")
    return {**rest, "levels": two}


def _listed(document: Document, place: Keys, stage: dict[str, Any]) -> dict[str, Any]:
    others = [key for key in (*LEVEL_NAMES, *FLAT_KEYS) if stage.get(key) is not None]
    if others:
        raise document.error("spec.keys-beside-list", *place, others[0], keys=", ".join(others))
    levels = stage["levels"]
    for level in levels[:1] if isinstance(levels, list) else ():
        _check_top(document, level, *place, "levels", 0)
    return stage


def _check_top(document: Document, level: Any, *place: str | int) -> None:
    for key in level if isinstance(level, dict) else ():
        if key in LOWER_KEYS:
            raise document.error("spec.lower-level-only", *place, key, key=key)
