"""The examples and overrides that the page of the spec language shows are read, and every key has a description."""

from __future__ import annotations

import re
from pathlib import Path

from restore_hub.spec import parse, read_spec, written_schema
from support.pages import blocks_of, text_of

PAGE = "docs/reference/spec.md"


def test_the_examples_parse_with_every_override_that_the_text_names(tmp_path: Path) -> None:
    chain, levels, problem = (block.text for block in blocks_of(PAGE) if block.language == "yaml")
    (tmp_path / "chain.yaml").write_text(chain, encoding="utf-8")
    (tmp_path / "levels.yaml").write_text(chain.partition("\nstages:")[0] + "\n" + levels, encoding="utf-8")
    (tmp_path / "problem.yaml").write_text(problem, encoding="utf-8")
    shown = re.findall(r"`--set (?!key)(?:'([^']+=[^']*)'|([^\s'`]+=[^\s`]*))`", text_of(PAGE))
    overrides = [quoted or bare for quoted, bare in shown]
    assert len(overrides) >= 4
    assert len(parse(read_spec(tmp_path / "chain.yaml", overrides)).stages) == 2
    assert len(parse(read_spec(tmp_path / "levels.yaml")).stages[0].levels) == 3
    assert len(parse(read_spec(tmp_path / "problem.yaml")).stages) == 1


def test_every_key_is_described() -> None:
    schema = written_schema()
    for name, model in {"Spec": schema, **schema["$defs"]}.items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"
