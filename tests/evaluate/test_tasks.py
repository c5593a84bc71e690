"""Metrics of class maps, points, numbers, fields and grey pictures, through a spec from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restore_hub import run
from restore_hub.export.quantise import open_judge
from restore_hub.photo.pictures import read_picture
from restore_hub.plan import make_plan
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from restore_hub.testing import check_metric
from restore_hub.train.setup import Setup, set_up
from support import refused

PLUGIN = '''
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from restore_hub import hookimpl
from restore_hub.contracts import Port
from restore_hub.ragged import Ragged

CLASSES = 9
POINTS = Port.several("point", 0, 15, coordinate=2)

class Scenes:
    """Noise with bright points, a class for each pixel, a field of displacements, and the strength of the noise."""
    ports = {
        "image": Port(3), "grey": Port(1, "linear"), "classes": Port.classes(CLASSES), "points": POINTS,
        "flow": Port(2, "map", -8, 8), "sigma": Port.number(),
    }

    def __init__(self, first: int = 0, count: int = 4) -> None:
        self.first, self.count = first, count

    def __len__(self):
        return self.count

    def files(self, index):
        return ()

    def sample(self, index, rng):
        rng = np.random.default_rng(self.first + index)
        sigma = np.float32(0.1 + 0.1 * index)
        image = np.float32(0.4) * rng.random((3, 16, 16), dtype=np.float32)
        points = np.unique(rng.integers(0, 16, (index, 2)), axis=0).astype(np.float32)
        image[0, points[:, 0].astype(int), points[:, 1].astype(int)] = 1
        return {
            "image": image, "grey": image[:1], "classes": rng.integers(0, CLASSES, (16, 16)), "points": points,
            "flow": rng.uniform(-8, 8, (2, 16, 16)).astype(np.float32), "sigma": sigma,
        }

class Heads(nn.Module):
    inputs = {"image": Port(3)}
    outputs = {
        "logits": Port(CLASSES, "map"), "classes": Port.classes(CLASSES), "points": POINTS,
        "flow": Port(2, "map", -8, 8), "grey": Port(1, "linear"), "sigma": Port.number(),
    }
    size_multiple = 1

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, CLASSES + 2, 3, padding=1)

    def forward(self, image):
        made = self.body(image)
        points = Ragged.of([torch.nonzero(one[0] > 0.5).float()[:2] for one in image])  # misses the third
        logits, flow = made[:, :CLASSES], 20 * made[:, CLASSES:]
        return logits, logits.argmax(1), points, flow, image[:, :1] * 0.5, image.std((1, 2, 3))

class CrossEntropy:
    def __call__(self, prediction, target):
        return cross_entropy(prediction, target, reduction="sum"), target.numel()

class MeanIou:
    """Mean over the classes of intersection over union, from one confusion matrix of all samples."""
    higher_is_better = True

    def __init__(self) -> None:
        self.confusion = np.zeros((CLASSES, CLASSES))

    def update(self, prediction, target):
        assert prediction.dtype == target.dtype == np.int64 and prediction.shape == target.shape == (16, 16)
        np.add.at(self.confusion, (target.ravel(), prediction.ravel()), 1)

    def compute(self):
        both = np.diag(self.confusion)
        any_ = self.confusion.sum(0) + self.confusion.sum(1) - both
        return float((both[any_ > 0] / any_[any_ > 0]).mean())

class Recall:
    """Share of all points that were found."""
    higher_is_better = True

    def __init__(self) -> None:
        self.found = self.there = 0

    def update(self, found, target):
        assert found.shape[1:] == target.shape[1:] == (2,)
        self.found += len({*map(tuple, found.tolist())} & {*map(tuple, target.tolist())})
        self.there += len(target)

    def compute(self):
        return self.found / self.there

class EndpointError:
    """Mean distance of displacements, in pixels."""
    higher_is_better = False

    def __call__(self, prediction, target):
        assert prediction.dtype == target.dtype == np.float32
        return float(np.sqrt(((prediction - target) ** 2).sum(0)).mean())

class Difference:
    higher_is_better = False

    def __call__(self, prediction, target):
        assert prediction.shape == target.shape == ()
        return float(abs(prediction - target))

class Fails(Recall):
    def compute(self):
        raise ZeroDivisionError("no points")

@hookimpl
def register_datasets(register):
    register("scenes", "{stem}:Scenes", summary="Scenes")

@hookimpl
def register_networks(register):
    register("heads", "{stem}:Heads", summary="Several outputs")

@hookimpl
def register_losses(register):
    register("entropy", "{stem}:CrossEntropy", summary="Cross entropy")

@hookimpl
def register_metrics(register):
    register("miou", "{stem}:MeanIou", summary="Mean IoU")
    register("recall", "{stem}:Recall", summary="Recall")
    register("epe", "{stem}:EndpointError", summary="Endpoint error")
    register("difference", "{stem}:Difference", summary="Difference of numbers")
    register("fails", "{stem}:Fails", summary="Fails")
'''
SPEC = """
name: heads
data:
  train: {dataset: {stem}/scenes, first: 100}
  holdout: {dataset: {stem}/scenes}
blocks:
  heads: {network: {stem}/heads, inputs: {image: data.image}, outputs: [logits, classes, points, flow, grey, sigma]}
objectives:
  entropy: {loss: {stem}/entropy, inputs: {prediction: logits, target: data.classes}}
stages:
  - {solver: joint, steps: 2, blocks: [heads], objective: entropy, data: train}
