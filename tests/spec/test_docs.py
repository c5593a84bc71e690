"""docs/spec.md says what the models say: the table of each model, whole, and examples that parse."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from restore_hub.spec import parse, read_spec, written_schema
from support import DOCS

TEXT = (DOCS / "spec.md").read_text(encoding="utf-8")
SCHEMA = written_schema()
MODELS = {"Spec": SCHEMA, **SCHEMA["$defs"]}
SCALARS = {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number"}


def _type(field: dict[str, Any]) -> str:
    """Return the type of a field of a JSON schema in plain words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"] if option != {"type": "null"})
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return f"list of {_type(field['items'])}" + (", not empty" if field.get("minItems") else "")
    if field["type"] == "object":
        values = field.get("additionalProperties") or next(iter(field["patternProperties"].values()))
        return f"mapping of names to {_type(values)}" + (", not empty" if field.get("minProperties") else "")
    least = f" ≥ {field['minimum']}" if "minimum" in field else ""
    above = f" > {field['exclusiveMinimum']:g}" if "exclusiveMinimum" in field else ""
    return SCALARS[field["type"]] + least + above


def _default(model: dict[str, Any], key: str) -> str:
    if key in model.get("required", []):
        return "required"
    value = model["properties"][key].get("default", "empty")  # lists and mappings are made by a factory
    words = {None: "none", True: "`true`", False: "`false`", "empty": "empty"}
    return words[value] if value is None or isinstance(value, bool) or value == "empty" else f"`{value}`"


def _table(model: dict[str, Any]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{key}` | {_type(field)} | {_default(model, key)} | {field['description']} |"
        for key, field in model["properties"].items()
    ]
    return "\n".join(rows)


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_has_the_table_of_every_model(name: str) -> None:
    section = re.search(rf"^### {name}\n(.*?)(?=^#|\Z)", TEXT, re.S | re.M)
    assert section is not None, f"docs/spec.md has no section `### {name}`"
    assert _table(MODELS[name]) in section.group(1), f"put this table there:\n{_table(MODELS[name])}"


def test_every_field_of_every_model_is_described() -> None:
    for name, model in MODELS.items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def test_the_example_parses_with_every_override_that_the_text_names(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    (tmp_path / "s.yaml").write_text(example, encoding="utf-8")
    overrides = [
        quoted or bare for quoted, bare in re.findall(r"--set (?!key)(?:'([^']+=[^']*)'|([^\s'`]+=[^\s`]*))", TEXT)
    ]
    assert len(overrides) >= 4
    spec = parse(read_spec(tmp_path / "s.yaml", overrides))
    assert len(spec.stages) == 2
