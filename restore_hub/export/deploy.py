"""Part of a chain, as one module with the inputs of a deployed file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restore_hub.errors import ExportError, reason_of
from restore_hub.export.entries import check_full_size, entry, has_full_size, input_entries, kind_of
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
    """Some blocks of a chain, from what they read to one tensor or several.

    Attributes:
        inputs, outputs: manifest entries, in the order of what `forward` takes and returns. Numbers come last.
        kind: `raw-to-rgb` when a mosaic goes in, `raw-to-raw` when one comes out too, `rgb-to-rgb` for one picture, all
            three with numbers beside it or not; `tensors` otherwise.
        size_multiple: the largest among the blocks.
        learnt: how many parameters they have.
    """

    def __init__(self, chain: Chain, blocks: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self._chain = chain
        self._blocks = tuple(name for name in chain.graph.order if name in blocks)
        made = {tensor for name in self._blocks for tensor in chain.outputs_of(name)}
        read = [tensor for name in self._blocks for tensor in chain.inputs_of(name).values() if tensor not in made]
        self._reads = sorted(dict.fromkeys(read), key=lambda tensor: not chain.ports[tensor].axes)  # numbers last
        pictures = [tensor for tensor in self._reads if chain.ports[tensor].axes]
        self._raw = any(chain.ports[tensor].space == "raw" for tensor in pictures)
        if self._raw and len(pictures) > 1:
            raise ExportError("export.raw-with-others", output=outputs[0], tensors=", ".join(pictures))
        self.kind = kind_of([chain.ports[tensor] for tensor in pictures], chain.ports[outputs[0]])
        self.inputs = input_entries(chain, self._blocks, self._reads, RAW_INPUTS if self._raw else [])
        self._outputs = list(outputs[:1] if self.kind == "raw-to-raw" else outputs)
        taken = [info.name for info in self.inputs]
        if self._raw and self.kind != "raw-to-raw":  # a mosaic's mirrored lines are cut off whole pixels
            check_full_size({name: chain.ports[name] for name in self._outputs})
        made_as = [MOSAIC_OUTPUT] if self.kind == "raw-to-raw" else []
        self.outputs = made_as or [entry(name, chain.ports[name], taken) for name in self._outputs]
        self.learnt = sum(p.numel() for name in self._blocks for p in chain.blocks[name].parameters())
        self.size_multiple = max(chain.network(name).size_multiple for name in self._blocks)
        self._on_planes = self._until_pictures()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the output tensors, of the picture's size."""
        if not self._raw:
            made = self._chain.run(self._blocks, dict(zip(self._reads, inputs, strict=True)))
            return tuple(made[name] for name in self._outputs)
        mosaic = inputs[: len(RAW_INPUTS)]
        numbers = dict(zip(self._reads[1:], inputs[len(RAW_INPUTS) :], strict=True))
        made = self._chain.run(self._blocks[: self._on_planes], {self._reads[0]: pack(*mosaic), **numbers})
        if self.kind == "raw-to-raw":
            return (unpack(made[self._outputs[0]], *mosaic),)
        # The mirrored lines go before the first block on pictures, which then sees what it sees in a file of its own.
        pictures = self._blocks[self._on_planes :]
        wanted = {*self._outputs, *(name for block in pictures for name in self._chain.inputs_of(block).values())}
        cut = {
            name: unpad(tensor, *mosaic[:2]) if self._chain.ports[name].spatial else tensor
            for name, tensor in made.items()
            if name in wanted
        }
        developed = self._chain.run(pictures, cut)
        return tuple(developed[name] for name in self._outputs)

    def run(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return what `forward` gives by name, without gradients, for sizes that training may never have met.

        Raises:
            ExportError: a block fails.
        """
        try:
            with torch.inference_mode():
                made = self(*inputs)
        except Exception as error:  # a plugin's block raises what it likes
            taken = zip(self.inputs, inputs, strict=True)
            size = next((info.extent(tensor.shape) for info, tensor in taken if info.is_spatial), {})
            height, width, blocks = size.get("height", 1), size.get("width", 1), ", ".join(self._blocks)
            raise ExportError(
                "export.cannot-run", blocks, height=height, width=width, cause=reason_of(error)
            ) from error
        return dict(zip((info.name for info in self.outputs), made, strict=True))

    def _until_pictures(self) -> int:
        """Return how many blocks, from the first, run until none reads planes of half the picture's size."""
        if self.kind == "raw-to-raw":
            return len(self._blocks)
        ports, inputs_of = self._chain.ports, self._chain.inputs_of
        return 1 + max(
            (i for i, b in enumerate(self._blocks) if any(ports[t].scale != 1.0 for t in inputs_of(b).values())),
            default=-1,
        )


def deployed_block(chain: Chain, block: str) -> Deployed:
    """Return one block, from its inputs to its first output and whatever others a file can hold."""
    first, *others = chain.outputs_of(block)
    raw = any(chain.ports[tensor].space == "raw" for tensor in chain.inputs_of(block).values())
    ports = {name: chain.ports[name] for name in others}
    held = [name for name, port in ports.items() if port.fixed and (has_full_size(port) or not raw)]
    return Deployed(chain, [block], [first, *held])


def deployed_chain(chain: Chain, output: str) -> Deployed:
    """Return all blocks that a tensor depends on, from the data to it."""
    return Deployed(chain, sorted(chain.graph.upstream([output])), [output])
