from __future__ import annotations

import subprocess
import sys

import restore_hub_raw
from restore_hub.contracts import Dataset, Network
from restore_hub.options import options_of
from restore_hub.registry import Component
from restore_hub_raw import commands
from restore_hub_raw.datasets.pairs import Pairs
from restore_hub_raw.datasets.photos import Photos
from restore_hub_raw.datasets.sid import Sid
from restore_hub_raw.unet import UNet


def registered(hook: str) -> dict[str, Component]:
    found = {}

    def register(name: str, target: str, *, summary: str, references: tuple[str, ...] = (), **_: object) -> None:
        found[name] = Component(hook, f"raw/{name}", target, summary, references, "test", "0")

    getattr(restore_hub_raw, hook)(register)
    return found


def test_every_name_loads_its_target() -> None:
    assert registered("register_networks")["unet"].load() is UNet
    datasets = registered("register_datasets")
    assert [datasets[name].load() for name in ("pairs", "sid", "photos")] == [Pairs, Sid, Photos]
    found = registered("register_commands")
    assert [found[name].load() for name in ("make-raw", "noise", "check")] == [
        commands.make_raw,
        commands.noise,
        commands.check,
    ]


def test_options_are_typed() -> None:
    assert [(o.name, o.type) for o in options_of(UNet)] == [("width", "int"), ("depth", "int")]
    assert next(o for o in options_of(Pairs) if o.name == "crop").type == "int | None"
    assert isinstance(UNet(2, 1), Network)
    assert {"ports", "files", "sample"} <= set(Dataset.__annotations__) | set(vars(Dataset))


def test_listing_the_plugin_imports_nothing_heavy() -> None:
    code = "import restore_hub_raw, sys; print([m for m in ('torch', 'numpy', 'rawpy', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_and_making_data_needs_no_torch() -> None:
    code = (
        "import sys, restore_hub_raw.commands, restore_hub_raw.datasets.sid;"
        "import restore_hub_raw.datasets.photos, restore_hub.photo.raw.dng_writer;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
