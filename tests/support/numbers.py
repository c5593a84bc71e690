"""Specs of the test plugins `ffdnet` and `kinds`, and a denoiser trained by a spec with its noise level in the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from restore_hub import run
from restore_hub.export import deployed_block, deployed_chain, export_onnx
from restore_hub.plan import Chain, Plan, build_chain, make_plan
from restore_hub.plan.weights import load_checkpoint
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from support import ROOT
from support.once import made_once

PLUGINS = [ROOT / "tests" / "support" / f"{name}.py" for name in ("ffdnet", "kinds")]
DENOISE = """
name: denoise
data:
  train: {dataset: ffdnet/noisy, batch_size: 2}
  upper: {dataset: ffdnet/noisy, seed: 2, batch_size: 2}
  holdout: {dataset: ffdnet/noisy, seed: 1, count: 2, side: 21}
blocks:
  denoise: {network: ffdnet/net, width: 8, depth: 3, inputs: {image: data.noisy, sigma: data.sigma}, outputs: [clean]}
objectives:
  error: {loss: l1, inputs: {prediction: clean, target: data.rgb}}
stages:
  - {solver: joint, steps: 8, blocks: [denoise], objective: error, data: train, lr: 0.01}
metrics: [psnr]
export: {chain: clean, licence: MIT}
"""
MakeSpec = Callable[..., Plan]
Export = Callable[..., Path]


def plan_of(folder: Path, text: str, *overrides: str) -> Plan:
    """Return the plan of a spec that may name the test plugins' components."""
    (folder / "spec.yaml").write_text(text)
    return make_plan(read_spec(folder / "spec.yaml", overrides), default_registry(PLUGINS))


def blocks_of(*blocks: str) -> str:
    """Return a spec of blocks alone."""
    return "\n".join(["name: blocks", "blocks:", *(f"  {block}" for block in blocks)])


@pytest.fixture
def make_spec(tmp_path: Path) -> MakeSpec:
    """Return a function that plans a spec, given as text, with overrides."""

    def make(text: str = DENOISE, *overrides: str) -> Plan:
        return plan_of(tmp_path, text, *overrides)

    return make


def exported(folder: Path, name: str, chain: Chain | str, *, block: str = "", tensor: str = "") -> Path:
    """Export a block or the chain up to a tensor, of a chain or of a text of blocks with the same weights each time."""
    if isinstance(chain, str):
        torch.manual_seed(0)
        chain = build_chain(plan_of(folder, chain)).eval()
    module = deployed_block(chain, block) if block else deployed_chain(chain, tensor)
    export_onnx(module, folder / name, name=f"t/{name}", licence="MIT", metrics={}, provenance={})
    return folder / name


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Return `exported` into the test's folder."""
    return partial(exported, tmp_path)


@dataclass(frozen=True, slots=True)
class Denoised:
    """FFDNet, trained a few steps: the network and the exported chain."""

    network: nn.Module
    file: Path

    def pytorch(self, picture: np.ndarray, sigma: float) -> np.ndarray:
        """Return what PyTorch gives for a picture (1, 3, H, W)."""
        with torch.inference_mode():
            return self.network(torch.from_numpy(picture), torch.tensor([sigma])).numpy()


@pytest.fixture(scope="session")
def denoised(tmp_path_factory: pytest.TempPathFactory) -> Denoised:
    """Return FFDNet, trained by the spec above."""

    def make(folder: Path) -> None:
        plan_of(folder, DENOISE)
        run(folder / "spec.yaml", plugins=PLUGINS, out=folder / "run")

    folder = made_once(tmp_path_factory, "denoised", make)
    chain = build_chain(make_plan(read_spec(folder / "spec.yaml"), default_registry(PLUGINS))).eval()
    load_checkpoint(chain.blocks, folder / "run" / "checkpoints" / "last.pt")
    return Denoised(chain.blocks["denoise"], folder / "run" / "export" / "chain.onnx")