metrics:
  miou: {metric: {stem}/miou, inputs: {prediction: classes, target: data.classes}}
  recall: {metric: {stem}/recall, inputs: {found: points, target: data.points}}
  epe: {metric: {stem}/epe, inputs: {prediction: flow, target: data.flow}}
  noise: {metric: {stem}/difference, inputs: {prediction: sigma, target: data.sigma}}
"""
GREY = "metrics.grey={metric: psnr, inputs: {prediction: grey, target: data.grey}}"


@pytest.fixture
def files(write_plugin: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Return the spec and the plugin file."""
    plugin = write_plugin("scenery", PLUGIN)
    (tmp_path / "heads.yaml").write_text(SPEC.replace("{stem}", plugin.stem))
    return tmp_path / "heads.yaml", plugin


def _expected(setup: Setup) -> dict[str, float]:
    """Return the metrics from the whole split at once."""
    data = setup.trainable.data["holdout"]
    samples = [data.read(index, None) for index in range(4)]
    with torch.no_grad():
        image = torch.from_numpy(np.stack([sample["image"] for sample in samples]))
        _, classes, points, flow, grey, sigma = setup.blocks["heads"].eval()(image)
    stacked = {name: np.stack([s[name] for s in samples]) for name in ("classes", "flow", "grey", "sigma")}
    made, wanted = classes.numpy(), stacked["classes"]
    sets = [((made == c) & (wanted == c), (made == c) | (wanted == c)) for c in range(9)]
    distance = np.sqrt(((flow.numpy() - stacked["flow"]) ** 2).sum(1))
    levels = [np.round(255 * one) / 255 for one in (grey.numpy(), stacked["grey"])]
    return {
        "miou": float(np.mean([inside.sum() / either.sum() for inside, either in sets if either.any()])),
        "recall": sum(points.lengths) / sum(len(s["points"]) for s in samples),
        "epe": float(distance.mean()),
        "noise": float(np.abs(sigma.numpy() - stacked["sigma"]).mean()),
        "grey": float(np.mean(-10 * np.log10(((levels[0] - levels[1]) ** 2).mean((1, 2, 3))))),
    }


def test_metrics_see_each_tensor_as_its_port_says(files: tuple[Path, Path]) -> None:
    """Nine classes, displacements of 8 pixels and numbers arrive whole; measuring again gives the same."""
    setup = set_up(files[0], [GREY], [files[1]], "cpu")
    found = setup.trainable.evaluate()
    expected = _expected(setup)
    assert 0 < expected["miou"] < 1
    assert 0 < expected["recall"] < 1
    assert found.means == pytest.approx(expected, rel=1e-6)
    assert setup.trainable.evaluate().means == found.means
    assert {name: list(values) for name, values in found.each.items()} == {
        str(i): ["epe", "noise", "grey"] for i in range(4)
    }
    assert np.mean([values["epe"] for values in found.each.values()]) == pytest.approx(found.means["epe"])
    part = setup.trainable.evaluate([1])
    assert (part.means, list(part.each)) == ({}, ["1"])


@pytest.mark.parametrize(("more", "roles"), [([], ["input"]), ([GREY], ["input", "output", "reference"])])
def test_a_run_measures_to_its_end_and_shows_what_can_be_shown(
    files: tuple[Path, Path], tmp_path: Path, more: list[str], roles: list[str]
) -> None:
    result = run(files[0], overrides=more, plugins=[files[1]], out=tmp_path / "r")
    assert {"miou", "recall", "epe", "noise"} <= set(result.metrics)
    pictures = sorted(path.stem for path in (tmp_path / "r" / "pictures").iterdir())
    assert pictures == sorted(f"{index}-{role}" for index in range(3) for role in roles)
    if more:
        shown = read_picture(tmp_path / "r" / "pictures" / "2-reference.png").pixels
        assert (shown == shown[..., :1]).all(), "grey"
    line = json.loads((tmp_path / "r" / "holdout.jsonl").read_text().splitlines()[-1])
    assert set(line["pictures"]["0"]) == {"epe", "noise"} | ({"grey"} if more else set())
    assert (tmp_path / "r" / "report.html").exists()


def test_a_metric_that_fails_at_the_end_is_named(files: tuple[Path, Path]) -> None:
    setup = set_up(files[0], [f"metrics.recall.metric={files[1].stem}/fails"], [files[1]], "cpu")
    with refused("train.metric-failed", "metric 'recall'", cause="ZeroDivisionError: no points"):
        setup.trainable.evaluate()


def test_the_kit_takes_them(files: tuple[Path, Path]) -> None:
    found = {c.name: c.load() for c in default_registry([files[1]]).of_kind("metric")}
    rng = np.random.default_rng(0)
    maps = [{name: rng.integers(0, 3 + i, (16, 16)) for name in ("prediction", "target")} for i in range(3)]
    points = [{"found": np.eye(2), "target": np.eye(i + 2)[:, :2]} for i in range(3)]
    check_metric(found["scenery/miou"], inputs=maps)
    check_metric(found["scenery/recall"], inputs=points)


def test_int8_is_judged_by_pictures_only(files: tuple[Path, Path], tmp_path: Path) -> None:
    registry = default_registry([files[1]])
    plan = make_plan(read_spec(files[0], ["export={chain: classes}"]), registry)
    (tmp_path / "spec.json").write_text(json.dumps(resolve(plan)))
    with refused("export.int8-needs-metric", tmp_path, chain="classes"):
        open_judge(tmp_path, registry)
