"""YAML 1.2 text to plain values that remember their lines; overrides from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from restore_hub.errors import SpecError

Path_ = tuple[str | int, ...]
_READ = (CommentedMap, CommentedSeq, bool, int, float, str, type(None))
_MOST_VALUES = 100_000  # a spec has hundreds; aliases can multiply a small file without end


@dataclass(frozen=True)
class Document:
    """A spec as plain dicts, lists and scalars, with the place of every value.

    Attributes:
        path: the file it came from.
        data: the values.
        places: (line, column), from 1, by key path; an overridden value has no place.
    """

    path: Path
    data: dict[str, Any]
    places: dict[Path_, tuple[int, int]] = field(default_factory=dict)

    def at(self, *keys: str | int) -> str:
        """Return `file:line:col key.path` of a value, or of its nearest ancestor that the file has."""
        dotted = ".".join(map(str, keys))
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.places:
                line, column = self.places[keys[:length]]
                return f"{self.path}:{line}:{column} {dotted}".rstrip()
        return f"{self.path} {dotted}".rstrip()

    def error(self, message: str, *keys: str | int) -> SpecError:
        """Return the error that says `message` about the value at `keys`."""
        return SpecError(f"{self.at(*keys)}: {message}")


def read_spec(path: Path, overrides: Iterable[str] = ()) -> Document:
    """Read a YAML 1.2 file and apply `key.path=value` overrides.

    Raises:
        SpecError: no such file, not YAML, a duplicate key, a tag, or an override that fits nowhere.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(f"{path}: cannot be read: {reason}; give the path of a pipeline spec (YAML)") from None
    tree = _parse(path, text)
    if not isinstance(tree, CommentedMap):
        raise SpecError(f"{path}:1:1: a spec is a mapping that begins with `name:`")
    places: dict[Path_, tuple[int, int]] = {(): (1, 1)}
    document = Document(path, _plain(path, tree, (), places), places)
    for override in overrides:
        _override(document, override)
    return document


def _parse(path: Path, text: str) -> Any:
    yaml = YAML(typ="rt", pure=True)
    try:
        return yaml.load(text)
    except DuplicateKeyError as error:
        mark = error.problem_mark
        what = str(error.problem).split(" with value")[0]
        raise SpecError(f"{path}:{mark.line + 1}:{mark.column + 1}: {what}; keep one of the two") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SpecError(f"{path}{place}: not valid YAML: {error.problem or error.context}") from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise SpecError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None


def _plain(path: Path, node: Any, keys: Path_, places: dict[Path_, tuple[int, int]]) -> Any:
    """Return plain values of a ruamel tree and fill in the place of each."""
    if len(places) > _MOST_VALUES:
        raise SpecError(f"{path}: has more than {_MOST_VALUES} values; aliases may be nested without end")
    if not isinstance(node, _READ) or _is_tagged(node):
        place = ":".join(map(str, places.get(keys, ())))
        raise SpecError(f"{path}:{place} {'.'.join(map(str, keys))}: tags and dates are not read; quote the text")
    if isinstance(node, CommentedMap):
        result = {}
        for key in node:
            places[(*keys, key)] = line, column = _place(node.lc.key, key, places[keys])
            if not isinstance(key, str):
                raise SpecError(f"{path}:{line}:{column}: the key {key!r} is not text; quote it")
            result[key] = _plain(path, node[key], (*keys, key), places)
        return result
    if isinstance(node, CommentedSeq):
        items = []
        for index, item in enumerate(node):
            places[(*keys, index)] = _place(node.lc.item, index, places[keys])
            items.append(_plain(path, item, (*keys, index), places))
        return items
    for plain in (bool, int, float, str):  # ruamel's own scalars are subclasses of these
        if isinstance(node, plain):
            return plain(node)
    return None


def _is_tagged(node: Any) -> bool:
    return isinstance(node, CommentedMap | CommentedSeq) and node.tag.value is not None


def _place(find: Callable[[Any], Any], key: Any, above: tuple[int, int]) -> tuple[int, int]:
    """Return (line, column) from 1; a key that a merge brought in has none, and gets the place of its mapping."""
    try:
        line, column = find(key)
    except (KeyError, TypeError):
        return above
    return line + 1, column + 1


def _override(document: Document, override: str) -> None:
    """Set one `key.path=value`; the value is read as YAML, missing mappings on the way are made."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise SpecError(f"--set {override!r}: write key.path=value")
    keys = dotted.split(".")
    place: Any = document.data
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                raise SpecError(f"--set {override!r}: {'.'.join(keys[:depth])} has items 0 to {len(place) - 1}")
            index: str | int = int(key)
        elif isinstance(place, dict):
            index = key
        else:
            raise SpecError(f"--set {override!r}: {'.'.join(keys[:depth])} is a single value, not a mapping")
        if last:
            value = _parse(Path("--set"), text) if text.strip() else None
            place[index] = _plain(Path(f"--set {dotted}"), value, (), {(): (1, 1)})
            _forget(document, tuple(int(k) if k.isdigit() else k for k in keys))
        else:
            place = place.setdefault(index, {}) if isinstance(place, dict) else place[int(index)]


def _forget(document: Document, keys: Path_) -> None:
    for known in [k for k in document.places if k[: len(keys)] == keys]:
        del document.places[known]
