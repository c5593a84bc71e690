"""Weights from files into blocks: our own checkpoints and published state dicts."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restore_hub.errors import DataError
from restore_hub.plan.chain import Chain
from restore_hub.plan.plan import Plan


def load_weights(block: nn.Module, name: str, path: Path) -> None:
    """Load a block's weights, strictly, from a checkpoint of a run or from a plain state dict.

    Only tensors are read (`weights_only`): a file cannot run code.

    Raises:
        DataError: the file cannot be read, or its tensors are not those of the block.
    """
    state = _state(name, path)
    if any(parameter.is_meta for parameter in block.parameters()):  # torch warns that values are lost there
        state = {key: value.to("meta") if isinstance(value, torch.Tensor) else value for key, value in state.items()}
    try:
        block.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise DataError(f"{path} does not fit block {name!r}: {first[0].strip()}") from None


def load_block_weights(plan: Plan, chain: Chain) -> None:
    """Load the `weights` that blocks of a spec name; on the meta device this only checks that they fit.

    Raises:
        SpecError: a file that is not there or does not fit, at its place.
    """
    for name, block in plan.spec.blocks.items():
        if block.weights is not None:
            try:
                load_weights(chain.blocks[name], name, Path(block.weights))
            except DataError as error:
                raise plan.document.error(str(error), "blocks", name, "weights") from None


def load_checkpoint(blocks: nn.ModuleDict, path: Path) -> dict[str, Any]:
    """Load every block's weights from a checkpoint of a run; return the facts saved with them (step, holdout)."""
    for name, block in blocks.items():
        load_weights(block, name, path)
    about: dict[str, Any] = _content("", path)["about"]
    return about


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content(name: str, path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"weights of block {name!r}: no such file: {path}") from None
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError):
        # torch's own text advises to load without `weights_only`, which would run code from the file.
        raise DataError(f"weights of block {name!r}: {path} is no file of tensors that torch can read") from None


def _state(name: str, path: Path) -> dict[str, Any]:
    content = _content(name, path)
    if isinstance(content, dict) and isinstance(content.get("blocks"), dict):
        if name not in content["blocks"]:
            raise DataError(f"{path} holds the blocks {', '.join(content['blocks'])}, not {name!r}")
        content = content["blocks"][name]
    if not isinstance(content, dict):
        raise DataError(f"weights of block {name!r}: {path} holds {type(content).__name__}, not a state dict")
    return content
