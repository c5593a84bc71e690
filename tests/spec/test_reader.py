"""YAML 1.2 with places, one clear error each, and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub.errors import SpecError
from restore_hub.spec import read_spec
from support import refused


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str) -> Path:
        (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "s.yaml"

    return written


def test_scalars_are_those_of_yaml_1_2(write) -> None:
    data = read_spec(write("a: 1e-3\nb: no\nc: 012\nd: true\ne: ~\nf: '1'\n")).data
    assert data == {"a": 1e-3, "b": "no", "c": 12, "d": True, "e": None, "f": "1"}
    assert [type(v) for v in data.values()] == [float, str, int, bool, type(None), str]


def test_places_are_line_and_column_from_one(write) -> None:
    document = read_spec(write("name: x\nstages:\n  - {solver: joint,\n     steps: 3}\n"))
    assert document.at("stages", 0, "steps").endswith("s.yaml:4:6 stages.0.steps")
    assert document.at("stages", 0, "nothing").endswith("s.yaml:3:5 stages.0.nothing"), "nearest known ancestor"


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("a: 1\na: 2\n", "spec.duplicate-key", "s.yaml:2:1"),
        ("- a\n", "spec.no-mapping", "s.yaml:1:1"),
        ("a: [1,\n", "spec.not-yaml", "s.yaml:2:1"),
        ("a: !!python/object/apply:os.system [x]\n", "spec.tag", "s.yaml:1:1 a"),
        ("a: !!python/name:os.system {b: 1}\n", "spec.tag", "s.yaml:1:1 a"),
        ("a: !thing b\n", "spec.tag", "s.yaml:1:1 a"),
        ("a: 2020-01-01\n", "spec.tag", "s.yaml:1:1 a"),
        ("1: 2\n", "spec.key-not-text", "s.yaml:1:1"),
        ("", "spec.no-mapping", "s.yaml:1:1"),
        ("a: \t\x07", "spec.not-yaml", "s.yaml"),
    ],
)
def test_bad_yaml_is_one_error_with_its_place(write, text: str, code: str, place: str) -> None:
    with refused(code, place, SpecError):
        read_spec(write(text))


def test_aliases_cannot_multiply_without_end(write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with refused("spec.too-many-values", most=100_000):
        read_spec(write("\n".join(lines)))


def test_a_merged_mapping_is_read(write) -> None:
    document = read_spec(write("base: &b {x: 1}\nuse:\n  <<: *b\n  y: 2\n"))
    assert document.data["use"] == {"x": 1, "y": 2}
    assert document.at("use", "x").endswith("s.yaml:2:1 use.x"), "the place of its mapping"


def test_missing_and_binary_files_are_named(tmp_path: Path) -> None:
    with refused("spec.unreadable", "nothing.yaml", cause="No such file or directory"):
        read_spec(tmp_path / "nothing.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with refused("spec.unreadable", "b.yaml"):
        read_spec(tmp_path / "b.yaml")


def test_overrides_reach_into_lists_make_mappings_and_read_yaml(write) -> None:
    path = write("a: {b: 1}\nl: [{x: 1}, {x: 2}]\n")
    data = read_spec(path, ["a.b=2.5", "l.1.x=[1, 2]", "new.deep.key=text", "a.c=null"]).data
    assert data == {"a": {"b": 2.5, "c": None}, "l": [{"x": 1}, {"x": [1, 2]}], "new": {"deep": {"key": "text"}}}
    assert read_spec(path, ["a.b=", "l.1.x=null"]).data == {"a": {}, "l": [{"x": 1}, {"x": None}]}
    assert read_spec(path, ["a.b=", "a.b=3"]).data["a"] == {"b": 3}


@pytest.mark.parametrize(
    ("override", "code", "place"),
    [
        ("a.b", "spec.bad-override", "--set a.b"),
        ("=1", "spec.bad-override", "--set =1"),
        ("a..b=2", "spec.bad-override", "--set a..b=2"),
        ("a.=", "spec.bad-override", "--set a.="),
        ("l.5.x=1", "spec.no-such-item", "--set l.5.x"),
        ("l.²=1", "spec.no-such-item", "--set l.²"),
        ("l.-1=1", "spec.no-such-item", "--set l.-1"),
        ("e.0=1", "spec.no-such-item", "--set e.0"),
        ("a.b.c=1", "spec.not-a-mapping", "--set a.b.c"),
        ("a.bb=", "spec.nothing-to-remove", "--set a.bb="),
        ("new.b=", "spec.nothing-to-remove", "--set new.b="),
        ("l.0=", "spec.list-item-removed", "--set l.0="),
        ("a.b=[", "spec.not-yaml", "--set a.b:1:2"),
        ("a.b=!x 1", "spec.tag", "--set a.b:1:1"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(write, override: str, code: str, place: str) -> None:
    with refused(code) as caught:
        read_spec(write("a: {b: 1}\nl: [{x: 1}, {x: 2}]\ne: []\n"), [override])
    assert caught.value.place == place


def test_the_place_of_an_overridden_value_is_its_option(write) -> None:
    text = "a: {b: 1, c: 1}\nl: [{x: 1}]\n"
    document = read_spec(write(text), ["a.b=2", "l.0={x: 2}", "new.deep=1"])
    assert document.at("a", "b") == "--set a.b"
    assert document.at("l", 0, "x") == "--set l.0, l.0.x"
    assert document.at("new") == "--set new.deep, new", "the mapping that the override made"
    assert document.at("a", "c").endswith("s.yaml:1:11 a.c"), "its neighbour stays in the file"
    later = read_spec(write(text), ["a.b=2", "a={b: 3}"])
    assert later.at("a", "b") == "--set a, a.b", "the last override counts"


def test_the_resolved_file_of_a_run_is_read_as_its_spec(write) -> None:
    path = write('{"source": "s.yaml",\n "spec": {"spec": 1,\n  "name": "x"},\n "components": {}}')
    document = read_spec(path, ["seed=2"])
    assert document.data == {"spec": 1, "name": "x", "seed": 2}
    assert document.at("name").endswith("s.yaml:3:3 name")
    assert document.at("nothing").endswith("s.yaml:2:2 nothing")
