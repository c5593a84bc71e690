"""A picture of any size through an exported file: whole where the memory suffices, else in tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError
from restore_hub.machine import available_memory
from restore_hub.model.manifest import Manifest, Memory
from restore_hub.model.model import Model, load
from restore_hub.model.tiles import tiles
from restore_hub.photo.guards import AROUND

NEARLY = 0.8  # of the free memory: the rest is for what else runs
PASSED = 12  # bytes for each pixel of a picture that one file hands on to the next
LARGE = 2048  # side of a picture from which tiles are no slower than the whole
ARENA = 2.0  # onnxruntime's allocator grows by powers of two

Arrays = Mapping[str, NDArray[Any]]


def run(
    model: Model, feeds: Arrays, tile: int | None = None, share: float = 1.0
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Run a file on one picture.

    Left to itself it runs a picture of up to 2048 x 2048 pixels whole, and a larger one in tiles where these give
    exactly the same; else whole where the memory that is free suffices, and in tiles that differ a little where not.

    Args:
        model: the file.
        feeds: its inputs by name; those of the picture's size are (1, C, H, W).
        tile: side of a tile; 0 for the whole picture; `None` to choose.
        share: part of the free memory to take at most, where others run beside it.

    Returns:
        The output (C, H, W), and lines that say what a person should know of the tiles.

    Raises:
        ModelFileError: the memory does not suffice, the file cannot be run in tiles, or it gives another size than
            its manifest says.
    """
    height, width = size_of(model.manifest, feeds)
    core = choose(model, height, width, tile, share=share)
    if core == 0:
        return _whole(model, feeds, height * width), ()
    tiling = model.manifest.tiling
    made: NDArray[np.float32] | None = None
    count = 0
    for part in tiles(height, width, core, tiling.margin, tiling.align):
        cut = {name: array[(..., *part.read)] if array.ndim == 4 else array for name, array in feeds.items()}
        output = _run(model, cut)
        if made is None:
            made = np.empty((len(output), height, width), np.float32)
        made[(..., *part.keep)] = output[(..., *part.crop)]
        count += 1
    assert made is not None
    if tiling.kind == "exact":
        return made, ()
    return made, (f"run in {count} tiles, which may differ from the whole by {tiling.error:.2g}",)


def choose(
    model: Model, height: int, width: int, tile: int | None = None, *, passed: bool = False, share: float = 1.0
) -> int:
    """Return the side of the tiles that a file runs a picture of a size in, 0 for the whole.

    Args:
        model: the file.
        height, width: of the picture.
        tile: what is asked for; 0 for the whole, `None` to choose by size and the memory that is free.
        passed: count a picture that waits between this file and another one.
        share: part of the free memory to take at most.

    Raises:
        ModelFileError: as `run`.
    """
    core = _by_memory(model, height, width, AROUND + PASSED * passed, share) if tile is None else tile
    if core == 0 or core >= max(height, width):
        return 0
    tiling = model.manifest.tiling
    if tiling.kind == "none":
        raise ModelFileError(f"{model.path} cannot run in tiles, since {tiling.reason()}")
    return core


def forecast(memory: Memory, height: int, width: int, around: int = AROUND) -> int:
    """Return the bytes that a process holds at most while it restores a picture of this size whole, on the CPU."""
    slack = ARENA if height * width <= LARGE**2 else 1.0
    return round(memory.base + (slack * memory.per_pixel + around) * height * width)


def _whole(model: Model, feeds: Arrays, pixels: int) -> NDArray[np.float32]:
    # An allocator that keeps what it has would take up to twice as much. (A loaded file may be gone by now.)
    if pixels > LARGE**2 and model.path.is_file():
        model = load(model.path, device=model.device, arena=False)
    return _run(model, feeds)


def _run(model: Model, feeds: Arrays) -> NDArray[np.float32]:
    """Run a file on a picture or a tile; return the output (C, H, W), of the size that the manifest says."""
    height, width = size_of(model.manifest, feeds)
    output = model(feeds)
    shape = tuple({"height": height, "width": width}.get(str(size), size) for size in model.manifest.outputs[0].shape)
    if output.shape != shape:
        raise ModelFileError(
            f"{model.path} gives {output.shape} for {width}x{height} pixels, and its manifest says {shape}; "
            "export it again"
        )
    made: NDArray[np.float32] = output[0]
    return made


def _by_memory(model: Model, height: int, width: int, around: int, share: float) -> int:
    tiling, memory = model.manifest.tiling, model.manifest.memory
    large = height * width > LARGE**2
    if memory is None:
        return LARGE if large and tiling.kind == "exact" else 0
    free = NEARLY * share * available_memory()
    whole = forecast(memory, height, width, around)
    if whole <= free and not (large and tiling.kind == "exact"):
        return 0
    beside = "" if share == 1 else f" for one of {round(1 / share)} at once (--jobs)"
    needs = f"{model.path} needs some {_gib(whole)} for {width}x{height} pixels, and {_gib(free)} are free{beside}"
    if tiling.kind == "none":
        raise ModelFileError(f"{needs}; it cannot run in tiles: give a smaller picture, or a machine with more memory")
    left = free - memory.base - around * height * width
    side = math.isqrt(max(0, int(left / (ARENA * max(memory.per_pixel, 1.0)))))
    core = min(side - 2 * tiling.margin, LARGE) // tiling.align * tiling.align
    if core < tiling.align:
        raise ModelFileError(f"{needs}, too little even for tiles; close other programs")
    return core


def size_of(manifest: Manifest, feeds: Arrays) -> tuple[int, int]:
    """Return height and width of the picture in the inputs of a file."""
    name = next(tensor.name for tensor in manifest.inputs if "height" in tensor.shape)
    return int(feeds[name].shape[2]), int(feeds[name].shape[3])


def _gib(count: float) -> str:
    return f"{count / 2**30:.2g} GiB"
