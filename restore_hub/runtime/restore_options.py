"""What a person may ask of a result, and refusals of what cannot be, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_hub.errors import DataError, ModelFileError
from restore_hub.model.sequence import Chained
from restore_hub.model.signature import check_kind
from restore_hub.photo.guards import fault_of
from restore_hub.photo.kind import PICTURE_SUFFIXES
from restore_hub.photo.raw.mosaic import LARGEST_GAIN
from restore_hub.photo.raw.white_balance import Balance, check_balance


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to develop; `None` leaves a thing to the file, see `restore_hub.runtime.restore`.

    Attributes:
        gain: exposure gain of RAW, above 0 to 1e6.
        balance: white balance of RAW.
        bits: bits a channel, 8 or 16.
        tile: side of the tiles of a large picture; 0 for none.
    """

    gain: float | None = None
    balance: Balance | None = None
    bits: int | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range with a DataError."""
        if self.gain is not None and not 0 < self.gain <= LARGEST_GAIN:
            raise DataError(f"the gain {self.gain:g} is not a positive number of at most {LARGEST_GAIN:g}")
        if self.bits not in (None, 8, 16):
            raise DataError(f"{self.bits!r} bits a channel cannot be written; ask for 8 or 16")
        if self.tile is not None and self.tile < 0:
            raise DataError(f"a tile of {self.tile} pixels cannot be; give its side, or 0 for the whole picture")
        check_balance(self.balance)

    def bits_of(self, out: Path) -> int:
        """Return the bits a channel of an output.

        Raises:
            DataError: a DNG of other than 16.
        """
        if is_dng(out) and self.bits not in (None, 16):
            raise DataError(f"{out}: a DNG holds 16 bits a channel, not {self.bits}; leave --bits out")
        return self.bits or (16 if is_dng(out) else 8)

    def check_model(self, model: Chained, out: Path) -> None:
        """Refuse what a model does not do.

        Raises:
            DataError: a gain or a white balance for pictures, a mosaic in a picture's format. ModelFileError: the
                model takes no photographs.
        """
        if model.kind == "raw-to-raw" and not is_dng(out):
            raise DataError(f"{model.path} gives a mosaic, which a DNG holds; write {out.with_suffix('.dng').name}")
        if takes_raw(model):
            return
        for wish, name, short in ((self.gain, "exposure gain", "gain"), (self.balance, "white balance", "balance")):
            if wish is not None:
                raise DataError(f"{model.path} takes pictures, to which no {name} applies; leave the {short} out")


def takes_raw(model: Chained) -> bool:
    """Say whether a model takes RAW files, or pictures.

    Raises:
        ModelFileError: it takes neither, or gives neither, or takes or gives something else than files of its kind.
    """
    for part in model.models:
        try:
            check_kind(part.manifest)
        except ModelFileError as error:
            raise ModelFileError(f"{part.path}: {error}; export it again") from None
    if model.kind == "tensors":
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise ModelFileError(
            f"{model.path} takes the tensors {names} and gives {model.output.name}, not a photograph from one; "
            "run it with onnxruntime"
        )
    return model.kind != "rgb-to-rgb"


def is_dng(out: Path) -> bool:
    """Say whether an output is a DNG, by its suffix."""
    return out.suffix.lower() == ".dng"


def check_out(out: Path, overwrite: bool, sources: Sequence[Path]) -> None:
    """Refuse an output of no known format, one that is there already, and one that is among the files to be read.

    Raises:
        DataError: any of these.
    """
    if not is_dng(out) and out.suffix.lower() not in PICTURE_SUFFIXES:
        known = ", ".join((*PICTURE_SUFFIXES, ".dng"))
        raise DataError(f"{out}: cannot write {out.suffix or 'no suffix'}; use one of {known}")
    try:
        if not out.exists():
            return
        if not out.is_file():
            raise DataError(f"{out}: cannot be written: {fault_of(out)}; choose another name")
        if any(source.exists() and out.samefile(source) for source in sources):
            raise DataError(f"{out} is the very file to be read; choose another name for the result")
    except OSError as error:  # a name too long, say
        raise DataError(f"{out}: cannot be written: {error.strerror}") from error
    if not overwrite:
        raise DataError(f"{out} exists already; choose another name, or pass --overwrite")
