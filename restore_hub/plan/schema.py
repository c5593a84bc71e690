"""JSON Schema of the spec language with the options of every registered component, for editors."""

from __future__ import annotations

from typing import Any

from pydantic.errors import PydanticUserError

from restore_hub.contracts import INJECTED
from restore_hub.errors import PluginError
from restore_hub.nested import KIND_OF, nested_model
from restore_hub.options import options_model
from restore_hub.registry import RESERVED_NAMESPACE, Registry
from restore_hub.spec import written_schema

# Where the language names a component: definition in the schema, and the key that holds the name.
PLACES = {
    "Split": "dataset",
    "Block": "network",
    "TaskUse": "task",
    "Objective": "loss",
    "MetricUse": "metric",
    "Stage": "solver",
    "ProblemUse": "problem",
    "TrackerUse": "tracker",
}


def spec_schema(registry: Registry) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a spec, given what is registered.

    A component that fails to import, or has an option whose type JSON doesn't know, may have any options.
    """
    schema = written_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "restore_hub pipeline spec"
    definitions = schema["$defs"]
    for definition, kind in PLACES.items():
        _list_components(definitions[definition], registry, kind, definitions)
    for kind in KIND_OF.values():
        model = nested_model(kind)
        place = model.model_json_schema()
        _list_components(place, registry, kind, definitions)
        definitions[model.__name__] = {"anyOf": [place["properties"][kind], place]}
    return schema


def _list_components(place: dict[str, Any], registry: Registry, kind: str, definitions: dict[str, Any]) -> None:
    """Fill in a place that names a component of a kind: the names, and the options that go with each."""
    reserved = dict(place["properties"])
    place.pop("additionalProperties", None)
    names = _spellings(registry, kind)
    place["properties"][kind] = {"enum": sorted(names)}
    options = [
        {
            "if": {"properties": {kind: {"enum": spellings}}, "required": [kind]},
            "then": _options(registry, kind, spellings[0], reserved, definitions),
        }
        for spellings in _grouped(names)
    ]
    if options:  # a kind may have no component, and an empty list isn't a valid schema
        place["allOf"] = options


def _spellings(registry: Registry, kind: str) -> dict[str, str]:
    """Return every accepted spelling with the qualified name it stands for; bare ones mean the reserved namespace."""
    names = {name: name for name in registry.names(kind)}
    prefix = RESERVED_NAMESPACE + "/"
    names.update({name.removeprefix(prefix): name for name in registry.names(kind) if name.startswith(prefix)})
    return names


def _grouped(names: dict[str, str]) -> list[list[str]]:
    """Return the spellings of each component together, the qualified one first."""
    return [
        [name, *(other for other, stands_for in sorted(names.items()) if stands_for == name and other != name)]
        for name in sorted(set(names.values()))
    ]


def _options(
    registry: Registry, kind: str, name: str, reserved: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    component = registry.find(kind, name)
    try:
        model = options_model(component.load(), skip=INJECTED.get(kind, frozenset()))
        options = model.model_json_schema(ref_template="#/$defs/{model}")
    except (PluginError, PydanticUserError):
        return {"description": component.summary}
    for definition, model_schema in options.pop("$defs", {}).items():
        definitions.setdefault(definition, model_schema)  # that of a nested component may be filled in already
    return {
        "description": component.summary,
        "properties": {**dict.fromkeys(reserved, True), **options.get("properties", {})},
        "required": options.get("required", []),
        "additionalProperties": False,
    }
