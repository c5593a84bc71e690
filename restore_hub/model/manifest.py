"""The manifest that every exported file carries in its metadata: what goes in, what comes out, where it is from."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from restore_hub.errors import ModelFileError

METADATA_KEY = "restore_hub.manifest"
MANIFEST_VERSION = 2  # the highest one read
QUANTISED_VERSION = 2  # of files with `quantisation`, which readers of version 1 do not know; others stay 1
_LARGEST_TEXT = 1 << 24  # characters; what runs write has some ten thousand
_LARGEST_TOLERANCE = 1e-3  # a larger one would tell an altered file from a sound one no more

# Bounds, so that numbers which make no sense are a damaged manifest, and not an error somewhere later.
_Size = Annotated[int, Field(ge=1, le=4096)]
_Index = Annotated[int, Field(ge=0)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Value = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]  # float32 holds it


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorInfo(_Record):
    """One input or output of the graph.

    Attributes:
        shape: sizes; `height` and `width` stand for those of the picture.
        space: `raw`, `linear`, `srgb` or `map`.
        low, high: nominal range of values.
        default: value used when the caller leaves the input out; such inputs are also initializers.
        meaning: one line for people.
    """

    name: str
    dtype: Literal["float32", "int64"] = "float32"
    shape: list[_Size | Literal["height", "width"]]
    space: str = "map"
    low: _Value | None = None
    high: _Value | None = None
    default: list[_Value] | None = None
    meaning: str = ""


class Probe(_Record):
    """A test vector: uniform noise from numpy's `default_rng(seed)` of a size, and some values that come out.

    Attributes:
        samples: (channel, row, column, value) of the output.
    """

    seed: _Index
    height: _Size
    width: _Size
    phase: tuple[_Index, _Index] = (0, 0)
    samples: list[tuple[_Index, _Index, _Index, float]] = Field(min_length=1)
    tolerance: float = Field(gt=0, le=_LARGEST_TOLERANCE)


class Tiling(_Record):
    """How a picture that is too large may be cut.

    Attributes:
        kind: `exact`: tiles with their margin give what the whole gives, to 1e-4; `approximate`: they differ by up to
            `error`; `none`: by more than is bearable, or tiles were not tried.
        margin: pixels around a tile that its values depend on, or that were tried.
        align: tiles begin at multiples of it, for the graph's stride and the CFA.
        error: largest difference between tiles and the whole that was seen at export; 0 where none was.
    """

    kind: Literal["exact", "approximate", "none"]
    margin: _Index = 0
    align: _Size = 1
    error: _Finite = 0.0

    def said(self) -> str:
        """Return it in a line for people."""
        if self.kind == "none":
            return f"tiles: none, since {self.reason()}"
        same = "the same as the whole" if self.kind == "exact" else f"up to {self.error:.2g} from the whole"
        return f"tiles: {self.kind}, {same}, with {self.margin} pixels around each, at multiples of {self.align}"

    def reason(self) -> str:
        """Return why there are none."""
        if self.error == 0:
            return "none are known to be near the whole"
        return f"with {self.margin} pixels around each they are {self.error:.2g} from the whole"


class Memory(_Record):
    """What a process that runs the graph on the CPU holds at most, measured at export.

    Attributes:
        base: bytes, whatever the picture.
        per_pixel: bytes for each pixel of the picture.
    """

    base: _Index
    per_pixel: float = Field(ge=0, allow_inf_nan=False)


class Speed(_Record):
    """How long an int8 file runs, measured where it was exported, beside its float32 file.

    Attributes:
        ratio: its time over the float32 file's; below 1 it is faster.
        threads: of onnxruntime.
        height, width: of the picture.
    """

    ratio: float = Field(gt=0, allow_inf_nan=False)
    threads: _Size
    height: _Size
    width: _Size


class Quantisation(_Record):
    """What was done to a float32 file to run it in 8-bit integers, and what that loses and gains.

    Attributes:
        scheme: one line for people.
        convolutions: how many run in int8, and of how many.
        calibration: pictures of a training split that the ranges of values come from.
        measured: pictures of the holdout split that the losses are of.
        psnr_loss: mean PSNR in dB of the float32 file less that of this one, pictures of 8 bits; below 0 it gained.
        worst_loss: the same, of the picture that loses most.
        budget: what `psnr_loss` may be at most.
    """

    scheme: str
    convolutions: tuple[_Index, _Index]
    calibration: int = Field(ge=1)
    measured: int = Field(ge=1)
    psnr_loss: _Finite
    worst_loss: _Finite
    budget: float = Field(ge=0, allow_inf_nan=False)
    speed: list[Speed] = Field(min_length=1)

    def said(self) -> str:
        """Return what it loses and gains in a line for people."""
        took = ", ".join(f"{s.ratio:.2f} on {s.threads} thread{'s' * (s.threads > 1)}" for s in self.speed)
        few, all_ = self.convolutions
        return (
            f"int8: {few} of {all_} convolutions; loses {self.psnr_loss:z.2f} dB of PSNR on {self.measured} pictures "
            f"(the worst {self.worst_loss:z.2f}; allowed {self.budget:g}); time over float32's at "
            f"{self.speed[0].width} x {self.speed[0].height}: {took}"
        )


class Manifest(_Record):
    """Everything that running the file and judging its result needs. `version` rises when a field changes meaning;
    a reader refuses a higher one than it knows.

    Attributes:
        parity: largest difference at export from what the file was made from: PyTorch, or the parts of a merged one.
        metrics: those that are finite; JSON has no other numbers (the PSNR of equal pictures is infinite).
        quantisation: of files in int8; their numbers, such as metrics, tiling and memory, are their own. That of a part
            of a merged file is in `provenance`, since what it loses was measured of the part.
    """

    version: int = Field(default=1, ge=1)
    name: str
    kind: Literal["raw-to-rgb", "raw-to-raw", "rgb-to-rgb", "tensors"]
    inputs: list[TensorInfo] = Field(min_length=1)
    outputs: list[TensorInfo] = Field(min_length=1)
    size_multiple: _Size
    opset: int = Field(ge=1)
    parity: float = Field(ge=0, allow_inf_nan=False)
    probe: Probe
    licence: str
    tiling: Tiling = Tiling(kind="none")
    memory: Memory | None = None
    quantisation: Quantisation | None = None
    metrics: Mapping[str, float] = Field(default_factory=dict)
    provenance: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("metrics")
    @classmethod
    def _finite(cls, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def int8(self) -> list[str]:
        """Return a line for people where the file is in int8, or one for each part of a merged file that is."""
        own = [] if self.quantisation is None else [self.quantisation.said()]
        return [*own, *(f"part {name}: {record.said()}" for name, record in _quantised_parts(self.provenance))]


def _quantised_parts(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Quantisation]]:
    """Yield name and record of the parts in int8, merged ones' own too; what looks like no record is none."""
    parts = provenance.get("merged")
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, dict):
            continue
        with contextlib.suppress(ValidationError):
            yield str(part.get("name")), Quantisation.model_validate(part.get("quantisation"))
        inner = part.get("provenance")
        yield from _quantised_parts(inner if isinstance(inner, dict) else {})


def parse_manifest(text: str | None, path: Path) -> Manifest:
    """Read the manifest of the file at `path`.

    Raises:
        ModelFileError: there is none, it is of a newer version, or it is damaged.
    """
    if text is None:
        raise ModelFileError(
            f"{path} carries no restore_hub manifest, so its inputs are not known; export it with `restore-hub run`, "
            "or run it with onnxruntime directly"
        )
    if len(text) > _LARGEST_TEXT:
        raise ModelFileError(f"{path}: the manifest is damaged: it has {len(text)} characters; export it again")
    stated = _stated_version(text)
    if stated is not None and stated > MANIFEST_VERSION:  # before the fields, which it may have more of
        raise ModelFileError(
            f"{path} has a manifest of version {stated}, this restore_hub reads up to {MANIFEST_VERSION}; "
            "update restore_hub"
        )
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ModelFileError(f"{path}: the manifest is damaged at {where}: {first['msg']}; export it again") from None
    return manifest


def _stated_version(text: str) -> int | None:
    try:
        stated = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return stated if isinstance(stated, int) else None
