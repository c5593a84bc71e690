"""Loads the weights of blocks from files: checkpoints of runs and published state dicts."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from restore_hub.errors import DataError

if TYPE_CHECKING:
    from restore_hub.plan.chain import Chain
    from restore_hub.plan.plan import Plan


def load_weights(block: nn.Module, name: str, path: Path, alone: bool = False) -> None:
    """Load a block's weights, strictly, from a checkpoint of a run or from a plain state dict.

    Only tensors are read (`weights_only`): a file can't run code.

    Args:
        block: takes them on.
        name: of the block in the checkpoint.
        path: the file.
        alone: whether the only block of a checkpoint may have another name.

    Raises:
        DataError: the file can't be read, or its tensors aren't those of the block.
    """
    state = _state(name, path, alone)
    if any(parameter.is_meta for parameter in block.parameters()):  # torch would warn that the values are lost
        state = {key: value.to("meta") if isinstance(value, torch.Tensor) else value for key, value in state.items()}
    try:
        block.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise DataError("data.weights-misfit", path, block=name, cause=first[0].strip()) from None


def load_block_weights(plan: Plan, chain: Chain) -> None:
    """Load the `weights` that blocks of a spec name; on the meta device this only checks that they fit.

    Raises:
        SpecError: a file that is missing or doesn't fit.
    """
    for name, block in plan.spec.blocks.items():
        if block.weights is not None:
            try:
                load_weights(chain.blocks[name], name, Path(block.weights))
            except DataError as error:
                raise plan.networks[name].located(error, "weights") from None


def load_checkpoint(blocks: nn.ModuleDict, path: Path) -> dict[str, Any]:
    """Load every block's weights from a checkpoint of a run; return the facts saved with them (step, holdout)."""
    for name, block in blocks.items():
        load_weights(block, name, path)
    about: dict[str, Any] = _content(path)["about"]
    return about


def _content(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError("data.no-weights-file", path) from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError):
        # torch's own text advises to load without `weights_only`, which would run code from the file.
        raise DataError("data.weights-unreadable", path) from None


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return a hash of weights by name; empty if there are none."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:12] if weights else ""


def _state(name: str, path: Path, alone: bool) -> dict[str, Any]:
    content = _content(path)
    if isinstance(content, dict) and isinstance(content.get("blocks"), dict):
        blocks = content["blocks"]
        if alone and len(blocks) == 1:
            (name,) = blocks
        if name not in blocks:
            raise DataError("data.weights-of-others", path, block=name, known=", ".join(blocks))
        content = blocks[name]
    if not isinstance(content, dict):
        raise DataError("data.no-state-dict", path, got=type(content).__name__)
    return content
