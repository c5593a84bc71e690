"""An exported file, measured like the chain that it came from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from restore_hub.evaluate.chain import ChainPredictor
from restore_hub.evaluate.file import FilePredictor, mosaic_of, planes_of
from restore_hub.evaluate.scores import Scores, score
from restore_hub.model import tiled
from restore_hub.model.manifest import TensorInfo
from restore_hub.model.model import load
from restore_hub.photo.raw.mosaic import pack
from restore_hub.plan import Chain, build_chain
from restore_hub.plan.metrics import WiredMetric, make_metrics
from restore_hub.plan.samples import Samples
from restore_hub_std.metrics import Psnr
from support.chains import Make
from support.models import watch_sizes
from support.numbers import Denoised, Export, MakeSpec, blocks_of


@pytest.fixture
def planes() -> np.ndarray:
    """Return RAW planes of an odd size."""
    return np.random.default_rng(0).random((4, 5, 7), dtype=np.float32)


def test_a_mosaic_packs_to_the_planes_it_came_from(planes: np.ndarray) -> None:
    mosaic = mosaic_of(planes)
    again = pack(mosaic[0, 0], (0, 0), np.zeros(4), np.ones(4), np.ones(4), 1.0)
    np.testing.assert_allclose(again[:, : planes.shape[1], : planes.shape[2]], planes, atol=1e-6)
    assert np.array_equal(planes_of(mosaic), planes)


def test_a_file_has_the_scores_of_its_chain(make: Make, small_chain: Chain, models: Path) -> None:
    """Nearly: at the border, the file sees mirrored lines where the chain sees zeros."""
    plan = make("metrics=[psnr, ssim]")
    holdout, metrics = Samples(plan.datasets["holdout"].make(), "holdout"), make_metrics(plan)
    chain = ChainPredictor(small_chain)
    file = FilePredictor(load(models / "chain.onnx"), "enhanced", chain.reads)
    one, other = (score(predictor, holdout, metrics, pictures=1) for predictor in (chain, file))
    assert list(one.means) == list(other.means) == ["psnr", "ssim"]
    assert other.means == pytest.approx(one.means, rel=1e-2)
    assert list(one.pictures) == list(other.pictures) == ["0-p4-input", "0-p4-output", "0-p4-reference"]
    for name, picture in one.pictures.items():
        assert np.median(np.abs(picture.astype(int) - other.pictures[name])) == 0
    assert list(one.above(other, "ssim")) == ["0-p4"]


def test_a_file_gets_the_numbers_of_its_samples(denoised: Denoised, make_spec: MakeSpec) -> None:
    plan = make_spec()
    holdout, metrics = Samples(plan.datasets["holdout"].make(), "holdout"), make_metrics(plan)
    chain = build_chain(plan).eval()
    chain.blocks["denoise"] = denoised.network
    predictor = ChainPredictor(chain)
    file = FilePredictor(load(denoised.file), "clean", predictor.reads)
    sample = {f"data.{name}": array for name, array in holdout.dataset.sample(0, None).items()}
    assert file.feeds(sample)["sigma"] == [sample["data.sigma"]]
    assert score(file, holdout, metrics).means == pytest.approx(score(predictor, holdout, metrics).means, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs"),
    [
        ("segmenter", "{image: data.rgb}", "classes, scores"),
        ("blur3d", "{volume: data.volume}", "blurred"),
        ("registration", "{moving: data.moving, fixed: data.fixed}", "field, moved"),
        ("estimator", "{image: data.rgb}", "sigma"),
        ("halves", "{image: data.rgb}", "whole, half"),
    ],
)
def test_a_file_has_the_ports_of_its_chain(
    make_spec: MakeSpec, export: Export, kind: str, inputs: str, outputs: str
) -> None:
    block = f"it: {{network: kinds/{kind}, inputs: {inputs}, outputs: [{outputs}]}}"
    chain = build_chain(make_spec(blocks_of(block))).eval()
    first, *others = outputs.split(", ")
    predictor = FilePredictor(load(export("a.onnx", chain, block="it")), first, ChainPredictor(chain).reads)
    assert predictor.ports == {name: chain.ports[name] for name in (first, *others)}


def test_a_file_gets_numbers_beside_a_mosaic(make_spec: MakeSpec, export: Export, planes: np.ndarray) -> None:
    block = "clean: {network: kinds/planes, inputs: {raw: data.raw, level: data.level}, outputs: [quiet]}"
    chain = build_chain(make_spec(blocks_of(block))).eval()
    predictor = ChainPredictor(chain)
    file = FilePredictor(load(export("a.onnx", chain, tensor="quiet")), "quiet", predictor.reads)
    sample = {"data.raw": planes, "data.level": np.array(0.5, np.float32)}
    expected, found = (each(sample, ["quiet"])["quiet"] for each in (predictor, file))
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-5)


class Memory:
    """A data set of one sample."""

    def __init__(self, ports: Any, sample: dict[str, np.ndarray]) -> None:
        self.ports, self._sample = ports, sample

    def __len__(self) -> int:
        return 1

    def files(self, index: int) -> list[Path]:
        return []

    def sample(self, index: int, rng: None) -> dict[str, np.ndarray]:
        return self._sample


def _psnr(file: Path, output: str, reads: str, target: str, dataset: Memory) -> Scores:
    wired = WiredMetric(Psnr(), {"prediction": output, "target": target})
    return score(FilePredictor(load(file), output, [reads]), Samples(dataset, "holdout"), {"psnr": wired})


def test_a_mosaic_that_comes_out_is_measured_as_planes(
    write_model: Callable[..., Path], tmp_path: Path, make: Make, planes: np.ndarray
) -> None:
    """The file gives half the mosaic, plus the gain of 1; so zeros become ones."""
    ports = make().datasets["holdout"].target.ports
    file = write_model(tmp_path / "m.onnx", "raw-to-raw")
    half = Memory({"raw": ports["raw"], "wanted": ports["raw"]}, {"raw": planes, "wanted": np.ones_like(planes)})
    assert _psnr(file, "quiet", "data.raw", "data.wanted", half).means == {"psnr": np.inf}, "clipped at 1"
    other = Memory(half.ports, {"raw": planes, "wanted": planes})
    expected = -10 * np.log10(np.mean((1 - np.round(planes * 255) / 255) ** 2, dtype=np.float64))
    assert _psnr(file, "quiet", "data.raw", "data.wanted", other).means["psnr"] == pytest.approx(expected)


def test_a_large_picture_runs_in_tiles(
    write_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(write_model(tmp_path / "blur.onnx", blur=True))
    image = np.random.default_rng(0).random((3, 40, 30), dtype=np.float32)
    whole = model({"image": image[None]})[0]
    monkeypatch.setattr(tiled, "LARGE", 16)
    seen = watch_sizes(monkeypatch)
    made = FilePredictor(model, "out", ["data.image"])({"data.image": image}, ["out"])["out"]
    assert len(seen) > 1
    np.testing.assert_allclose(made, whole, atol=1e-6)


def test_all_outputs_of_a_file_are_measured() -> None:
    infos = [
        TensorInfo(name="picture_out", shape=[1, 3, "height", "width"], space="srgb"),
        TensorInfo(name="classes", shape=[1, "height", "width"], dtype="int64"),
        TensorInfo(name="sigma", shape=[1]),
    ]

    class Several:
        manifest = SimpleNamespace(kind="tensors", outputs=infos)

        def outputs(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            image = feeds["image"]
            return {"picture_out": image, "classes": np.full((1, 2, 2), 7), "sigma": image.std((1, 2, 3))}

    file, image = FilePredictor(Several(), "picture", ["data.image"]), np.float32(np.eye(2)[None].repeat(3, 0))
    made = file({"data.image": image}, ["sigma", "classes", "picture"])
    assert {name: array.shape for name, array in made.items()} == {"picture": (3, 2, 2), "classes": (2, 2), "sigma": ()}
    assert {name: port.is_picture for name, port in file.ports.items()} == {
        "picture": True,
        "classes": False,
        "sigma": False,
    }
    assert file({"data.image": image}, []) == {}


def test_measuring_a_file_needs_no_torch() -> None:
    code = "import restore_hub.evaluate.file, restore_hub.evaluate.scores, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_chain_runs_only_the_blocks_that_are_needed(small_chain: Chain, planes: np.ndarray) -> None:
    calls: list[str] = []
    handles = [b.register_forward_hook(lambda *_, n=n: calls.append(n)) for n, b in small_chain.blocks.items()]
    made = ChainPredictor(small_chain)({"data.raw": planes}, ["rgb"])
    for handle in handles:
        handle.remove()
    assert calls == ["generate"]
    with torch.no_grad():
        wanted = small_chain.blocks["generate"](torch.from_numpy(planes)[None])[0].numpy()
    np.testing.assert_allclose(made["rgb"], wanted)
