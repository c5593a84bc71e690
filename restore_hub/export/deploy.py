"""Part of a chain, as one module with the inputs of a deployed file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from restore_hub.contracts import Port
from restore_hub.errors import ExportError, reason_of
from restore_hub.export.raw_input import RAW_INPUTS, pack, unpack, unpad
from restore_hub.model.manifest import TensorInfo
from restore_hub.plan.chain import Chain

MOSAIC_OUTPUT = TensorInfo(
    name="denoised",
    shape=[1, 1, "height", "width"],
    space="raw",
    low=0.0,
    high=1.0,
    meaning="the mosaic with less noise: same size, phase and levels",
)


class Deployed(nn.Module):
    """Some blocks of a chain, from what they read to one tensor.

    Attributes:
        inputs: manifest entries, in the order of `forward`'s arguments.
        output: manifest entry.
        kind: `raw-to-rgb` when a mosaic goes in, `raw-to-raw` when one comes out too, `rgb-to-rgb` for one picture,
            `tensors` otherwise.
        size_multiple: the largest among the blocks.
        learnt: how many parameters they have.
    """

    def __init__(self, chain: Chain, blocks: Sequence[str], output: str) -> None:
        super().__init__()
        self._chain = chain
        self._blocks = tuple(name for name in chain.graph.order if name in blocks)
        self._output = output
        made = {tensor for name in self._blocks for tensor in chain.outputs_of(name)}
        read = [tensor for name in self._blocks for tensor in chain.inputs_of(name).values()]
        self._reads = [tensor for tensor in dict.fromkeys(read) if tensor not in made]
        self._raw = any(chain.ports[tensor].space == "raw" for tensor in self._reads)
        if self._raw and len(self._reads) > 1:
            raise ExportError("export.raw-with-others", output=output, tensors=", ".join(self._reads))
        self.inputs = list(RAW_INPUTS) if self._raw else [_info(name, chain.ports[name]) for name in self._reads]
        self.kind = self._kind(chain)
        self.output = MOSAIC_OUTPUT if self.kind == "raw-to-raw" else _info(output, chain.ports[output])
        self.learnt = sum(p.numel() for name in self._blocks for p in chain.blocks[name].parameters())
        self.size_multiple = max(chain.network(name).size_multiple for name in self._blocks)
        self._on_planes = self._until_pictures()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output tensor, of the picture's size."""
        if not self._raw:
            found: Tensor = self._chain.run(self._blocks, dict(zip(self._reads, inputs, strict=True)))[self._output]
            return found
        made = self._chain.run(self._blocks[: self._on_planes], {self._reads[0]: pack(*inputs)})
        if self.kind == "raw-to-raw":
            return unpack(made[self._output], *inputs)
        # The mirrored lines go before the first block on pictures, which then sees what it sees in a file of its own.
        pictures = self._blocks[self._on_planes :]
        wanted = {self._output, *(name for block in pictures for name in self._chain.inputs_of(block).values())}
        cut = {name: unpad(tensor, *inputs[:2]) for name, tensor in made.items() if name in wanted}
        developed: Tensor = self._chain.run(pictures, cut)[self._output]
        return developed

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return what `forward` gives, without gradients, for sizes that training may never have met.

        Raises:
            ExportError: a block fails.
        """
        try:
            with torch.inference_mode():
                made: Tensor = self(*inputs)
        except Exception as error:  # a plugin's block raises what it likes
            height, width = next(tensor.shape[2:] for tensor in inputs if tensor.dim() == 4)
            blocks = ", ".join(self._blocks)
            raise ExportError(
                "export.cannot-run", blocks, height=height, width=width, cause=reason_of(error)
            ) from error
        return made

    def _until_pictures(self) -> int:
        """Return how many blocks, from the first, run until none reads planes of half the picture's size."""
        if self.kind == "raw-to-raw":
            return len(self._blocks)
        ports, inputs_of = self._chain.ports, self._chain.inputs_of
        return 1 + max(
            (i for i, b in enumerate(self._blocks) if any(ports[t].scale != 1.0 for t in inputs_of(b).values())),
            default=-1,
        )

    def _kind(self, chain: Chain) -> Literal["raw-to-rgb", "raw-to-raw", "rgb-to-rgb", "tensors"]:
        picture = _is_picture(chain.ports[self._output])
        if self._raw and picture:
            return "raw-to-rgb"
        if self._raw and _is_planes(chain.ports[self._output]):
            return "raw-to-raw"
        if len(self._reads) == 1 and picture and _is_picture(chain.ports[self._reads[0]]):
            return "rgb-to-rgb"
        return "tensors"


def deployed_block(chain: Chain, block: str) -> Deployed:
    """Return one block, from its inputs to its first output."""
    return Deployed(chain, [block], chain.outputs_of(block)[0])


def deployed_chain(chain: Chain, output: str) -> Deployed:
    """Return all blocks that a tensor depends on, from the data to it."""
    return Deployed(chain, sorted(chain.graph.upstream([output])), output)


def _is_picture(port: Port) -> bool:
    return port.channels == 3 and port.space == "srgb" and port.scale == 1.0


def _is_planes(port: Port) -> bool:
    return port.channels == 4 and port.space == "raw" and port.scale == 0.5


def _info(name: str, port: Port) -> TensorInfo:
    if port.channels is None:
        raise ExportError("export.no-fixed-channels", tensor=name)
    if port.scale != 1.0:
        raise ExportError("export.not-full-size", tensor=name, scale=port.scale)
    return TensorInfo(
        name=name.removeprefix("data."),
        shape=[1, port.channels, "height", "width"],
        space=port.space,
        low=port.low,
        high=port.high,
    )
