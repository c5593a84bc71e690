"""Plugins for tests: written as files, or registered as if they were installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from restore_hub import plugins
from restore_hub.plugins import ENTRY_POINT_GROUP, load_plugins

WritePlugin = Callable[..., Path]
NETWORK = """
import os, signal, sys
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Network(nn.Module):
    inputs, outputs, size_multiple = {"image": Port(3)}, {"image": Port(3)}, 1

    def __init__(self, how: str = ""):
        super().__init__()
        self.how, self.head = how, nn.Conv2d(3, 3, 1)
        INIT

    def forward(self, image):
        FORWARD
        return self.head(image)

@hookimpl
def register_networks(register):
    register("net", "{stem}:Network", summary="A network of a test")
"""


def network_plugin(init: str, forward: str) -> str:
    """Return a plugin with the network `net`, a convolution; statements before it may change `self` and `image`."""
    return NETWORK.replace("INIT", init).replace("FORWARD", forward.replace("\n", "\n        "))


def through(network: str) -> list[str]:
    """Return overrides that put a network in the place of `enhance`, with one objective for all stages."""
    return [
        f"blocks.enhance={{network: {network}, inputs: {{image: rgb}}, outputs: [enhanced]}}",
        "objectives={fidelity: {loss: l1, inputs: {prediction: enhanced, target: data.rgb}}}",
        "stages.0.objective=fidelity",
        "stages.1.lower.objective=fidelity",
    ]


@pytest.fixture
def write_plugin(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Return a function that writes the plugin file `stem.py`, with its stem for `{stem}`; its module goes later."""
    stems = []

    def write(stem: str, text: str) -> Path:
        stems.append(stem)
        path = tmp_path / f"{stem}.py"
        path.write_text(text.replace("{stem}", stem))
        load_plugins.cache_clear()
        return path

    before = set(sys.modules)
    yield write
    load_plugins.cache_clear()
    for stem in set(stems) - before:
        sys.modules.pop(stem, None)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Return a function that installs modules, by namespace, in place of the installed plugins; at first none is."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(**modules: str) -> None:
        points = [EntryPoint(name.replace("_", "-"), module, ENTRY_POINT_GROUP) for name, module in modules.items()]
        monkeypatch.setattr(plugins, "entry_points", lambda **_: points)
        load_plugins.cache_clear()

    install()
    yield install
    load_plugins.cache_clear()
