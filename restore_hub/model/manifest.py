"""The manifest that every exported file carries in its metadata: inputs, outputs, origin."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from restore_hub.errors import ModelFileError, counted

METADATA_KEY = "restore_hub.manifest"
MANIFEST_VERSION = 2  # the highest one read
# What a file that takes RAW has first, in this order.
RAW_NAMES = ("mosaic", "phase", "black", "white", "balance", "gain")
SIZES = {"z": "depth", "y": "height", "x": "width"}  # what a shape calls the sizes along a port's axes
QUANTISED_VERSION = 2  # files with `quantisation`, unknown to readers of version 1; others stay 1
_LARGEST_TEXT = 1 << 24  # characters; runs write some ten thousand
_LARGEST_TOLERANCE = 1e-3  # a larger one couldn't tell an altered file from a sound one

# With bounds, senseless numbers are a damaged manifest rather than an error somewhere later.
_Size = Annotated[int, Field(ge=1, le=4096)]
_Index = Annotated[int, Field(ge=0)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Value = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]  # float32 holds it
_Samples = Annotated[list[Annotated[list[_Index | float], Field(min_length=1)]], Field(min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorInfo(_Record):
    """One input or output of the graph.

    Attributes:
        shape: sizes; `height` and `width` stand for those of the picture, `depth` for the third one of a volume. A
            number, such as a noise level, has the shape [1].
        scale: of an output: its sizes relative to `height`, `width` and `depth`, rounded up.
        space: `raw`, `linear`, `srgb` or `map`.
        low, high: nominal range of values.
        default: value used when the caller leaves the input out; such inputs are also initializers.
        meaning: one line for people.
    """

    name: str
    dtype: Literal["float32", "int64"] = "float32"
    shape: list[_Size | Literal["depth", "height", "width"]]
    scale: float = Field(default=1.0, gt=0, le=64)
    space: str = "map"
    low: _Value | None = None
    high: _Value | None = None
    default: list[_Value] | None = None
    meaning: str = ""

    @property
    def is_number(self) -> bool:
        """Whether it is one number."""
        return self.shape == [1]

    @property
    def is_spatial(self) -> bool:
        """Whether it is as large as the picture or volume."""
        return any(isinstance(size, str) for size in self.shape)

    @property
    def sizes(self) -> str:
        """Its shape for people, such as `1 x 3 x height x width`."""
        scale = "" if self.scale == 1 else f"{self.scale:g} "
        return " x ".join(str(size) if isinstance(size, int) else scale + size for size in self.shape)

    def sized(self, extent: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape for the size of a picture, by `height` and `width`, or of a volume, by `depth` too."""
        return tuple(size if isinstance(size, int) else math.ceil(extent[size] * self.scale) for size in self.shape)

    def extent(self, shape: Sequence[int]) -> dict[str, int]:
        """Return the size of the picture or volume that an array of this shape belongs to."""
        return {axis: size for axis, size in zip(self.shape, shape, strict=False) if isinstance(axis, str)}

    def window(self, rows: slice, columns: slice) -> tuple[slice, ...]:
        """Return the index of a part of the picture in an array of this tensor."""
        return tuple({"height": rows, "width": columns}.get(str(size), slice(None)) for size in self.shape)


class Probe(_Record):
    """A test vector: uniform noise of a size from numpy's `default_rng(seed)`, and some values of every output.

    Attributes:
        samples: places in the first output and its values there: (channel, row, column, value) of a picture.
        further: the same of each other output, by name.
    """

    seed: _Index
    height: _Size
    width: _Size
    depth: _Size = 1
    phase: tuple[_Index, _Index] = (0, 0)
    samples: _Samples
    further: Mapping[str, _Samples] = Field(default_factory=dict)
    tolerance: float = Field(gt=0, le=_LARGEST_TOLERANCE)


class Tiling(_Record):
    """How a picture that is too large may be cut into tiles.

    Attributes:
        kind: `exact`: tiles with their margin equal the whole, to 1e-4; `approximate`: they differ by up to `error`;
            `none`: by too much, or tiles were not tried.
        margin: pixels around a tile that its values depend on, or that were tried.
        align: tiles begin at multiples of it, for the graph's stride and the CFA.
        error: largest difference between tiles and the whole found at export; 0 where none was.
    """

    kind: Literal["exact", "approximate", "none"]
    margin: _Index = 0
    align: _Size = 1
    error: _Finite = 0.0

    def describe(self) -> str:
        """Return a line for people."""
        if self.kind == "none":
            return f"tiles: none, because {self.why_none()}"
        same = "the same as the whole" if self.kind == "exact" else f"up to {self.error:.2g} from the whole"
        margin = counted(self.margin, "pixel")
        return f"tiles: {self.kind}, {same}, with {margin} around each, at multiples of {self.align}"

    def why_none(self) -> str:
        """Return why it can't run in tiles."""
        if self.error == 0:
            return "no tiles are known to come near the whole"
        return f"with {counted(self.margin, 'pixel')} around each, they differ from the whole by {self.error:.2g}"


