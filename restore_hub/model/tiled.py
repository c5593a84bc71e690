"""Runs a picture of any size through an exported file: whole if the memory suffices, else in tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_hub.errors import ModelFileError
from restore_hub.machine import available_memory
from restore_hub.model.manifest import Manifest, Memory
from restore_hub.model.model import Model
from restore_hub.model.tiles import tiles
from restore_hub.photo.guards import AROUND

NEARLY = 0.8  # of the free memory; the rest is for other programs
WAITING = 12  # bytes for each pixel of a picture that waits between two files
LARGE = 2048  # side of a picture from which tiles are as fast as the whole
ARENA = 2.0  # onnxruntime's allocator grows by powers of two

Arrays = Mapping[str, NDArray[Any]]


def run(
    model: Model, feeds: Arrays, tile: int | None = None, share: float = 1.0
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Run a file on one picture.

    By default, a picture of up to 2048 x 2048 pixels runs whole. A larger one runs in tiles if these give exactly the
    same; else whole if the free memory suffices, and if not, in tiles that differ a little.

    Args:
        model: the file.
        feeds: its inputs by name, as `Model` takes them.
        tile: side of a tile; 0 for the whole picture; `None` to choose.
        share: fraction of the free memory to use at most, when others run at the same time.

    Returns:
        The output (C, H, W), and lines for people about the tiles.

    Raises:
        ModelFileError: not enough memory, the file can't run in tiles, or its output has another size than its
            manifest states.
    """
    manifest, (height, width) = model.manifest, size_of(model.manifest, feeds)
    core = tile_side(model, height, width, tile, share=share)
    if core == 0:
        return _run(model, feeds, frugal=_is_large(height, width)), ()
    tiling, first = manifest.tiling, manifest.outputs[0]
    spatial = {tensor.name: tensor for tensor in manifest.inputs if tensor.is_spatial}
    made = np.empty(first.sized(_extent(manifest, feeds)), first.dtype)
    count = 0
    for part in tiles(height, width, core, tiling.margin, tiling.align):
        cut = {name: array[spatial[name].window(*part.read)] for name, array in feeds.items() if name in spatial}
        made[first.window(*part.keep)] = _run(model, {**feeds, **cut})[None][first.window(*part.crop)]
        count += 1
    if tiling.kind == "exact":
        return made[0], ()
    return made[0], (f"ran in {count} tiles, which may differ from the whole by {tiling.error:.2g}",)


def tile_side(
    model: Model, height: int, width: int, tile: int | None = None, *, waiting: bool = False, share: float = 1.0
) -> int:
    """Return the side of the tiles in which a file runs a picture, 0 for the whole.

    Args:
        model: the file.
        height, width: of the picture.
        tile: the side asked for; 0 for the whole, `None` to choose by size and free memory.
        waiting: count a picture that waits between this file and another one.
        share: fraction of the free memory to use at most.

    Raises:
        ModelFileError: as `run`.
    """
    core = _by_memory(model, height, width, AROUND + WAITING * waiting, share) if tile is None else tile
    if core == 0 or core >= max(height, width):
        return 0
    tiling = model.manifest.tiling
    if tiling.kind == "none":
        raise ModelFileError("model.no-tiles", model.path, reason=tiling.why_none())
    return core


def forecast(memory: Memory, height: int, width: int, around: int = AROUND, *, arena: bool | None = None) -> int:
    """Return the peak memory, in bytes, of a process that restores a whole picture of this size on the CPU.

    Args:
        memory: of the file.
        height, width: of the picture.
        around: bytes for each pixel beside the graph's.
        arena: whether the session keeps memory; by default, for all but large pictures.
    """
    slack = ARENA if (not _is_large(height, width) if arena is None else arena) else 1.0
    return round(memory.base + (slack * memory.per_pixel + around) * height * width)


def size_of(manifest: Manifest, feeds: Arrays) -> tuple[int, int]:
    """Return the height and width of the picture in a file's inputs."""
    extent = _extent(manifest, feeds)
    return extent["height"], extent["width"]


def _extent(manifest: Manifest, feeds: Arrays) -> dict[str, int]:
    tensor = next(tensor for tensor in manifest.inputs if tensor.is_spatial)
    return tensor.extent(feeds[tensor.name].shape)


def _is_large(height: int, width: int) -> bool:
    return height * width > LARGE**2


def _run(model: Model, feeds: Arrays, frugal: bool = False) -> NDArray[np.float32]:
    """Run a file on a picture or a tile; return the output (C, H, W), of the size that the manifest states."""
    extent = _extent(model.manifest, feeds)
    output = model(feeds, frugal=frugal)
    shape = model.manifest.outputs[0].sized(extent)
    if output.shape != shape:
        height, width = size_of(model.manifest, feeds)
        raise ModelFileError(
            "model.wrong-size", model.path, found=output.shape, stated=shape, width=width, height=height
        )
    made: NDArray[np.float32] = output[0]
    return made


def _by_memory(model: Model, height: int, width: int, around: int, share: float) -> int:
    tiling, memory, large = model.manifest.tiling, model.manifest.memory, _is_large(height, width)
    exact_tiles = large and tiling.kind == "exact"
    if memory is None:
        return LARGE if exact_tiles else 0
    free = NEARLY * share * available_memory()
    whole = forecast(memory, height, width, around)
    if large and not exact_tiles and whole <= free and model.graph.frugal_session() is None:
        whole = forecast(memory, height, width, around, arena=True)
    if whole <= free and not exact_tiles:
        return 0
    together = "" if share == 1 else f" for each of {round(1 / share)} photographs (--jobs)"
    sizes: dict[str, Any] = {"width": width, "height": height, "needed": _gib(whole), "free": _gib(free)}
    if tiling.kind == "none":
        raise ModelFileError("model.too-large", model.path, together=together, **sizes)
    left = free - memory.base - around * height * width
    side = math.isqrt(max(0, int(left / (ARENA * max(memory.per_pixel, 1.0)))))
    core = min(side - 2 * tiling.margin, LARGE) // tiling.align * tiling.align
    if core < tiling.align:
        raise ModelFileError("model.too-large-for-tiles", model.path, together=together, **sizes)
    return core


def _gib(count: float) -> str:
    return f"{count / 2**30:.2g} GiB"
