"""Whether what one exported file gives is what another takes, by their manifests."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.model.manifest import Manifest, TensorInfo


def picture_inputs(manifest: Manifest) -> list[TensorInfo]:
    """Return the inputs of the picture's size."""
    return [tensor for tensor in manifest.inputs if "height" in tensor.shape]


def joint(before: Manifest, first: Path, after: Manifest, then: Path) -> TensorInfo:
    """Return the input of the file `then` that takes what the file `first` gives.

    What fits: one output and one input of the picture's size that agree in type, channels, fixed sizes, colour space
    and range of values; and a mosaic only where one came in, because its phase and levels come from there.

    Raises:
        ModelFileError: what does not fit, in both files, and how to mend it.
    """
    inputs, needed = picture_inputs(after), [tensor.name for tensor in after.inputs if tensor.default is None]
    if len(before.outputs) != 1:
        names = ", ".join(tensor.name for tensor in before.outputs)
        raise ModelFileError(f"{first} gives {names}, and a file before {then} must give one thing; run it by itself")
    given = before.outputs[0]
    if len(inputs) != 1 or needed != [inputs[0].name]:
        raise ModelFileError(
            f"{then} takes {', '.join(needed)}, and {first} gives {given.name!r} only; export what makes them all as "
            "one chain"
        )
    taken = inputs[0]
    differences = _differences(given, taken) or _of_kind(before, after)
    if differences:
        raise ModelFileError(
            f"{first} gives {given.name!r} and {then} takes {taken.name!r}, which do not fit: {differences}; put files "
            "in the order in which the picture goes through them, RAW first, and export what lies between"
        )
    return taken


def _differences(given: TensorInfo, taken: TensorInfo) -> str:
    pairs = {
        "type": (given.dtype, taken.dtype),
        "sizes": (_sizes(given), _sizes(taken)),
        "colour space": (given.space, taken.space),
        "range": (_range(given), _range(taken)),
    }
    return ", ".join(f"{what} {one} against {other}" for what, (one, other) in pairs.items() if one != other)


def _of_kind(before: Manifest, after: Manifest) -> str:
    raw_out, raw_in = before.kind == "raw-to-raw", after.kind.startswith("raw-")
    if raw_in and not raw_out:
        return f"a {after.kind} file needs the phase and levels of a mosaic, and a {before.kind} file hands on none"
    if raw_out and not raw_in:
        return f"a mosaic of a {before.kind} file is in the sensor's levels, and a {after.kind} file knows none"
    return ""


def _sizes(tensor: TensorInfo) -> str:
    return " x ".join(map(str, tensor.shape))


def _range(tensor: TensorInfo) -> str:
    low, high = ("not stated" if value is None else f"{value:g}" for value in (tensor.low, tensor.high))
    return f"{low} to {high}"
