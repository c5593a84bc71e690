"""What an upper block may hand on to a lower level: only real numbers have a gradient."""

from __future__ import annotations

from pathlib import Path

from restore_hub import run
from restore_hub.errors import SpecError
from support import LOWLIGHT, check, refused
from support.commands import invoke
from support.plugin_files import WritePlugin, through
from support.runs import sets

PLUGIN = """
from torch import nn
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Split(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"picture": Port(3), "classes": Port.classes(3)}, 1
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
    def forward(self, image):
        made = self.layer(image)
        return made, made.argmax(1)

class Read(nn.Module):
    inputs, outputs, size_multiple = {"picture": Port(3), "classes": Port.classes(3)}, {"out": Port(3)}, 1
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
    def forward(self, picture, classes):
        return self.layer(picture) + 0.1 * classes[:, None]

@hookimpl
def register_networks(register):
    register("split", "{stem}:Split", summary="A picture and classes")
    register("read", "{stem}:Read", summary="Reads both")
"""


def test_a_class_map_between_two_levels_is_refused_by_check_and_before_training(
    small: list[str], write_plugin: WritePlugin, tmp_path: Path
) -> None:
    changes = [
        *small,
        *through("coupled-kinds/read"),
        "blocks.split={network: coupled-kinds/split, inputs: {image: rgb}, outputs: [picture, classes]}",
        "blocks.enhance={network: coupled-kinds/read, inputs: {picture: picture, classes: classes}, "
        "outputs: [enhanced]}",
        "stages.1.upper.blocks=[generate, split]",
    ]
    plugin = write_plugin("coupled_kinds", PLUGIN)
    expected = ("train.coupled-not-real", "stages.1.lower: classes", SpecError)
    check(invoke("check", LOWLIGHT, *sets(*changes), "--plugin", plugin).exception, *expected[:2])
    with refused(*expected):
        run(LOWLIGHT, overrides=changes, plugins=[plugin], out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()
    joint = "stages.1={solver: joint, steps: 1, blocks: [split, enhance], objective: fidelity, data: train}"
    run(LOWLIGHT, overrides=[*changes, joint], plugins=[plugin], out=tmp_path / "one", quiet=True)
