"""The JSON Schema accepts what `check` accepts and refuses misspelt options, for every component."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import torch

from restore_hub.plan.schema import spec_schema
from restore_hub.plugins import default_registry
from restore_hub.registry import Component, Registry
from restore_hub.spec import read_spec
from support import LOWLIGHT, PIPELINES


class Wrapping:
    def __init__(self, inner: torch.nn.Module, width: int = 8) -> None: ...


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = spec_schema(default_registry())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pipeline_is_valid(validator: jsonschema.Draft202012Validator, path: Path) -> None:
    assert list(validator.iter_errors(read_spec(path).data)) == []


@pytest.mark.parametrize(
    "override",
    [
        "blocks.generate.wdith=4",
        "blocks.generate.width=wide",
        "blocks.generate.network=raw/nothing",
        "stages.1.lower.stepz=2",
        "stages.1.capp=3",
        "stages.0.levels=[]",
        "stages.1.upper.steps=2",
        "data.train.croop=3",
        "objectives.retinex.smoothnes=1",
        "nam=x",
        "problem={problem: numerical/sine}",
    ],
)
def test_mistakes_are_found(validator: jsonschema.Draft202012Validator, override: str) -> None:
    assert list(validator.iter_errors(read_spec(LOWLIGHT, [override]).data)) != []


def test_every_registered_component_is_listed_and_there_may_be_none() -> None:
    text = str(spec_schema(default_registry()))
    for kind in ("network", "loss", "metric", "dataset", "problem", "solver", "tracker"):
        for name in default_registry().names(kind):
            assert f"'{name}'" in text
    jsonschema.Draft202012Validator.check_schema(spec_schema(Registry.of([])))


def test_an_option_that_json_does_not_know_leaves_its_component_free() -> None:
    odd = Component("network", "odd/wrapping", f"{__name__}:Wrapping", "Wraps", (), "odd", "1")
    schema = spec_schema(Registry.of([*default_registry().of_kind(), odd]))
    jsonschema.Draft202012Validator.check_schema(schema)
    (rule,) = [r for r in schema["$defs"]["Block"]["allOf"] if r["if"]["properties"]["network"]["enum"] == [odd.name]]
    assert rule["then"] == {"description": "Wraps"}
