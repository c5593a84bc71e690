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

from restore_hub.errors import OptionError, RestoreHubError, SpecError, nearest, reason_of

Path_ = tuple[str | int, ...]
_READ = (CommentedMap, CommentedSeq, bool, int, float, str, type(None))
_MOST_VALUES = 100_000  # a spec has hundreds; aliases can multiply a small file without end


@dataclass(frozen=True)
class Document:
    """A spec as plain dicts, lists and scalars, with the place of every value.

    Attributes:
        path: the file it came from.
        data: the values.
        places: (line, column), from 1, by key path; an overridden value has none.
        overridden: the `--set` that gave a value, by key path.
        moved: where what isn't in the file itself, such as the objectives of a task, is written, by key path.
    """

    path: Path
    data: dict[str, Any]
    places: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    overridden: dict[Path_, str] = field(default_factory=dict)
    moved: dict[Path_, Path_] = field(default_factory=dict)

    def at(self, *keys: str | int) -> str:
        """Return `file:line:col key.path` of a value, or of its nearest ancestor that the file has.

        For a value from the command line it is `--set key.path`, followed by the value's own path where it lies deeper.
        """
        keys = self._written(tuple(key for key in keys if key != ""))
        dotted = ".".join(map(str, keys))
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.overridden:
                given = self.overridden[keys[:length]]
                return f"--set {given}" if given == dotted else f"--set {given}, {dotted}"
            if keys[:length] in self.places:
                line, column = self.places[keys[:length]]
                return f"{self.path}:{line}:{column} {dotted}".rstrip()
        return f"{self.path} {dotted}".rstrip()

    def _written(self, keys: Path_) -> Path_:
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.moved:
                return (*self.moved[keys[:length]], *keys[length:])
        return keys

    def error(self, code: str, *keys: str | int, what: str = "", mend: str = "", **facts: Any) -> SpecError:
        """Return the error with a code about the value at `keys`."""
        return SpecError(code, self.at(*keys), what=what, mend=mend, **facts)

    def located(self, error: RestoreHubError, *keys: str | int) -> SpecError:
        """Return an error raised by a component that is named at `keys`; an option's error lands at the option."""
        if not isinstance(error, OptionError):
            return error.at(self.at(*keys), SpecError)
        found = error.at("", SpecError)
        found.place = self.at(*keys, *(int(part) if part.isdecimal() else part for part in error.option.split(".")))
        return found


def read_spec(path: Path, overrides: Iterable[str] = ()) -> Document:
    """Read a YAML 1.2 file and apply `key.path=value` overrides.

    The resolved file of a run, which holds a spec under its key `spec`, is read as that spec.

    Raises:
        SpecError: no such file, not YAML, a duplicate key, a tag, or an override that fits nowhere.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("spec.unreadable", path, cause=reason_of(error)) from None
    tree = _parse(str(path), text)
    if not isinstance(tree, CommentedMap):
        raise SpecError("spec.no-mapping", f"{path}:1:1")
    places: dict[Path_, tuple[int, int]] = {(): (1, 1)}
    if isinstance(tree.get("spec"), CommentedMap):
        places[()] = _place(tree.lc.key, "spec", (1, 1))
        tree = tree["spec"]
    document = Document(path, _plain(str(path), tree, (), places), places)
    for override in overrides:
        _override(document, override)
    return document


def read_value(place: str, text: str) -> Any:
    """Return the plain value of a text from the command line.

    Raises:
        SpecError: as `read_spec`.
    """
    return _plain(place, _parse(place, text), (), {(): (1, 1)})


def _parse(path: str, text: str) -> Any:
    yaml = YAML(typ="rt", pure=True)
    try:
        return yaml.load(text)
    except DuplicateKeyError as error:
        mark = error.problem_mark
        problem = str(error.problem).split(" with value")[0]
        raise SpecError("spec.duplicate-key", f"{path}:{mark.line + 1}:{mark.column + 1}", problem=problem) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise SpecError("spec.not-yaml", f"{path}{place}", problem=error.problem or error.context) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise SpecError("spec.not-yaml", path, problem=str(error).splitlines()[0]) from None


def _plain(path: str, node: Any, keys: Path_, places: dict[Path_, tuple[int, int]]) -> Any:
    """Return plain values of a ruamel tree and fill in the place of each."""
    if len(places) > _MOST_VALUES:
        raise SpecError("spec.too-many-values", path, most=_MOST_VALUES)
    if not isinstance(node, _READ) or _is_tagged(node):
        place = f"{':'.join(map(str, places[keys]))} {'.'.join(map(str, keys))}".rstrip()
        raise SpecError("spec.tag", f"{path}:{place}")
    if isinstance(node, CommentedMap):
        result = {}
        for key in node:
            places[(*keys, key)] = line, column = _place(node.lc.key, key, places[keys])
            if not isinstance(key, str):
                raise SpecError("spec.key-not-text", f"{path}:{line}:{column}", key=key)
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
    """Set one `key.path=value`, read as YAML; missing mappings on the way are made; no value removes a key."""
    dotted, equals, text = override.partition("=")
    if not equals or not all(dotted.split(".")):
        raise SpecError("spec.bad-override", f"--set {override}")
    remove = not text.strip()
    value = None if remove else read_value(f"--set {dotted}", text)
    keys: Path_ = ()
    place: Any = document.data
    *way, last = dotted.split(".")
    for part in way:
        key = _step(dotted, place, keys, part)
        if isinstance(place, dict) and key not in place:
            if remove:
                raise _nothing_to_remove(dotted, key, place)
            place[key] = {}
            document.overridden[*keys, key] = dotted
        keys = (*keys, key)
        place = place[key]
    key = _step(dotted, place, keys, last)
    if remove and isinstance(place, list):
        here = ".".join(map(str, keys))
        raise SpecError("spec.list-item-removed", f"--set {dotted}=", list=here)
    if remove and key not in place:
        raise _nothing_to_remove(dotted, key, place)
    _forget(document, (*keys, key))
    if remove:
        del place[key]
        return
    place[key] = value
    document.overridden[*keys, key] = dotted


def _nothing_to_remove(dotted: str, key: str | int, place: Any) -> SpecError:
    return SpecError("spec.nothing-to-remove", f"--set {dotted}=", key=key, mend=nearest(str(key), place))


def _step(dotted: str, place: Any, keys: Path_, part: str) -> str | int:
    """Return the key or index that one part of an override's path means at a place."""
    here = ".".join(map(str, keys))
    if isinstance(place, dict):
        return part
    if not isinstance(place, list):
        raise SpecError("spec.not-a-mapping", f"--set {dotted}", key=here)
    if not part.isdecimal() or int(part) >= len(place):
        raise SpecError("spec.no-such-item", f"--set {dotted}", list=here, item=part, length=len(place))
    return int(part)


def _forget(document: Document, keys: Path_) -> None:
    """Forget where a value and all inside it came from."""
    known: dict[Path_, Any]
    for known in (document.places, document.overridden):
        for inside in [k for k in known if k[: len(keys)] == keys]:
            del known[inside]