class Memory(_Record):
    """The peak memory of a process that runs the graph on the CPU, measured at export.

    Attributes:
        base: bytes, whatever the picture's size.
        per_pixel: bytes for each pixel of the picture.
    """

    base: _Index
    per_pixel: float = Field(ge=0, allow_inf_nan=False)


class Speed(_Record):
    """How long an int8 file runs compared with its float32 file, measured where it was exported.

    Attributes:
        ratio: its time over the float32 file's; below 1, it's faster.
        threads: of onnxruntime.
        height, width: of the picture.
    """

    ratio: float = Field(gt=0, allow_inf_nan=False)
    threads: _Size
    height: _Size
    width: _Size


class Quantisation(_Record):
    """How a float32 file was turned into 8-bit integers, and what that costs and gains.

    Attributes:
        scheme: one line for people.
        convolutions: how many run in int8, and how many there are.
        calibration: pictures of a training split that give the ranges of values.
        measured: pictures of the holdout split that give the losses.
        psnr_loss: mean PSNR in dB of the float32 file less that of this one, on 8-bit pictures; a gain is below 0.
        worst_loss: the same for the picture that loses most.
        budget: the largest `psnr_loss` allowed.
    """

    scheme: str
    convolutions: tuple[_Index, _Index]
    calibration: int = Field(ge=1)
    measured: int = Field(ge=1)
    psnr_loss: _Finite
    worst_loss: _Finite
    budget: float = Field(ge=0, allow_inf_nan=False)
    speed: list[Speed] = Field(min_length=1)

    def describe(self) -> str:
        """Return what it loses and gains, as a line for people."""
        took = ", ".join(f"{s.ratio:.2f} on {counted(s.threads, 'thread')}" for s in self.speed)
        few, all_ = self.convolutions
        pictures = counted(self.measured, "picture")
        return (
            f"int8: {few} of {all_} convolutions; loses {self.psnr_loss:z.2f} dB of PSNR on {pictures} "
            f"(the worst {self.worst_loss:z.2f}; allowed {self.budget:g}); time over float32's at "
            f"{self.speed[0].width} x {self.speed[0].height}: {took}"
        )


class Manifest(_Record):
    """All that's needed to run the file and judge its result. `version` rises when a field changes meaning; a reader
    refuses a higher one than it knows.

    Attributes:
        parity: largest difference at export from what the file was made from: PyTorch, or the parts of a merged one.
        metrics: only finite ones, as JSON has no others (the PSNR of equal pictures is infinite).
        quantisation: for int8 files, whose metrics, tiling and memory are their own. For a part of a merged file it is
            in `provenance`, because the loss was measured on that part.
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

    @model_validator(mode="after")
    def _sizes_known(self) -> Manifest:
        known = {size for tensor in self.inputs for size in tensor.shape}
        for tensor in self.outputs:
            for size in tensor.shape:
                if isinstance(size, str) and size not in known:
                    raise ValueError(f"no input has the {size} of the output {tensor.name!r}")
        return self

    @model_validator(mode="after")
    def _outputs_tested(self) -> Manifest:
        others, tested = sorted(tensor.name for tensor in self.outputs[1:]), sorted(self.probe.further)
        if tested != others:
            raise ValueError(f"the outputs after the first are {others}, those in the test vector {tested}")
        return self

    @property
    def tested(self) -> dict[str, list[list[float]]]:
        """The values of the test vector by output."""
        return {self.outputs[0].name: self.probe.samples, **self.probe.further}

    @property
    def numbers(self) -> list[TensorInfo]:
        """The numbers that it takes, such as a noise level, apart from those that belong to a mosaic."""
        own = self.inputs[len(RAW_NAMES) :] if self.kind.startswith("raw-") else self.inputs
        return [tensor for tensor in own if tensor.is_number]

    @field_validator("metrics")
    @classmethod
    def _finite(cls, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def int8_notes(self) -> list[str]:
        """Return a line for people if the file is in int8, or one for each int8 part of a merged file."""
        own = [] if self.quantisation is None else [self.quantisation.describe()]
        return [*own, *(f"part {name}: {record.describe()}" for name, record in _quantised_parts(self.provenance))]


def _quantised_parts(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Quantisation]]:
    """Yield name and record of the int8 parts, at any depth; skip whatever isn't a valid record."""
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
        ModelFileError: it's missing, of a newer version, or damaged.
    """
    if text is None:
        raise ModelFileError("model.no-manifest", path)
    if len(text) > _LARGEST_TEXT:
        raise ModelFileError("model.damaged-manifest", path, where="JSON", cause=f"it has {len(text)} characters")
    stated = _stated_version(text)
    if stated is not None and stated > MANIFEST_VERSION:  # checked first, because it may have more fields
        raise ModelFileError("model.newer-manifest", path, version=stated, highest=MANIFEST_VERSION)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ModelFileError("model.damaged-manifest", path, where=where, cause=first["msg"]) from None
    return manifest


def _stated_version(text: str) -> int | None:
    try:
        stated = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return stated if isinstance(stated, int) else None
