"""Every error a user can see: a code, the place it concerns, what is wrong, and how to mend it.

The texts stand in one table, `restore_hub/messages/*.toml`, beside the mend of each; a plugin keeps its own
(`add_messages`). A program matches on `code` and `place`, which stay; the English may change.

>>> raise SpecError("spec.unknown-key", "a.yaml:3:5 blocks.generate", key="wdith", mend=nearest("wdith", known))
SpecError: a.yaml:3:5 blocks.generate: unknown key 'wdith'; did you mean 'width'?
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

E = TypeVar("E", bound="RestoreHubError")


class RestoreHubError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with 2.

    Args:
        code: `area.what-is-wrong`, a key of the table of messages.
        place: the file, key, stage or variable it concerns; empty where there is none.
        what, mend: texts in place of the table's. A plugin without a table gives `what`; a near name is a `mend`.
        facts: values for the names in braces of the table's texts.

    Attributes:
        code, place, facts: as given.
        what, mend: the texts, filled in.
    """

    def __init__(self, code: str, place: object = "", *, what: str = "", mend: str = "", **facts: Any) -> None:
        super().__init__(code)
        self.code = code
        self.place = str(place)
        self.facts = facts
        self._what, self._mend = what, mend

    @property
    def what(self) -> str:
        """What is wrong."""
        return self._what or _fill(_message(self.code).what, self.facts)

    @property
    def mend(self) -> str:
        """How to mend it; empty where that is plain, or where there are no names to choose from."""
        row = _message(self.code).mend
        chooses = "{known}" in row and self.facts.get("known") in ("", "none")
        return self._mend or ("" if chooses else _fill(row, self.facts))

    def __str__(self) -> str:
        """Return one line: `place: what; mend`."""
        text = f"{self.place}: {self.what}" if self.place else self.what
        return f"{text}; {self.mend}" if self.mend else text

    def at(self, place: object, kind: type[E] | None = None, mend: str = "") -> E:
        """Return this error with a place before its own; as another kind, or with another mend, where one is given."""
        made = kind or type(self)
        places = ": ".join(part for part in (str(place), self.place) if part)
        return made(self.code, places, what=self._what, mend=mend or self._mend, **self.facts)  # type: ignore[return-value]

    def as_json(self) -> dict[str, str]:
        """Return what a program needs: `code`, `kind`, `place`, `what`, `mend`."""
        return {
            "code": self.code,
            "kind": type(self).__name__,
            "place": self.place,
            "what": self.what,
            "mend": self.mend,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the facts when the error crosses to another process."""
        return _again, (type(self), self.code, self.place, self._what, self._mend, self.facts)


class PluginError(RestoreHubError):
    """A plugin that fails to import, registers badly, or is missing."""


class UnknownComponentError(RestoreHubError):
    """A component name that no loaded plugin registered."""


class OptionError(RestoreHubError):
    """An option that a component does not take, or a value it refuses; the place is the option's name."""

    @property
    def option(self) -> str:
        """The option's name."""
        return self.place


class SpecError(RestoreHubError):
    """A pipeline spec that cannot be read or makes no sense; the place is `file:line:col key.path`."""


class DataError(RestoreHubError):
    """A file or folder of pictures that cannot be used."""


class UnreadableFileError(DataError):
    """A file that is empty, cut off, damaged, or of an unknown format; training may leave it out."""


class BilevelError(RestoreHubError):
    """A bilevel problem without the property its solver needs (a response, a scalar energy, a gradient)."""


class TrainingError(RestoreHubError):
    """A training run that cannot continue, such as a loss that is not finite."""


class LostRankError(TrainingError):
    """Another process of a run on several has ended, or no longer answers."""


class ExportError(RestoreHubError):
    """A block that cannot be exported, or whose exported file differs from PyTorch."""


class ModelFileError(RestoreHubError):
    """An ONNX file that restore_hub did not make, or that cannot do what was asked."""


class MissingExtraError(RestoreHubError):
    """A package of an optional extra is needed and not installed."""


class Message(NamedTuple):
    """A row of the table: what is wrong, and how to mend it, with names of facts in braces.

    `{count:#sample}` is `1 sample` or `2 samples`.
    """

    what: str
    mend: str = ""


_FOLDER = Path(__file__).parent / "messages"  # a file for each area of codes
_added: dict[str, Message] = {}
_owners: dict[str, Path] = {}  # of the areas that plugins added


def add_messages(table: Path) -> None:
    """Add a plugin's table of messages, a TOML file of `[area.what-is-wrong]` with `what` and `mend`.

    Call this in the plugin's `__init__.py`. The areas of the core, and those of other plugins, are taken.

    Raises:
        PluginError: the file is missing or isn't such a table, or one of its areas is taken.
    """
    try:
        rows = _rows(table)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PluginError("plugin.bad-messages", table, cause=reason_of(error)) from error
    for area in {code.partition(".")[0] for code in rows}:
        owner = _FOLDER / f"{area}.toml" if (_FOLDER / f"{area}.toml").exists() else _owners.get(area, table)
        if owner != table:
            raise PluginError("plugin.messages-taken", table, area=area, owner=owner)
        _owners[area] = table
    _added.update(rows)


def messages() -> Mapping[str, Message]:
    """Return the whole table, by code."""
    return {**_core(), **_added}


@cache
def _core() -> Mapping[str, Message]:
    return {code: row for table in sorted(_FOLDER.glob("*.toml")) for code, row in _rows(table).items()}


def _rows(table: Path) -> dict[str, Message]:
    import tomllib

    areas = tomllib.loads(table.read_text(encoding="utf-8"))
    return {f"{area}.{name}": Message(**row) for area, rows in areas.items() for name, row in rows.items()}


def _message(code: str) -> Message:
    # An error about an error would hide the first: a code without a row is shown as it is.
    return _added.get(code) or _core().get(code) or Message(code)


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


class _Formatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.startswith("#"):
            return counted(value, format_spec[1:])
        text: str = super().format_field(value, format_spec)
        return text


def _fill(text: str, facts: Mapping[str, Any]) -> str:
    try:
        return _Formatter().vformat(text, (), _Facts(facts)) if facts else text
    except Exception:  # a fact of another type than the text expects
        return text


def _again(
    kind: type[RestoreHubError], code: str, place: str, what: str, mend: str, facts: Mapping[str, Any]
) -> RestoreHubError:
    return kind(code, place, what=what, mend=mend, **facts)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice: Python's own, NumPy's, or torch's on any device."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)


def counted(count: object, noun: str) -> str:
    """Return `1 sample`, `2 samples`."""
    number = f"{count:.12g}" if isinstance(count, float) else str(count)
    return f"{number} {noun}{'' if count == 1 else 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known name, or an empty text when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def reason_of(error: BaseException, limit: int = 300) -> str:
    """Return what another library's error says, in one line: an `OSError`'s own words, else type and text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:limit]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
