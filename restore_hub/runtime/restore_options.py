"""How a result should look, and the checks that come before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from restore_hub.errors import DataError, ModelFileError, reason_of
from restore_hub.model.sequence import ModelSequence
from restore_hub.model.signature import check_kind
from restore_hub.photo.kind import PICTURE_SUFFIXES
from restore_hub.photo.raw.mosaic import LARGEST_GAIN
from restore_hub.photo.raw.white_balance import Balance, check_balance
from restore_hub.runtime.numbers import check_numbers


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to develop; with `None` the file decides, see `restore_hub.runtime.restore`.

    Attributes:
        gain: exposure gain for RAW, above 0 to 1e6.
        balance: white balance for RAW.
        bits: bits a channel, 8 or 16.
        tile: side of a large picture's tiles; 0 for none.
        inputs: numbers that the model takes, by name.
    """

    gain: float | None = None
    balance: Balance | None = None
    bits: int | None = None
    tile: int | None = None
    inputs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values out of range with a DataError."""
        if self.gain is not None and not 0 < self.gain <= LARGEST_GAIN:
            raise DataError("restore.bad-gain", "gain", got=self.gain, largest=LARGEST_GAIN)
        if self.bits not in (None, 8, 16):
            raise DataError("restore.bad-bits", "bits", got=self.bits)
        if self.tile is not None and self.tile < 0:
            raise DataError("restore.bad-tile", "tile", got=self.tile)
        check_balance(self.balance)

    def bits_of(self, out: Path) -> int:
        """Return the bits a channel of an output.

        Raises:
            DataError: a DNG with other than 16.
        """
        if is_dng(out) and self.bits not in (None, 16):
            raise DataError("restore.dng-bits", out, got=self.bits)
        return self.bits or (16 if is_dng(out) else 8)

    def check_model(self, model: ModelSequence, out: Path) -> None:
        """Refuse what a model can't do.

        Raises:
            DataError: a gain or a white balance for pictures, a mosaic in a picture format, or as `check_numbers`.
            ModelFileError: the model takes no photographs.
        """
        if model.kind == "raw-to-raw" and not is_dng(out):
            raise DataError("restore.mosaic-needs-dng", out, model=model.path, name=out.with_suffix(".dng").name)
        raw = takes_raw(model)
        check_numbers(model, self.inputs)
        if raw:
            return
        for value, option in ((self.gain, "gain"), (self.balance, "balance")):
            if value is not None:
                raise DataError("restore.option-for-raw", option, model=model.path)


def takes_raw(model: ModelSequence) -> bool:
    """Say whether a model takes RAW files; if not, it takes pictures.

    Raises:
        ModelFileError: it takes or outputs neither, or something else than files of its kind do.
    """
    for part in model.models:
        check_kind(part.manifest, part.path)
    if model.kind == "tensors":
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise ModelFileError("restore.not-for-photographs", model.path, inputs=names, output=model.output.name)
    return model.kind != "rgb-to-rgb"


def is_dng(out: Path) -> bool:
    """Say whether an output is a DNG, by its suffix."""
    return out.suffix.lower() == ".dng"


def check_output(out: Path, overwrite: bool, sources: Sequence[Path]) -> None:
    """Refuse an output of an unknown format, one that exists, and one that is also an input.

    Raises:
        DataError: any of these.
    """
    if not is_dng(out) and out.suffix.lower() not in PICTURE_SUFFIXES:
        known = ", ".join((*PICTURE_SUFFIXES, ".dng"))
        raise DataError("photo.unknown-suffix", out, suffix=out.suffix or "a name without a suffix", known=known)
    try:
        if not out.exists():
            return
        if not out.is_file():
            raise DataError("restore.output-not-a-file", out)
        if any(source.exists() and out.samefile(source) for source in sources):
            raise DataError("restore.output-is-input", out)
    except OSError as error:  # such as a name that's too long
        raise DataError("files.cannot-write", out, cause=reason_of(error)) from error
    if not overwrite:
        raise DataError("restore.output-exists", out)
