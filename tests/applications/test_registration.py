"""Learned registration in 2-D and 3-D by one network: a field of displacements, and how smooth it is learned above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import restore_hub
from restore_hub import run
from restore_hub.plugins import default_registry
from restore_hub.testing import check_network
from support import refused
from support.plugin_files import WritePlugin

PLUGIN = '''
import numpy as np
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

AXES = {2: ("channel", "y", "x"), 3: ("channel", "z", "y", "x")}

def image(dims):
    return Port(1, "map", axes=AXES[dims])

def field(dims):
    """Displacements in pixels, the last axis first as `grid_sample` has them."""
    return Port(dims, "map", -8, 8, axes=AXES[dims])

class Register(nn.Module):
    """One displacement for the whole image, and what each pixel adds to it."""
    size_multiple = 1

    def __init__(self, dims: int = 2, width: int = 16) -> None:
        super().__init__()
        self.inputs, self.outputs = {"moving": image(dims), "fixed": image(dims)}, {"field": field(dims)}
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.body = nn.Sequential(
            conv(2, width, 3, padding=1), nn.SiLU(), conv(width, width, 3, padding=1), nn.SiLU(),
            conv(width, width, 3, padding=2, dilation=2), nn.SiLU())
        self.each, self.whole = conv(width, dims, 1), conv(width, dims, 1)

    def forward(self, moving, fixed):
        made = self.body(torch.cat([moving, fixed - moving], 1))
        mean = made.mean(tuple(range(2, made.ndim)), keepdim=True)
        return self.each(made) + 10 * self.whole(mean)

class Warp(nn.Module):
    """Takes each pixel of the moving image from where its displacement points."""
    size_multiple = 1

    def __init__(self, dims: int = 2) -> None:
        super().__init__()
        self.inputs, self.outputs = {"moving": image(dims), "field": field(dims)}, {"moved": image(dims)}

    def forward(self, moving, field):
        sizes = moving.shape[2:]
        axes = [torch.arange(n, dtype=field.dtype, device=field.device) for n in sizes]
        at = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1]) + field
        scaled = [(2 * at[:, i] + 1) / n - 1 for i, n in enumerate(reversed(sizes))]
        return nn.functional.grid_sample(
            moving, torch.stack(scaled, -1), padding_mode="border", align_corners=False)

class Strength(nn.Module):
    """How much smoothness counts: one parameter, the same for every image."""
    size_multiple, outputs = 1, {"strength": Port.number(0, 100)}

    def __init__(self, dims: int = 2, start: float = 1.0) -> None:
        super().__init__()
        self.inputs = {"image": image(dims)}
        self.logarithm = nn.Parameter(torch.tensor(start).log())

    def forward(self, image):
        return self.logarithm.exp().expand(len(image))

class Similarity:
    def __call__(self, moved, fixed):
        return 100 * (moved - fixed).square().sum(), fixed.numel()

class Smoothness:
    def __call__(self, field, strength):
        steps = [field.diff(dim=axis).square().flatten(1).mean(1) for axis in range(2, field.ndim)]
        return (strength * torch.stack(steps).sum(0)).sum(), len(field)

class Error:
    """How far displacements are from the true ones."""
    def __call__(self, field, truth):
        return (field - truth).square().sum(), truth.numel()

class EndPointError:
    """Mean distance of displacements from the true ones, in pixels."""
    higher_is_better = False

    def __call__(self, field, truth):
        return float(np.sqrt(np.square(field - truth).sum(0)).mean())

class Blobs:
    """The same blobs twice, moved by up to two pixels along each axis."""

    def __init__(self, seed: int = 0, count: int = 128) -> None:
        self.seed, self.count = seed, count

    def __len__(self):
        return self.count

    def files(self, index):
        return ()

    def sample(self, index, rng):
        drawn = np.random.default_rng((self.seed, index))
        shift = drawn.uniform(-2, 2, len(self.sizes))
        centres, signs = drawn.random((8, len(self.sizes))) * self.sizes, drawn.uniform(0.3, 1, 8)
        at = np.stack(np.meshgrid(*map(np.arange, self.sizes), indexing="ij"), -1)
        blobs = [[s * np.exp(-np.square(at + t - c).sum(-1) / 20) for c, s in zip(centres, signs)] for t in (0, shift)]
        truth = np.broadcast_to(shift[::-1].reshape(-1, *[1] * len(shift)), (len(shift), *self.sizes))
        moving, fixed = (sum(each)[None].astype(np.float32) for each in blobs)
        return {"moving": moving, "fixed": fixed, "truth": truth.astype(np.float32)}

class Blobs2(Blobs):
    ports, sizes = {"moving": image(2), "fixed": image(2), "truth": field(2)}, (16, 20)

class Blobs3(Blobs):
    ports, sizes = {"moving": image(3), "fixed": image(3), "truth": field(3)}, (8, 10, 12)

@hookimpl
def register_networks(register):
    register("register", "{stem}:Register", summary="Displacements between two images")
    register("warp", "{stem}:Warp", summary="An image moved by displacements")
    register("strength", "{stem}:Strength", summary="One number")

@hookimpl
def register_losses(register):
    register("similarity", "{stem}:Similarity", summary="Squared differences")
    register("smoothness", "{stem}:Smoothness", summary="Squared differences of neighbouring displacements")
    register("error", "{stem}:Error", summary="Squared error of displacements")

@hookimpl
def register_metrics(register):
    register("epe", "{stem}:EndPointError", summary="End-point error")

@hookimpl
def register_datasets(register):
    register("blobs2", "{stem}:Blobs2", summary="Pictures of blobs")
    register("blobs3", "{stem}:Blobs3", summary="Volumes of blobs")
'''
SPEC = """
name: registration
data:
  train: {dataset: moving/blobsN, batch_size: 8}
  upper: {dataset: moving/blobsN, seed: 1, batch_size: 4}
  holdout: {dataset: moving/blobsN, seed: 2, count: 6}
