"""What pydantic expected of a value, and what it got, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST = 60
# By pydantic's kind of finding; `{...}` is filled in from the finding.
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "none_required": "nothing",
    "path_type": "a path",
    "component_type": "a {kind}, as `{kind}: NAME` with its options",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "at least {ge}",
    "literal_error": "{expected}",
}


def expected(finding: Mapping[str, Any]) -> str:
    """Return what a value should have been, such as `a whole number`."""
    known = _EXPECTED.get(finding["type"])
    if known is not None:
        return known.format(**finding.get("ctx", {}))
    text = str(finding["msg"]).removeprefix("Input should be ")
    return text[:1].lower() + text[1:]


def shown(value: Any) -> str:
    """Return a value as its author would write it, or its kind where it is long."""
    if isinstance(value, dict | list):
        return f"a{' mapping' if isinstance(value, dict) else ' list' if value else 'n empty list'}"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
