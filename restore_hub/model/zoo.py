"""The model zoo: trained files that come with the package, by name, in a checkout or installed."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from restore_hub.errors import ModelFileError, nearest, reason_of
from restore_hub.model.manifest import METADATA_KEY, Manifest, parse_manifest
from restore_hub.model.scan import read_onnx

PREFIX = "zoo:"
MODEL, CARD = "model.onnx", "card.md"
_ASIDE = re.compile(r"\.(.+)\.[0-9a-f]{16}\.old")
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: what follows `zoo:`.
        folder: holds `model.onnx`, `card.md`, `metrics.json`, `spec.yaml` and pictures.
    """

    name: str
    folder: Path

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    def manifest(self) -> Manifest:
        """Read the file's manifest, without onnxruntime.

        Raises:
            ModelFileError: the file is damaged.
        """
        return parse_manifest(read_onnx(self.file).metadata.get(METADATA_KEY), self.file)

    def card(self) -> str:
        """Return the card, as Markdown.

        Raises:
            ModelFileError: it can't be read.
        """
        path = self.folder / CARD
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            cause = reason_of(error) if isinstance(error, OSError) else "it isn't UTF-8 text"
            raise ModelFileError("zoo.unreadable-card", path, cause=cause) from error


def zoo_folder() -> Path:
    """Return the zoo's folder: the installed package's, else the checkout's."""
    shipped = _PACKAGE / "_shipped" / "model_zoo"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "model_zoo"


def zoo_entries() -> dict[str, Entry]:
    """Return the models by name."""
    files = sorted(zoo_folder().glob(f"[!.]*/{MODEL}"))  # a stopped `zoo add` leaves a folder that begins with a dot
    return {file.parent.name: Entry(file.parent.name, file.parent) for file in files}


def aside(folder: Path) -> Path:
    """Return a new hidden name beside an entry, for the entry while another takes its place."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.old")


def hidden_entries(zoo: Path) -> dict[str, Path]:
    """Return where each entry is that a stopped `zoo add` left under a hidden name, by its own name."""
    found = {match[1]: path for path in sorted(zoo.glob(".*.old")) if (match := _ASIDE.fullmatch(path.name))}
    return {name: path for name, path in found.items() if not (zoo / name).exists()}


def hidden_errors(zoo: Path) -> dict[str, ModelFileError]:
    """Return an error for each of the `hidden_entries`, which says how to get it back."""
    return {
        name: ModelFileError("zoo.hidden", zoo / name, hidden=path, folder=zoo / name)
        for name, path in hidden_entries(zoo).items()
    }


def zoo_entry(name: str) -> Entry:
    """Return a model of the zoo; the name may begin with `zoo:`.

    Raises:
        ModelFileError: there's no such model, or a stopped `zoo add` left it hidden.
    """
    name, known = name.removeprefix(PREFIX), zoo_entries()
    if name in known:
        return known[name]
    if name in (hidden := hidden_errors(zoo_folder())):
        raise hidden[name]
    if not known:
        raise ModelFileError("zoo.empty", f"{PREFIX}{name}", folder=zoo_folder())
    raise ModelFileError("zoo.unknown", f"{PREFIX}{name}", name=name, known=", ".join(known), mend=nearest(name, known))


def zoo_file(name: str) -> Path:
    """Return the ONNX file of a model of the zoo; the name may begin with `zoo:`.

    Raises:
        ModelFileError: as `zoo_entry`.
    """
    return zoo_entry(name).file


def model_path(source: str | Path) -> Path:
    """Return the file that `zoo:NAME` or a path names.

    Raises:
        ModelFileError: as `zoo_entry`.
    """
    return zoo_file(str(source)) if str(source).startswith(PREFIX) else Path(source)