blocks:
  strength: {network: moving/strength, dims: N, start: START, inputs: {image: data.moving}, outputs: [strength]}
  register: {network: moving/register, dims: N, inputs: {moving: data.moving, fixed: data.fixed}, outputs: [field]}
  warp: {network: moving/warp, dims: N, inputs: {moving: data.moving, field: field}, outputs: [moved]}
objectives:
  similar: {loss: moving/similarity, inputs: {moved: moved, fixed: data.fixed}}
  smooth: {loss: moving/smoothness, inputs: {field: field, strength: strength}}
  error: {loss: moving/error, inputs: {field: field, truth: data.truth}}
stages:
  - solver: ibgl
    steps: 80
    upper: {blocks: [strength], objective: error, data: upper, lr: 3e-2}
    lower: {blocks: [register], objective: {similar: 1, smooth: 1}, data: train, lr: 5e-3, steps: 3}
metrics: {epe: {metric: moving/epe, inputs: {field: field, truth: data.truth}}}
"""
Files = tuple[Path, Path]


@pytest.fixture
def files(write_plugin: WritePlugin, tmp_path: Path) -> Files:
    return tmp_path / "registration.yaml", write_plugin("moving", PLUGIN)


def kind(role: str, name: str, plugin: Path) -> Any:
    """Return the plugin's class of a name."""
    return default_registry([plugin]).find(role, f"moving/{name}").load()


def last(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the last weights of a run, by block."""
    blocks: dict[str, dict[str, torch.Tensor]] = torch.load(folder / "checkpoints" / "last.pt")["blocks"]
    return blocks


def written(path: Path, dims: int, start: float = 1.0) -> Path:
    path.write_text(SPEC.replace("N,", f"{dims},").replace("START", str(start)).replace("blobsN", f"blobs{dims}"))
    return path


@pytest.mark.parametrize(("dims", "steps"), [(2, 50), (3, 20)])
def test_it_learns_without_the_truth_below(files: Files, tmp_path: Path, dims: int, steps: int) -> None:
    """All pixels move alike, so the upper level, which knows the truth, wants more smoothness."""
    spec, plugin = written(files[0], dims), files[1]
    first = run(spec, plugins=[plugin], overrides=["stages.0.steps=1"], out=tmp_path / "1", quiet=True)
    result = run(spec, plugins=[plugin], overrides=[f"stages.0.steps={steps}"], out=tmp_path / "r", quiet=True)
    assert first.metrics["epe"] > 1.5
    assert result.metrics["epe"] < 1
    assert last(tmp_path / "r")["strength"]["logarithm"] > 0.3


def test_its_displacements_are_measured_as_they_are(files: Files, tmp_path: Path) -> None:
    """Nothing is clipped or rounded: the mean distance is what the file gives of the same samples."""
    spec, plugin = written(files[0], 3), files[1]
    overrides = ["stages.0.steps=1", "export={blocks: [register]}"]
    result = run(spec, plugins=[plugin], overrides=overrides, out=tmp_path / "r", quiet=True)
    data, model = kind("dataset", "blobs3", plugin)(seed=2, count=6), restore_hub.load(result.exported[0])
    errors = []
    for sample in (data.sample(index, None) for index in range(6)):
        (field,) = model({name: sample[name][None] for name in ("moving", "fixed")})
        assert field.shape == (3, 8, 10, 12)
        errors.append(np.linalg.norm(field - sample["truth"], axis=0).mean())
    assert result.metrics["epe"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_a_warped_volume_comes_out_of_a_file(files: Files, tmp_path: Path) -> None:
    """onnxruntime's CPU runs GridSample on volumes, so the whole chain is one file."""
    spec, plugin = written(files[0], 3), files[1]
    overrides = ["stages.0.steps=1", "export={chain: moved}"]
    (file,) = run(spec, plugins=[plugin], overrides=overrides, out=tmp_path / "r", quiet=True).exported
    sample = kind("dataset", "blobs3", plugin)(seed=2).sample(0, None)
    (moved,) = restore_hub.load(file)({name: sample[name][None, :, :5] for name in ("moving", "fixed")})
    assert moved.shape == (1, 5, 10, 12)
    assert np.ptp(moved) > 0.1


@pytest.mark.parametrize("dims", [2, 3])
def test_the_true_displacements_make_the_images_equal(files: Files, dims: int) -> None:
    sample = kind("dataset", f"blobs{dims}", files[1])().sample(0, None)
    moving, truth, fixed = (torch.from_numpy(sample[name])[None] for name in ("moving", "truth", "fixed"))
    inside = (..., *[slice(2, -2)] * dims)
    moved = kind("network", "warp", files[1])(dims)(moving, truth)
    assert (moved - fixed)[inside].abs().mean() < 0.2 * (moving - fixed)[inside].abs().mean()


@pytest.mark.parametrize(("name", "dims"), [("register", 2), ("warp", 3)])
def test_its_networks_pass_the_conformance_kit(files: Files, name: str, dims: int) -> None:
    check_network(kind("network", name, files[1]), dims=dims)


def test_pictures_do_not_fit_a_network_of_volumes(files: Files, tmp_path: Path) -> None:
    spec, plugin = written(files[0], 2), files[1]
    with refused("spec.port-misfit", "blocks.register.inputs.moving"):
        run(spec, plugins=[plugin], overrides=["blocks.register.dims=3"], out=tmp_path / "r", quiet=True)
