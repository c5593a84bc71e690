"""A generative adversarial network on a ring of Gaussians, as two entries of `levels`, with Adam's betas."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_hub import run
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support.plugin_files import WritePlugin

PLUGIN = '''
import math
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus
from restore_hub import hookimpl

class Ring:
    """Eight Gaussians on a circle; energies are the non-saturating losses of both players."""
    metrics = {"off": False, "modes": True}

    def __init__(self, width: int = 64) -> None:
        def network(inputs, outputs):
            inner = nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
            return nn.Sequential(*inner, nn.Linear(width, outputs))
        self.blocks = nn.ModuleDict({"generator": network(2, 2), "discriminator": network(2, 1)})
        self.energies = {"deceive": self.deceive, "tell": self.tell}
        self.splits = {"noise": 128, "real": 128}
        angles = torch.arange(8) * math.pi / 4
        self._modes = 2 * torch.stack([angles.cos(), angles.sin()], 1)

    def batch(self, split, seed, index):
        g = torch.Generator().manual_seed((seed + 7919 * index) % 2**31)
        real = self._modes[torch.randint(8, (128,), generator=g)] + 0.02 * torch.randn(128, 2, generator=g)
        return {"noise": torch.randn(128, 2, generator=g), "real": real}

    def _call(self, name, variables, x):
        return functional_call(self.blocks[name], dict(variables[name]), (x,))

    def deceive(self, v, batch):
        made = self._call("generator", v, batch["noise"])
        return softplus(-self._call("discriminator", v, made)).sum(), len(made)

    def tell(self, v, batch):
        made = self._call("generator", v, batch["noise"])
        real, false = (self._call("discriminator", v, x) for x in (batch["real"], made))
        return (softplus(-real) + softplus(false)).sum(), len(made)

    def measure(self):
        with torch.no_grad():
            made = self.blocks["generator"](torch.randn(512, 2, generator=torch.Generator().manual_seed(1)))
        distance, nearest = torch.cdist(made, self._modes).min(1)
        return {"off": float(distance.mean()), "modes": float(len(nearest[distance < 0.4].unique()))}

@hookimpl
def register_problems(register):
    register("ring", "{stem}:Ring", summary="A ring of Gaussians")
'''
SPEC = """
name: ring
problem: {problem: a-ring/ring}
stages:
  - solver: SOLVER
    steps: 1
    levels:
      - blocks: [generator]
        objective: deceive
        data: noise
        lr: 1e-3
        optimizer: {optimizer: adam, betas: [0.5, 0.999]}
      - blocks: [discriminator]
        objective: tell
        data: real
        lr: 1e-3
        steps: 2
        optimizer: {optimizer: adam, betas: [0.5, 0.9]}
metrics: [off, modes]
"""


@pytest.mark.parametrize("solver", ["alternating", "rhg"])
def test_the_samples_come_to_the_ring(write_plugin: WritePlugin, tmp_path: Path, solver: str) -> None:
    """After 300 steps they lie several times nearer to the modes than at first."""
    plugin, spec = write_plugin("a_ring", PLUGIN), tmp_path / "ring.yaml"
    spec.write_text(SPEC.replace("SOLVER", solver))
    before = run(spec, plugins=[plugin], out=tmp_path / "one", quiet=True)
    after = run(spec, plugins=[plugin], out=tmp_path / "more", overrides=["stages.0.steps=300"], quiet=True)
    assert after.metrics["off"] < before.metrics["off"] / 2
    assert after.metrics["modes"] > before.metrics["modes"]


def test_each_level_has_its_own_betas(write_plugin: WritePlugin, tmp_path: Path) -> None:
    plugin, spec = write_plugin("a_ring", PLUGIN), tmp_path / "ring.yaml"
    spec.write_text(SPEC.replace("SOLVER", "alternating"))
    stepper = Stepper(set_up(spec, [], [plugin], "cpu"), 0)
    assert [list(o.param_groups[0]["betas"]) for o in stepper._optimizers] == [[0.5, 0.999], [0.5, 0.9]]
