"""Whether one exported file's output fits another's input, by their manifests."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import ModelFileError
from restore_hub.model.manifest import Manifest, TensorInfo


def picture_inputs(manifest: Manifest) -> list[TensorInfo]:
    """Return the inputs that have the picture's size."""
    return [tensor for tensor in manifest.inputs if tensor.is_spatial]


def matching_input(before: Manifest, first: Path, after: Manifest, then: Path) -> TensorInfo:
    """Return the input of the file `then` that takes the output of the file `first`.

    They fit when the first output and the only input of the picture's size agree in type, channels, fixed sizes, colour
    space and range. A mosaic fits only if a mosaic came in, because it provides phase and levels.

    Raises:
        ModelFileError: they don't fit; how, and in which file.
    """
    inputs, given = picture_inputs(after), before.outputs[0]
    needed = [tensor.name for tensor in after.inputs if tensor.default is None and not tensor.is_number]
    if len(inputs) != 1 or needed != [inputs[0].name]:
        raise ModelFileError("model.several-inputs", then, names=", ".join(needed), before=first, given=given.name)
    taken, place = inputs[0], f"{first} before {then}"
    if differences := _differences(given, taken):
        raise ModelFileError(
            "model.does-not-fit", place, given=given.name, taken=taken.name, differences=", ".join(differences)
        )
    raw_out, raw_in = before.kind == "raw-to-raw", after.kind.startswith("raw-")
    if raw_in and not raw_out:
        raise ModelFileError("model.no-phase", place, before=before.kind, after=after.kind)
    if raw_out and not raw_in:
        raise ModelFileError("model.sensor-levels", place, before=before.kind, after=after.kind)
    return taken


def _differences(given: TensorInfo, taken: TensorInfo) -> list[str]:
    pairs = {
        "type": (given.dtype, taken.dtype),
        "sizes": (given.sizes, taken.sizes),
        "colour space": (given.space, taken.space),
        "range": (_range(given), _range(taken)),
    }
    return [f"{what} {one} against {other}" for what, (one, other) in pairs.items() if one != other]


def _range(tensor: TensorInfo) -> str:
    low, high = ("not stated" if value is None else f"{value:g}" for value in (tensor.low, tensor.high))
    return f"{low} to {high}"
