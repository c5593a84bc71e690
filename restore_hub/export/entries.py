"""What a manifest says of the tensors of a chain: the inputs and outputs of an exported file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from restore_hub.contracts import Port
from restore_hub.errors import ExportError
from restore_hub.model.manifest import SIZES, TensorInfo
from restore_hub.plan.chain import Chain
from restore_hub.spec import DATA


def kind_of(pictures: Sequence[Port], output: Port) -> Literal["raw-to-rgb", "raw-to-raw", "rgb-to-rgb", "tensors"]:
    """Return the kind of a file by what it takes, apart from numbers, and its first output."""
    raw, picture = any(port.space == "raw" for port in pictures), _is_picture(output)
    if raw and picture:
        return "raw-to-rgb"
    if raw and output.channels == 4 and output.space == "raw" and output.scale == 0.5:
        return "raw-to-raw"
    if picture and len(pictures) == 1 and _is_picture(pictures[0]):
        return "rgb-to-rgb"
    return "tensors"


def input_entries(
    chain: Chain, blocks: Sequence[str], reads: Sequence[str], raw: Sequence[TensorInfo]
) -> list[TensorInfo]:
    """Return the entries of what blocks of a chain read.

    Args:
        chain: the blocks.
        blocks: those to export.
        reads: the tensors that they read, numbers last.
        raw: what stands for the first tensor if it's RAW.

    Raises:
        ExportError: no file can hold one.
    """
    found = list(raw)
    for tensor in reads[1:] if raw else reads:
        port = chain.ports[tensor]
        check_full_size({tensor: port})
        taken = [info.name for info in found]
        found.append(entry(tensor, port) if port.axes else _number(chain, blocks, tensor, taken))
    return found


def entry(tensor: str, port: Port, taken: Collection[str] = ()) -> TensorInfo:
    """Return the entry of a tensor, under a name that isn't taken.

    Raises:
        ExportError: no file can hold it.
    """
    if not port.fixed:
        raise ExportError("export.no-fixed-shape", tensor=tensor, port=port.describe())
    name = tensor.removeprefix(DATA)
    sizes: Mapping[str, Any] = {**SIZES, **port.sizes, "channel": port.channels}
    return TensorInfo(
        name=f"{name}_out" if name in taken else name,
        dtype=port.dtype,
        shape=[1, *(sizes[axis] for axis in port.axes)],
        scale=port.scale if port.spatial else 1.0,
        space=port.space,
        low=port.low,
        high=port.high,
    )


def has_full_size(port: Port) -> bool:
    """Whether a tensor has the picture's size, or doesn't depend on it."""
    return port.scale == 1.0 or not port.spatial


def check_full_size(ports: Mapping[str, Port]) -> None:
    """Refuse tensors of another size than the picture's.

    Raises:
        ExportError: the first one.
    """
    for tensor, port in ports.items():
        if not has_full_size(port):
            raise ExportError("export.not-full-size", tensor=tensor, scale=port.scale)


def _number(chain: Chain, blocks: Sequence[str], tensor: str, taken: Collection[str]) -> TensorInfo:
    """Return the entry of a number: the port that takes it says its range, and the spec or the port its default."""
    block, name = next((b, port) for b in blocks for port, read in chain.inputs_of(b).items() if read == tensor)
    port, short = chain.network(block).inputs[name], tensor.rpartition(".")[2]
    default = chain.numbers.get(tensor, port.default)
    return TensorInfo(
        name=f"{block}.{name}" if short in taken else short,
        dtype=port.dtype,
        shape=[1],
        low=port.low,
        high=port.high,
        default=None if default is None else [default],
    )


def _is_picture(port: Port) -> bool:
    return port.is_picture and port.channels == 3 and port.space == "srgb" and port.scale == 1.0
