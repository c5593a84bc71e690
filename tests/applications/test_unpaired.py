"""A lower level trains on photographs without references, through a loss that needs none: the heart of BGL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restore_hub import run
from restore_hub.plan import make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.train.setup import set_up
from restore_hub.train.stepper import Stepper
from support import LOWLIGHT, refused
from support.plugin_files import WritePlugin
from support.runs import journal

PLUGIN = '''
import numpy as np
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Dark:
    """Packed RAW planes alone, four of them."""
    ports = {"raw": Port(4, "raw", scale=0.5)}

    def __init__(self, side: int = 16) -> None:
        self.side = side

    def __len__(self):
        return 4

    def files(self, index):
        return ()

    def sample(self, index, rng):
        drawn = np.random.default_rng(index).random((4, self.side // 2, self.side // 2))
        return {"raw": (0.3 * drawn).astype(np.float32)}

@hookimpl
def register_datasets(register):
    register("dark", "{stem}:Dark", summary="Dark photographs")
'''
UNPAIRED = [
    "data.train={dataset: no-references/dark, batch_size: 2}",
    "stages.0.data=upper",
    "stages.1.lower.objective=retinex",
]


@pytest.fixture
def overrides(small: list[str]) -> list[str]:
    return [*(change for change in small if not change.startswith("data.train.")), *UNPAIRED]


def test_a_run_whose_lower_level_has_no_references(
    overrides: list[str], write_plugin: WritePlugin, tmp_path: Path
) -> None:
    plugin = write_plugin("no_references", PLUGIN)
    result = run(LOWLIGHT, overrides=overrides, plugins=[plugin], out=tmp_path / "r", quiet=True)
    assert [stage.steps for stage in result.stages] == [3, 2]
    assert all(value["loss/lower"] > 0 for value in journal(tmp_path / "r") if "loss/lower" in value)


def test_each_level_reads_what_its_objective_needs(overrides: list[str], write_plugin: WritePlugin) -> None:
    setup = set_up(LOWLIGHT, overrides, [write_plugin("no_references", PLUGIN)], "cpu")
    stepper = Stepper(setup, 1)
    batches = stepper._feed.batches(0)
    assert (set(batches.upper.tensors), set(batches.lower[0].tensors)) == ({"raw", "rgb"}, {"raw"})
    pair = stepper._seen[0]
    # The gradient is that of the self-supervised loss on the lower batch alone.
    x = pair.couple(batches.lower[0])
    wires = setup.trainable.chain({"data.raw": batches.lower[0]["raw"]})  # type: ignore[attr-defined]
    loss = setup.trainable.objectives.value({"retinex": 1.0}, wires)  # type: ignore[attr-defined]
    assert pair.lower(x, pair.omega, batches.lower[0]).item() == pytest.approx(loss.item(), rel=1e-6)
    assert all(torch.isfinite(tensor).all() for tensor in x)


def test_an_objective_that_needs_references_is_refused_where_there_are_none(
    overrides: list[str], write_plugin: WritePlugin
) -> None:
    registry = default_registry([write_plugin("no_references", PLUGIN)])
    with refused("spec.no-data-tensor", "objectives.fidelity.inputs.target", split="train", tensor="data.rgb"):
        make_plan(read_spec(LOWLIGHT, [*overrides, "stages.0.data=train"]), registry)
    make_plan(read_spec(LOWLIGHT, overrides), registry)


def test_a_name_that_means_two_things_is_refused(overrides: list[str], write_plugin: WritePlugin) -> None:
    from restore_hub.plan import build_chain

    plugin = write_plugin("no_references", PLUGIN.replace('"raw", scale=0.5', '"raw", scale=1.0'))
    with refused("spec.splits-differ", "data", tensor="data.raw"):
        build_chain(make_plan(read_spec(LOWLIGHT, overrides), default_registry([plugin])), "meta")
