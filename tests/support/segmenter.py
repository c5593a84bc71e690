"""A toy segmenter as a plugin, with a data set and a block in front of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.plugin_files import WritePlugin

SEGMENTER = '''
import numpy as np
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

COUNT = 3

class Net(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"logits": Port(COUNT, "map", -10, 10)}, 1

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, COUNT, 1))

    def forward(self, image):
        return self.body(image)

class CrossEntropy:
    def __call__(self, logits, classes):
        return nn.functional.cross_entropy(logits, classes, reduction="sum"), classes.numel()

class MeanIoU:
    """Mean intersection over union."""
    higher_is_better = True

    def __init__(self):
        self.counts = np.zeros((COUNT, COUNT))

    def update(self, found, classes):
        np.add.at(self.counts, (found, classes), 1)

    def compute(self):
        both = np.diag(self.counts)
        either = self.counts.sum(0) + self.counts.sum(1) - both
        return float((both[either > 0] / either[either > 0]).mean())

class Segment:
    """Three classes of pixels.

    Args:
        width: channels of the hidden layer.
    """

    targets = {"classes": Port.classes(COUNT)}
    predictions = {"found": Port.classes(COUNT)}

    def __init__(self, width: int = 8) -> None:
        self.width = width
        self.losses, self.metrics = {"loss": CrossEntropy()}, {"miou": MeanIoU()}

    def network(self):
        return Net(self.width)

    def decode(self, logits):
        return {"found": logits.argmax(1)}

@hookimpl
def register_tasks(register):
    register("segment", "seg:Segment", summary="Classes of pixels")
'''
FIELD = '''
from pathlib import Path
import numpy as np
import torch
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Brighten(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))
    def forward(self, image):
        return image * self.gain

class Scenes:
    """Dark pictures of three colours, and which is where."""
    ports = {"dark": Port(3), "rgb": Port(3), "classes": Port.classes(3)}
    def __init__(self, root: Path, side: int = 16) -> None:
        self.paths, self.side = sorted(Path(root).glob("*.txt")), side
    def __len__(self):
        return len(self.paths)
    def files(self, index):
        return [self.paths[index]]
    def sample(self, index, rng):
        drawn = np.random.default_rng(int(self.paths[index].read_text()))
        classes = np.kron(drawn.integers(0, 3, (4, 4)), np.ones((self.side // 4, self.side // 4), int))
        rgb = (0.1 + 0.8 * np.eye(3)[classes]).transpose(2, 0, 1).astype(np.float32)
        noise = 0.02 * drawn.standard_normal(rgb.shape)
        return {"dark": (rgb / 8 + noise).astype(np.float32), "rgb": rgb, "classes": classes.astype(np.int64)}

@hookimpl
def register_networks(register):
    register("brighten", "field:Brighten", summary="A gain for each colour")

@hookimpl
def register_datasets(register):
    register("scenes", "field:Scenes", summary="Scenes")
'''
SPEC = """
name: segment
data:
  train: {dataset: field/scenes, root: ROOT/train, batch_size: 2}
  upper: {dataset: field/scenes, root: ROOT/upper, batch_size: 2}
  holdout: {dataset: field/scenes, root: ROOT/holdout}
blocks:
  enhance: {network: field/brighten, inputs: {image: data.dark}, outputs: [rgb]}
  segment: {task: seg/segment, width: 6, inputs: {image: rgb}, targets: {classes: data.classes}}
stages:
  - solver: ibgl
    steps: 60
    upper: {blocks: [enhance], objective: segment.loss, data: upper, lr: 3e-2}
    lower: {blocks: [segment], objective: segment.loss, data: train, lr: 3e-2, steps: 2}
"""
SPLITS = {"train": 4, "upper": 3, "holdout": 2}


@pytest.fixture
def segmenter(write_plugin: WritePlugin, tmp_path: Path) -> tuple[Path, list[Path]]:
    """Return the spec of two levels, and the plugins that it needs."""
    seed = 0
    for split, count in SPLITS.items():
        (tmp_path / split).mkdir()
        for _ in range(count):
            seed += 1
            (tmp_path / split / f"{seed}.txt").write_text(str(seed))
    path = tmp_path / "segment.yaml"
    path.write_text(SPEC.replace("ROOT", str(tmp_path)))
    return path, [write_plugin("seg", SEGMENTER), write_plugin("field", FIELD)]
