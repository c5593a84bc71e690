"""Options are the typed keyword arguments of a target, checked strictly."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import pytest

from restore_hub.errors import OptionError, PluginError
from restore_hub.options import check_options, options_model, options_of
from support import refused


class Target:
    def __init__(
        self,
        root: Path,
        width: int = 8,
        rate: float = 1e-3,
        flip: bool = False,
        mode: Literal["a", "b"] = "a",
        sizes: tuple[int, ...] = (1,),
        note: str | None = None,
    ) -> None:
        pass


def check(given: dict[str, Any]) -> dict[str, Any]:
    return check_options("x/target", Target, given)


def test_given_values_are_converted_where_yaml_has_no_type_for_them() -> None:
    checked = check({"root": "data/train", "rate": 1, "sizes": [1, 2], "note": None})
    assert checked == {"root": Path("data/train"), "rate": 1.0, "sizes": (1, 2), "note": None}
    assert isinstance(checked["rate"], float)
    assert check({"root": Path("a") / "b"}) == check({"root": "a/b"}) == {"root": Path("a/b")}


@pytest.mark.parametrize(
    ("option", "value", "facts"),
    [
        ("width", "wide", {"expected": "a whole number", "got": "'wide'"}),
        ("width", "8", {}),
        ("width", 8.5, {}),
        ("width", True, {}),
        ("flip", "yes", {}),
        ("flip", 1, {"expected": "true or false", "got": "1"}),
        ("rate", "1e-3", {}),
        ("rate", None, {}),
        ("mode", "c", {"expected": "'a' or 'b'", "got": "'c'"}),
        ("sizes.1", [1, "2"], {}),
        ("note", 8, {"expected": "text", "got": "8"}),
        ("note", object(), {}),
    ],
)
def test_wrong_values_are_refused_and_named(option: str, value: Any, facts: dict[str, str]) -> None:
    with pytest.raises(OptionError) as caught:
        check({"root": "a", option.partition(".")[0]: value})
    assert caught.value.option == option
    assert caught.value.facts.items() >= {"component": "x/target", **facts}.items()


def test_values_that_are_no_json_are_refused_too() -> None:
    nested: Any = 1
    for _ in range(300):
        nested = [nested]
    for value in ("\ud800", nested):
        with pytest.raises(OptionError) as caught:
            check({"root": "a", "note": value})
        assert caught.value.facts["component"] == "x/target"


def test_unknown_and_missing_options_are_named() -> None:
    with refused("option.unknown", "widht") as caught:
        check({"root": "a", "widht": 8})
    assert caught.value.mend == "did you mean 'width'?"
    with refused("option.missing", "root", component="x/target"):
        check({"width": 8})


def test_listing_shows_types_and_defaults() -> None:
    listed = {o.name: (o.type, o.required, o.default) for o in options_of(Target)}
    assert listed["root"] == ("Path", True, None)
    assert listed["width"] == ("int", False, 8)
    assert listed["note"] == ("str | None", False, None)
    assert list(listed) == ["root", "width", "rate", "flip", "mode", "sizes", "note"]
    assert "root" not in {o.name for o in options_of(Target, skip=frozenset({"root"}))}


def test_target_without_options() -> None:
    class Plain:
        pass

    assert options_of(Plain) == []
    with refused("option.unknown-none", "a"):
        check_options("x/plain", Plain, {"a": 1})


def test_option_without_a_type_is_the_plugins_error() -> None:
    def target(width=8):  # type: ignore[no-untyped-def]
        pass

    class Glow:
        def __init__(self, width=8):  # type: ignore[no-untyped-def]
            pass

    for odd in (target, Glow):
        with refused("option.no-type", "width", PluginError) as caught:
            options_of(odd)
        assert caught.value.facts["target"].endswith(odd.__qualname__)


def test_names_of_pydantic_are_free_for_options() -> None:
    def target(schema: str = "s", copy: bool = True, model_path: str = "p") -> None:
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = {"schema": "a", "copy": False, "model_path": "b"}
        assert check_options("x/t", target, given) == given


def test_schema_refuses_unknown_keys() -> None:
    schema = options_model(Target).model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["root"]
