"""A toy detector as a task: ragged boxes, a grid of cells, suppression of doubles, and average precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import restore_hub
from restore_hub import run
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.ragged import Ragged
from restore_hub.spec import read_spec
from restore_hub.testing import check_task
from support import check, refused
from support.commands import invoke, output
from support.plugin_files import WritePlugin
from support.runs import stop_after

PLUGIN = '''
import numpy as np
import torch
from torch import nn
from torchvision.ops import box_iou, nms
from restore_hub import hookimpl
from restore_hub.contracts import Port
from restore_hub.ragged import Ragged

CELL = 4
BOXES = Port.several("box", 0, 64, coordinate=4)

def centres(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, x, y]) * CELL + CELL / 2

class Grid(nn.Module):
    """For each cell of 4 x 4 pixels: whether its centre is in a box, and how far the sides are from there."""
    inputs, size_multiple = {"image": Port(3)}, CELL
    outputs = {"objectness": Port(1, "map", -9, 9, 1 / CELL), "sides": Port(4, "map", 0, 64, 1 / CELL)}

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.SiLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU(), nn.Conv2d(2 * width, 5, 1))

    def forward(self, image):
        height, width = image.shape[-2:]
        below, right = ((n + CELL - 1) // CELL * CELL - n for n in (height, width))
        made = self.body(nn.functional.pad(image, (0, right, 0, below)))
        return made[:, :1], CELL * nn.functional.softplus(made[:, 1:])

def wanted(boxes, height, width):
    """Return which cells are in a box, and their distances to the sides of the smallest one."""
    at = centres(height, width).to(boxes)
    if not len(boxes):
        return at[0] < 0, at
    sides = (at - boxes[:, :, None, None]) * at.new_tensor([1, 1, -1, -1])[:, None, None]
    inside = (sides > 0).all(1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None, None]
    own = torch.where(inside, area, torch.inf).argmin(0)
    return inside.any(0), sides.gather(0, own.expand(1, 4, -1, -1))[0]

class Objectness:
    def __call__(self, objectness, boxes):
        there = torch.stack([wanted(each, *objectness.shape[-2:])[0] for each in boxes])
        return nn.functional.binary_cross_entropy_with_logits(
            objectness[:, 0], there.to(objectness), reduction="sum"), there.numel()

class Sides:
    """A mean over the cells in boxes, of which a picture may have none."""
    def __call__(self, sides, boxes):
        total, count = sides.sum() * 0, 0
        for made, each in zip(sides, boxes):
            there, right = wanted(each, *made.shape[-2:])
            total = total + (made - right)[:, there].abs().sum() / CELL
            count += int(there.sum())
        return total, count

class AveragePrecision:
    """Area under the precision over the recall of boxes that overlap by half or more."""
    higher_is_better = True

    def __init__(self):
        self.found, self.count = [], 0

    def update(self, found, scores, boxes):
        self.count += len(boxes)
        free = set(range(len(boxes)))
        overlap = box_iou(torch.from_numpy(found), torch.from_numpy(boxes))
        for i in np.argsort(-scores, kind="stable"):
            best = max(free, key=lambda j: overlap[i, j], default=None)
            hit = best is not None and bool(overlap[i, best] >= 0.5)
            free -= {best} if hit else set()
            self.found.append((float(scores[i]), hit))

    def compute(self):
        hits = np.array([hit for _, hit in sorted(self.found, key=lambda each: -each[0])], float)
        precision = np.maximum.accumulate((hits.cumsum() / np.arange(1, len(hits) + 1))[::-1])[::-1]
        return float((precision * hits).sum() / max(self.count, 1))

class Detect:
    """Bright rectangles.

    Args:
        width: channels of the first layer.
    """
    targets = {"boxes": BOXES}
    predictions = {"found": BOXES, "scores": Port.several("box")}

    def __init__(self, width: int = 8) -> None:
        self.width = width
        self.losses = {"objectness": Objectness(), "sides": Sides()}
        self.metrics = {"ap50": AveragePrecision()}

    def network(self):
        return Grid(self.width)

    def decode(self, objectness, sides):
        at = centres(*sides.shape[-2:]).to(sides)
        found, scores = [], []
        for score, side in zip(objectness.sigmoid().flatten(1), sides):
            box = (at + side * at.new_tensor([-1, -1, 1, 1])[:, None, None]).flatten(1).T
            box, score = box[score > 0.05], score[score > 0.05]
            kept = nms(box, score, 0.4)
            found.append(box[kept])
            scores.append(score[kept])
        return {"found": Ragged.of(found), "scores": Ragged.of(scores)}

class Gain(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, image):
        return image * self.gain

class Rectangles:
    """Dark pictures of none to three rectangles."""
    ports = {"dark": Port(3), "boxes": BOXES}

    def __init__(self, seed: int = 0, count: int = 24) -> None:
        self.seed, self.count = seed, count

    def __len__(self):
        return self.count

    def files(self, index):
        return ()

    def sample(self, index, rng):
        drawn = np.random.default_rng((self.seed, index))
        picture, boxes = 0.2 * drawn.random((3, 32, 40)), []
        for slot in drawn.permutation(4)[: index % 4]:
            y, x = divmod(int(slot), 2)
            top, left = y * 16 + drawn.integers(0, 4), x * 20 + drawn.integers(0, 6)
            bottom, right = top + drawn.integers(8, 12), left + drawn.integers(8, 14)
            picture[:, top:bottom, left:right] = drawn.uniform(0.6, 1, (3, 1, 1))
            boxes.append((left, top, right, bottom))
        return {"dark": (picture / 6).astype(np.float32), "boxes": np.array(boxes, np.float32).reshape(-1, 4)}

@hookimpl
def register_tasks(register):
    register("detect", "{stem}:Detect", summary="Rectangles")

@hookimpl
def register_networks(register):
    register("gain", "{stem}:Gain", summary="A gain for each colour")

@hookimpl
def register_datasets(register):
    register("rectangles", "{stem}:Rectangles", summary="Dark rectangles")
'''
SPEC = """
name: detect
data:
  train: {dataset: boxes/rectangles, batch_size: 4}
  upper: {dataset: boxes/rectangles, seed: 1, batch_size: 4}
  holdout: {dataset: boxes/rectangles, seed: 2, count: 8}
