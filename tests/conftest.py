"""A small world that many tests share: splits of DNG pairs, the shipped pipeline pointed at them, exported files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info, set_model_props

from restore_hub.export import deployed_block, deployed_chain, export_onnx
from restore_hub.export.raw_input import RAW_INPUTS
from restore_hub.model.manifest import METADATA_KEY, Manifest, Probe, TensorInfo, Tiling
from restore_hub.model.model import probe_feeds
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.plan import Chain, Plan, build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec
from support import LOWLIGHT, SMALL, sampling
from support.once import made_once

pytest_plugins = [
    f"support.{name}"
    for name in ("plugin_files", "segmenter", "runs", "chains", "trackers", "processes", "numbers", "exports")
]


def pytest_report_header() -> str:
    """Say what repeats the random part of this run."""
    extent = "whole" if sampling.WHOLE else "a random tenth; RESTORE_HUB_TEST_ALL=1 runs them whole"
    return f"slow sweeps: {extent}; RESTORE_HUB_TEST_SEED={sampling.SEED}"


SPLITS = {"train": 2, "upper": 1, "holdout": 1}


def photograph(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return smooth colours with an edge, (H, W, 3) in [0.05, 0.95]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(6 * (a * x + b * y) + c) for a, b, c in rng.uniform(-2, 2, (3, 3))]
    picture = 0.5 + 0.3 * np.stack(waves, axis=2)
    picture[height // 3 : height // 2, width // 4 : width // 2] *= rng.uniform(0.3, 1.2, 3)
    return np.clip(picture, 0.05, 0.95).astype(np.float32)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the splits `train`, `upper`, `holdout` of short/long DNG pairs."""
    from restore_hub_raw.synthesis.make_folder import make_folder
    from restore_hub_raw.synthesis.recipe import Recipe

    root = tmp_path_factory.mktemp("pairs")
    seed = 0
    for split, count in SPLITS.items():
        (root / "photos" / split).mkdir(parents=True)
        for _ in range(count):
            seed += 1
            write_picture(root / "photos" / split / f"p{seed}.png", photograph(seed))
        make_folder(root / "photos" / split, root / split, Recipe(ratio=20.0))
    return root


@pytest.fixture(scope="session")
def overrides(pairs: Path) -> list[str]:
    """Return what makes the shipped pipeline small and points it at `pairs`."""
    return [*SMALL, *(f"data.{split}.root={pairs / split}" for split in SPLITS)]


@pytest.fixture(scope="session")
def make(overrides: list[str]) -> Callable[..., Plan]:
    """Return a function that plans the small pipeline with further overrides."""

    def plan(*more: str) -> Plan:
        return make_plan(read_spec(LOWLIGHT, [*overrides, *more]), default_registry())

    return plan


@pytest.fixture(scope="session")
def small_chain() -> Chain:
    """Return the shipped chain with narrow blocks and its first weights; tests don't change it."""
    plan = make_plan(read_spec(LOWLIGHT, ["blocks.generate.width=2", "blocks.generate.depth=1"]), default_registry())
    torch.manual_seed(1)
    return build_chain(plan).eval()


