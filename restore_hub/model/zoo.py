"""The model zoo: trained files that the package brings along, by name, in a checkout or installed."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from restore_hub.errors import ModelFileError, did_you_mean
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
        name: what stands behind `zoo:`.
        folder: holds `model.onnx`, `card.md`, `metrics.json`, `spec.yaml` and pictures.
    """

    name: str
    folder: Path

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    def manifest(self) -> Manifest:
        """Read what the file says of itself, without onnxruntime.

        Raises:
            ModelFileError: it is damaged.
        """
        return parse_manifest(read_onnx(self.file).metadata.get(METADATA_KEY), self.file)

    def card(self) -> str:
        """Return the card, Markdown.

        Raises:
            ModelFileError: it cannot be read.
        """
        path = self.folder / CARD
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
            raise ModelFileError(f"{path}: cannot be read: {reason}; install restore_hub again") from error


def zoo_folder() -> Path:
    """Return the folder of the zoo: the installed package's, else the checkout's."""
    shipped = _PACKAGE / "_shipped" / "model_zoo"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "model_zoo"


def zoo_entries() -> dict[str, Entry]:
    """Return the models of the zoo by name."""
    files = sorted(zoo_folder().glob(f"[!.]*/{MODEL}"))  # a killed `zoo-add` leaves a folder that begins with a dot
    return {file.parent.name: Entry(file.parent.name, file.parent) for file in files}


def aside(folder: Path) -> Path:
    """Return a new hidden name beside an entry, for it to lie under while another one takes its place."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.old")


def hidden_entries(zoo: Path) -> dict[str, Path]:
    """Return the entries that are gone because a `zoo-add` was killed at work: where each lies, by its name."""
    found = {match[1]: path for path in sorted(zoo.glob(".*.old")) if (match := _ASIDE.fullmatch(path.name))}
    return {name: path for name, path in found.items() if not (zoo / name).exists()}


def said_of_hidden(zoo: Path) -> dict[str, str]:
    """Return for each of the `hidden_entries` how a person gets it back."""
    return {
        name: f"{zoo / name} is hidden, since a `zoo-add` was stopped at work; run it again, or rename {path} to it"
        for name, path in hidden_entries(zoo).items()
    }


def zoo_entry(name: str) -> Entry:
    """Return a model of the zoo; the name may begin with `zoo:`.

    Raises:
        ModelFileError: there is none of that name, or a killed `zoo-add` left it hidden.
    """
    name, known = name.removeprefix(PREFIX), zoo_entries()
    if name in known:
        return known[name]
    if name in (hidden := said_of_hidden(zoo_folder())):
        raise ModelFileError(hidden[name])
    has = f"it has {', '.join(known)}" if known else f"{zoo_folder()} has none; install restore_hub again"
    raise ModelFileError(
        f"{PREFIX}{name}: the model zoo has no {name!r}{did_you_mean(name, known)}; {has} (`restore-hub zoo` lists "
        "them); a file of your own is given by its path"
    )


def zoo_file(name: str) -> Path:
    """Return the ONNX file of a model of the zoo; the name may begin with `zoo:`.

    Raises:
        ModelFileError: there is none of that name.
    """
    return zoo_entry(name).file


def model_path(source: str | Path) -> Path:
    """Return the file that a person means: `zoo:NAME`, or a path.

    Raises:
        ModelFileError: the zoo has no such model.
    """
    return zoo_file(str(source)) if str(source).startswith(PREFIX) else Path(source)
