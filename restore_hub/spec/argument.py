"""A value on the command line that is written as in a spec, as a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_hub.spec.reader import Document, Path_, read_value


@dataclass(frozen=True)
class Argument(Document):
    """An argument of a command, all of whose values come from the command line."""

    def at(self, *keys: str | int) -> str:
        """Return the option, and the key path of a value in it; of a list of names, the name."""
        inside = keys if isinstance(self.data, dict) else keys[:1]
        return f"{self.path} {'.'.join(map(str, inside))}".rstrip()


def read_argument(option: str, text: str) -> Argument:
    """Read the text of an option as YAML.

    Raises:
        SpecError: it isn't YAML.
    """
    value = read_value(option, text)
    return Argument(Path(option), value, overridden=dict.fromkeys(_keys(value), option))


def _keys(value: Any, above: Path_ = ()) -> Iterator[Path_]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*above, key)
            yield from _keys(inner, (*above, key))