@pytest.fixture(scope="session")
def models(small_chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `chain.onnx` (RAW in) and `enhance.onnx` (RGB in)."""

    def make(folder: Path) -> None:
        facts = {"licence": None, "metrics": {}, "provenance": {}}
        export_onnx(deployed_chain(small_chain, "enhanced"), folder / "chain.onnx", name="t/chain", **facts)
        export_onnx(deployed_block(small_chain, "enhance"), folder / "enhance.onnx", name="t/enhance", **facts)

    return made_once(tmp_path_factory, "models", make)


DENOISER = """
name: denoise
blocks:
  denoise: {network: raw/denoiser, width: 2, depth: 1, inputs: {raw: data.raw}, outputs: [clean]}
"""


@pytest.fixture(scope="session")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that denoises mosaics, with weights that do something; tests don't change it."""

    def make(folder: Path) -> None:
        (folder / "spec.yaml").write_text(DENOISER)
        torch.manual_seed(0)
        chain = build_chain(make_plan(read_spec(folder / "spec.yaml"), default_registry())).eval()
        with torch.no_grad():
            for parameter in chain.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        facts = {"licence": "MIT", "metrics": {}, "provenance": {}}
        export_onnx(deployed_chain(chain, "clean"), folder / "quiet.onnx", name="t/clean", **facts)

    return made_once(tmp_path_factory, "denoiser", make) / "quiet.onnx"


@pytest.fixture(scope="session")
def write_raw() -> Callable[..., Path]:
    """Return a function that writes a small dark Bayer DNG; further facts are those of `RawImage`."""

    def write(path: Path, seed: int = 0, **facts: Any) -> Path:
        mosaic = np.random.default_rng(seed).integers(600, 1200, (26, 34)).astype(np.uint16)
        levels = {"black": np.full(4, 512, np.float32), "white": np.full(4, 16383, np.float32)}
        balance = {"balance": np.float32([2, 1, 1, 1.5]), "balance_source": "camera"}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dng(path, RawImage(mosaic, (0, 1), **{**levels, **balance, "camera": "Acme X1", **facts}))
        return path

    return write


@pytest.fixture(scope="session")
def write_model() -> Callable[..., Path]:
    """Return a function that writes a small exported file, without torch.

    It gives `factor` times what goes in, blurred 3x3 with `blur`; of RAW plus the gain, and 10 where red is at (1, 0).
    """

    def write(
        path: Path,
        kind: str = "rgb-to-rgb",
        factor: float = 0.5,
        *,
        taken: TensorInfo | None = None,
        given: TensorInfo | None = None,
        blur: bool = False,
        opset: int = 20,
        ir_version: int = 9,
        **facts: Any,
    ) -> Path:
        mosaic = RAW_INPUTS[0]
        picture = TensorInfo(name="picture", shape=[1, 3, "height", "width"], space="srgb", low=0.0, high=1.0)
        first = taken or (mosaic if kind.startswith("raw") else picture.model_copy(update={"name": "image"}))
        last = given or (mosaic.model_copy(update={"name": "denoised"}) if kind == "raw-to-raw" else picture)
        inputs = RAW_INPUTS if kind.startswith("raw") else [first]
        channels = int(first.shape[1])
        kernel = np.full((1, 1, 3, 3), 1 / 9) if blur else np.ones((1, 1, 1, 1))
        weights = {"weight": (factor * kernel).repeat(channels, 0).astype(np.float32)}
        nodes = [make_node("Conv", [first.name, "weight"], ["x"], group=channels, pads=[int(blur)] * 4)]
        if kind.startswith("raw"):
            weights["ten"] = np.float32([10, 0])
            nodes.append(make_node("Cast", ["phase"], ["p"], to=onnx.TensorProto.FLOAT))
            nodes.append(make_node("MatMul", ["p", "ten"], ["shift"]))
            nodes.append(make_node("Sum", ["x", "gain", "shift"], ["y"]))
        else:
            nodes.append(make_node("Identity", ["x"], ["y"]))
        nodes.append(make_node("Concat", ["y"] * (int(last.shape[1]) // channels), [last.name], axis=1))
        weights |= {info.name: np.array(info.default, info.dtype) for info in inputs if info.default is not None}
        types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
        values = [make_tensor_value_info(info.name, types[info.dtype], info.shape) for info in (*inputs, last)]
        stored = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
        graph = make_graph(nodes, "g", values[:-1], values[-1:], stored)
        model = make_model(graph, opset_imports=[make_opsetid("", opset)], ir_version=ir_version)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        output = session.run(None, probe_feeds(inputs, 3, 9, 11))[0]
        samples = [(0, y, x, float(output[0, 0, y, x])) for y, x in ((0, 0), (4, 5), (8, 10))]
        stated = {
            "name": f"t/{path.stem}",
            "kind": kind,
            "inputs": inputs,
            "outputs": [last],
            "size_multiple": 1,
            "opset": opset,
            "parity": 0.0,
            "probe": Probe(seed=3, height=9, width=11, samples=samples, tolerance=1e-4),
            "licence": "CC0-1.0",
            "tiling": Tiling(kind="exact", margin=2 * blur, align=2),
        }
        set_model_props(model, {METADATA_KEY: Manifest(**{**stated, **facts}).model_dump_json(exclude_none=True)})
        path.write_bytes(model.SerializeToString())
        return path

    return write