blocks:
  enhance: {network: boxes/gain, inputs: {image: data.dark}, outputs: [bright]}
  detect: {task: boxes/detect, inputs: {image: bright}, targets: {boxes: data.boxes}}
stages:
  - solver: ibgl
    steps: 40
    upper: {blocks: [enhance], objective: {detect.objectness: 1, detect.sides: 1}, data: upper, lr: 5e-2}
    lower: {blocks: [detect], objective: {detect.objectness: 1, detect.sides: 1}, data: train, lr: 1e-2, steps: 3}
"""
ONE_LEVEL = (
    "stages=[{solver: joint, steps: 120, blocks: [enhance, detect], data: train, lr: 1e-2,"
    " objective: {detect.objectness: 1, detect.sides: 1}}]"
)
Files = tuple[Path, Path]


@pytest.fixture
def files(write_plugin: WritePlugin, tmp_path: Path) -> Files:
    (tmp_path / "detect.yaml").write_text(SPEC)
    return tmp_path / "detect.yaml", write_plugin("boxes", PLUGIN)


def last(folder: Path) -> dict[str, torch.Tensor]:
    """Return the last weights of a run."""
    blocks = torch.load(folder / "checkpoints" / "last.pt")["blocks"]
    return {f"{block}.{key}": tensor for block, tensors in blocks.items() for key, tensor in tensors.items()}


@pytest.mark.parametrize("overrides", [[], [ONE_LEVEL]], ids=["two levels", "one level"])
def test_it_learns(files: Files, tmp_path: Path, overrides: list[str]) -> None:
    spec, plugin = files
    first = run(spec, plugins=[plugin], overrides=[*overrides, "stages.0.steps=1"], out=tmp_path / "1", quiet=True)
    result = run(spec, plugins=[plugin], overrides=overrides, out=tmp_path / "r", quiet=True)
    assert first.metrics["detect.ap50"] < 0.1
    assert result.metrics["detect.ap50"] > 0.7


def test_a_batch_in_parts_is_the_whole_batch(files: Files, tmp_path: Path) -> None:
    """Parts without any box count nothing; the first two pictures of four have none or one."""
    spec, plugin = files
    parts = [f"data.{split}.batch_size=1" for split in ("train", "upper")]
    parts += [f"stages.0.{level}.accumulate=4" for level in ("upper", "lower")]
    found = []
    for name, overrides in (("whole", []), ("parts", parts)):
        run(spec, plugins=[plugin], overrides=["stages.0.steps=3", *overrides], out=tmp_path / name, quiet=True)
        found.append(last(tmp_path / name))
    assert found[0].keys() == found[1].keys()
    for key, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][key], rtol=1e-3, atol=1e-5)


def test_pictures_without_boxes_train_on(files: Files, tmp_path: Path) -> None:
    spec, plugin = files
    alone = ["stages.0.steps=4", "data.train.batch_size=1", "data.upper.batch_size=1", "data.train.count=1"]
    run(spec, plugins=[plugin], overrides=alone, out=tmp_path / "r", quiet=True)
    assert all(tensor.isfinite().all() for tensor in last(tmp_path / "r").values())


def test_it_resumes_to_the_same_bits(files: Files, tmp_path: Path) -> None:
    spec, plugin = files
    given = {"plugins": [plugin], "quiet": True, "overrides": ["stages.0.steps=4", "checkpoint_seconds=0"]}
    run(spec, out=tmp_path / "whole", **given)  # type: ignore[arg-type]
    stop_after(2, spec=spec, out=tmp_path / "r", **given)
    run(spec, out=tmp_path / "r", resume=True, **given)  # type: ignore[arg-type]
    whole, resumed = last(tmp_path / "whole"), last(tmp_path / "r")
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())


def test_its_grid_is_exported(files: Files, tmp_path: Path) -> None:
    spec, plugin = files
    overrides = ["stages.0.steps=1", "export={blocks: [detect]}"]
    (file,) = run(spec, plugins=[plugin], overrides=overrides, out=tmp_path / "r", quiet=True).exported
    weights = {key.partition(".")[2]: value for key, value in last(tmp_path / "r").items() if key.startswith("detect.")}
    chain = build_chain(make_plan(read_spec(spec), default_registry([plugin]))).eval()
    chain.blocks["detect"].load_state_dict(weights)
    image = torch.rand(1, 3, 13, 22)
    made = restore_hub.load(file).outputs({"bright": image.numpy()})
    assert [array.shape for array in made.values()] == [(1, 1, 4, 6), (1, 4, 4, 6)]
    with torch.no_grad():
        for array, expected in zip(made.values(), chain.blocks["detect"](image), strict=True):
            np.testing.assert_allclose(array, expected.numpy(), atol=1e-4)
    assert "WRONG" not in output("verify", file)


def test_what_no_file_can_hold_is_refused_before_training(files: Files, tmp_path: Path) -> None:
    spec, plugin = files
    change = "export={chain: detect.found}"
    with refused("export.no-fixed-shape", "export.chain", tensor="detect.found"):
        run(spec, plugins=[plugin], overrides=[change], out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()
    check(invoke("check", spec, "--plugin", plugin, "--set", change).exception, "export.no-fixed-shape", "export.chain")


def test_people_see_it(files: Files, tmp_path: Path) -> None:
    spec, plugin = files
    said = output("check", spec, "--plugin", plugin)
    assert "detect.sides" in said
    assert "[enhance] on upper over [detect] on train" in said
    run(spec, plugins=[plugin], overrides=["stages.0.steps=1"], out=tmp_path / "r", quiet=True)
    assert "detect.ap50" in (tmp_path / "r" / "report.html").read_text()


def test_it_passes_the_conformance_kit(files: Files) -> None:
    boxes = torch.tensor([[2.0, 2.0, 12.0, 12.0], [13.0, 1.0, 23.0, 9.0], [0.0, 0.0, 9.0, 7.0]])
    task = default_registry([files[1]]).find("task", "boxes/detect").load()
    check_task(task, targets={"boxes": Ragged(boxes, (2, 0, 1))})


def test_average_precision(files: Files) -> None:
    """Precision is 1 until the first of two boxes is found, then 2/3 at the second."""
    task = default_registry([files[1]]).find("task", "boxes/detect").load()
    metric = task().metrics["ap50"]
    boxes = np.array([[0, 0, 8, 8], [20, 0, 28, 8]], np.float32)
    found = np.array([[0, 0, 8, 6], [40, 40, 48, 48], [20, 0, 28, 8]], np.float32)
    metric.update(found, np.array([0.9, 0.8, 0.7], np.float32), boxes)
    metric.update(found[:0], np.zeros(0, np.float32), boxes[:0])
    assert metric.compute() == pytest.approx((1 + 2 / 3) / 2)
