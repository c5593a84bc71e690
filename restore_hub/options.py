"""Options of a component: the typed keyword arguments of its target. There is no second schema."""

from __future__ import annotations

import inspect
import json
import os
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from restore_hub.errors import OptionError, PluginError, nearest, reason_of
from restore_hub.expected import expected, shown
from restore_hub.nested import KIND_OF, as_written


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, its type as written, and its default (`required` when there is none).

    `nested` says whether its values hold components.
    """

    name: str
    type: str
    required: bool
    default: Any
    nested: bool


def options_of(target: Any, skip: frozenset[str] = frozenset()) -> list[Option]:
    """List the options of a target in their order, without those in `skip`."""
    return [
        Option(name, _type_name(hint), default is ..., None if default is ... else default, as_written(hint) != hint)
        for name, (hint, default) in _fields(target, skip).items()
    ]


def tensors_of(target: Any) -> list[inspect.Parameter]:
    """Return the parameters that a loss or metric, a class, an instance or a function, takes by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    # A PyTorch module's own `__call__` names nothing and hands what it is given to `forward`.
    methods = [*(["update"] if hasattr(target, "compute") else []), "__call__", "forward"]
    calls = [target] if inspect.isroutine(target) else [getattr(target, method, None) for method in methods]
    for call in calls:
        parameters = inspect.signature(call).parameters.values() if call is not None else ()
        found = [p for p in parameters if p.kind in named and p.name != "self"]
        if found:
            return found
    return []


def options_model(target: Any, skip: frozenset[str] = frozenset()) -> type[BaseModel]:
    """Return a pydantic model of the options that refuses unknown keys, for checks and for the schema."""
    fields: dict[str, Any] = {
        name: (as_written(hint), default) for name, (hint, default) in _fields(target, skip).items()
    }
    with warnings.catch_warnings():
        # An option may have the name of a method of pydantic's (`copy`, `schema`), which nobody calls here.
        warnings.filterwarnings("ignore", message="Field name .* shadows")
        return create_model(
            getattr(target, "__name__", "Options"),
            __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=()),
            **fields,
        )


def check_options(
    name: str, target: Any, given: Mapping[str, Any], skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the given options converted to the target's types, checked strictly: `8` isn't text, `yes` isn't true.

    A nested component stays as written, a `restore_hub.nested.Nested`.

    Raises:
        OptionError: an unknown option, a missing one, or a wrong type; its `option` names the key, with the path
            inside the value where that is a mapping or a list.
    """
    model = options_model(target, skip)
    try:
        # JSON mode is strict about scalars and still reads paths from text and tuples from lists.
        checked = model.model_validate_json(_to_json(name, given), strict=True)
    except ValidationError as error:
        raise _translate(error, name, given, list(model.model_fields)) from None
    return {key: getattr(checked, key) for key in given}


def _translate(error: ValidationError, name: str, given: Mapping[str, Any], known: list[str]) -> OptionError:
    findings = error.errors()
    first = findings[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        if not known:
            return OptionError("option.unknown-none", key, component=name)
        return OptionError("option.unknown", key, component=name, known=", ".join(known), mend=nearest(key, known))
    if first["type"] == "missing":
        return OptionError("option.missing", key, component=name)
    path, value = _reach(given, first["loc"])
    same = [finding for finding in findings if finding["loc"][:1] == first["loc"][:1]]
    if isinstance(given.get(key), Mapping | list):
        same = same[:1]  # the others may be about other places inside the value
    wanted = " or ".join(dict.fromkeys(expected(dict(finding)) for finding in same))
    return OptionError("option.wrong-value", path, component=name, expected=wanted, got=shown(value))


def _reach(given: Mapping[str, Any], place: tuple[int | str, ...]) -> tuple[str, Any]:
    """Follow pydantic's place of an error through the value; return the dotted path and the value there."""
    path: list[str] = []
    value: Any = given
    for part in place:
        inside = part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int)
        if not inside:
            break
        path.append(str(part))
        value = value[part]
    return ".".join(path), value


def _to_json(name: str, given: Mapping[str, Any]) -> str:
    texts = []
    for key, value in given.items():
        try:
            texts.append(f"{json.dumps(key)}: {json.dumps(value, default=os.fspath)}")
        except TypeError:
            raise OptionError("option.not-plain", key, component=name, got=shown(value)) from None
    return "{" + ", ".join(texts) + "}"


def _fields(target: Any, skip: frozenset[str]) -> dict[str, tuple[Any, Any]]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:
        raise PluginError("option.type-hints", _target_name(target), cause=reason_of(error)) from error
    fields: dict[str, tuple[Any, Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", *skip) or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name not in hints:
            raise PluginError("option.no-type", name, target=_target_name(target))
        fields[name] = (hints[name], ... if parameter.default is parameter.empty else parameter.default)
    return fields


def _target_name(target: Any) -> str:
    return f"{target.__module__}:{target.__qualname__}" if hasattr(target, "__qualname__") else repr(target)


def _type_name(hint: Any) -> str:
    if inspect.isclass(hint) and not typing.get_args(hint):
        return KIND_OF.get(hint, hint.__name__)
    text = str(hint).replace("typing.", "")
    for contract, kind in KIND_OF.items():
        text = text.replace(f"{contract.__module__}.{contract.__qualname__}", kind)
    return text
