"""Published weights of SCI to ONNX without training, and what the files make of photographs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image

from restore_hub.cli import group
from restore_hub.errors import SpecError
from restore_hub.export.runs import export_spec
from restore_hub.model.sequence import load
from restore_hub.plugins import default_registry
from restore_hub.runtime.restore import restore
from restore_hub.train.run import run
from restore_hub.trial.forecast import forecast
from support import check, refused
from support.real import DATA, real

Weights = dict[str, torch.Tensor]


def layer(prefix: str, channels: tuple[int, int], norm: int | None = None) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a 3x3 convolution, and of the batch normalisation behind it."""
    index = prefix.rpartition(".")[2]
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}.weight": (channels[1], channels[0], 3, 3),
        f"{prefix}.bias": (channels[1],),
    }
    if norm is not None:
        after = f"{prefix.removesuffix(index)}{norm}"
        names = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"{after}.{name}": (channels[1],) for name in names} | {f"{after}.num_batches_tracked": ()}
    return shapes


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors in the published files."""
    shapes = layer("enhance.in_conv.0", (3, 3)) | layer("enhance.out_conv.0", (3, 3))
    for name in ("enhance.conv", "enhance.blocks.0"):
        shapes |= layer(f"{name}.0", (3, 3), 1)
    shapes |= layer("calibrate.in_conv.0", (3, 16), 1) | layer("calibrate.out_conv.0", (16, 3))
    for name in ("calibrate.convs", *(f"calibrate.blocks.{index}" for index in range(3))):
        shapes |= layer(f"{name}.0", (16, 16), 1) | layer(f"{name}.3", (16, 16), 4)
    return shapes


def small_weights(path: Path) -> Path:
    """Write random weights under the published names; what is one tensor there is the same here."""
    generator = torch.Generator().manual_seed(3)
    weights: Weights = OrderedDict()
    for name, shape in published_shapes().items():
        values = torch.rand(shape, generator=generator) - (0.0 if name.endswith("running_var") else 0.5)
        weights[name] = torch.tensor(1) if name.endswith("tracked") else values
    weights["enhance.out_conv.0.bias"] -= 2.0  # a dark illumination, so that the picture gets brighter
    for name in [n for n in weights if ".blocks." in n]:
        module, _, rest = name.partition(".blocks.")
        weights[name] = weights[f"{module}.{'conv' if module == 'enhance' else 'convs'}.{rest.partition('.')[2]}"]
    torch.save(weights, path)
    return path


def enhanced(weights: Weights, picture: np.ndarray) -> np.ndarray:
    """Return what SCI's test makes of a picture (H, W, 3) in [0, 1], float64, by the names of the tensors alone.

    Section 3.1 of the paper: an illumination i = x + H(x), kept within [1e-4, 1], and x / i within [0, 1]. H is a
    convolution, one residual block that normalises by its stored statistics, and a convolution with a sigmoid.
    """
    w = {name.removeprefix("enhance."): tensor.double() for name, tensor in weights.items()}
    x = torch.from_numpy(picture).double().permute(2, 0, 1)[None]

    def convolved(values: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(values, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    features = F.relu(convolved(x, "in_conv.0"))
    mean, variance, scale, shift = (
        w[f"conv.1.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    inner = (convolved(features, "conv.0") - mean) / torch.sqrt(variance + 1e-5) * scale + shift
    features = features + F.relu(inner)
    illumination = (torch.sigmoid(convolved(features, "out_conv.0")) + x).clamp(1e-4, 1)
    return (x / illumination).clamp(0, 1)[0].permute(1, 2, 0).numpy()


def exported(weights: Path, out: Path) -> Path:
    result = CliRunner().invoke(group, ["export", "sci", "--set", f"blocks.enhance.weights={weights}", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output == f"exported  {out / 'chain.onnx'}\n"
    return out / "chain.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `small.pt` and, made of it, `out/chain.onnx`."""
    made = tmp_path_factory.mktemp("sci")
    exported(small_weights(made / "small.pt"), made / "out")
    return made


def test_a_file_of_weights_becomes_a_model_that_gives_the_papers_pictures(folder: Path, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (19, 30, 3)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "dark.png")
    restore(folder / "out" / "chain.onnx", tmp_path / "dark.png", tmp_path / "bright.png")
    weights = torch.load(folder / "small.pt", weights_only=True)
    expected = enhanced(weights, levels / 255) * 255
    found = np.asarray(Image.open(tmp_path / "bright.png"))
    assert np.abs(found - expected).max() < 0.51  # to the nearest level
    assert found.mean() > levels.mean()


def test_the_manifest_says_which_weights_these_are(folder: Path) -> None:
    manifest = load(folder / "out" / "chain.onnx").manifest
    assert (manifest.kind, manifest.licence, manifest.metrics) == ("rgb-to-rgb", "MIT", {})
    assert manifest.provenance["weights"] == {"enhance": "small.pt"}
    digest = hashlib.sha256((folder / "small.pt").read_bytes()).hexdigest()
    assert manifest.provenance["weights_sha256"] == {"enhance": digest}
    assert manifest.provenance["spec"]["blocks"]["enhance"]["network"] == "retinex/illumination"


def test_a_spec_of_your_own_needs_only_the_block(folder: Path, tmp_path: Path) -> None:
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        f"name: mine\nblocks:\n  light: {{network: retinex/illumination, weights: {folder / 'small.pt'}, "
        "inputs: {image: data.picture}, outputs: [bright]}\nexport: {blocks: [light], chain: bright}\n"
    )
    files = export_spec(spec, default_registry(), tmp_path / "out")
    assert [path.name for path in files] == ["light.onnx", "chain.onnx"]
    assert [tensor.name for tensor in load(files[1]).manifest.inputs] == ["picture"]
    checked = CliRunner().invoke(group, ["check", str(spec)])
    assert checked.exit_code == 0, checked.output
    assert "1 x 3 x 128 x 128    light" in checked.output
    for trained in (lambda: run(spec, out=tmp_path / "run"), lambda: forecast(spec)):
        with refused("train.no-stages", "mine.yaml", SpecError):
            trained()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ([], "export.block-without-weights"),
        (["blocks.enhance.weights=none.pt"], "data.no-weights-file"),
        (["export.chain="], "export.nothing-named"),
    ],
)
def test_what_export_refuses(overrides: list[str], code: str, tmp_path: Path) -> None:
    given = [part for override in overrides for part in ("--set", override)]
    result = CliRunner().invoke(group, ["export", "sci", *given, "-o", str(tmp_path / "out")])
    check(result.exception, code)
    assert not (tmp_path / "out").exists()


@real
@pytest.mark.parametrize("name", ["easy", "medium", "difficult"])
def test_published_weights_give_the_published_procedures_pictures(tmp_path: Path, name: str) -> None:
    """Every sample picture; its authors' code cuts values off to 8 bits where this project rounds: 1 level at most."""
    path = DATA / "pretrained_weights/sci" / f"{name}.pt"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    assert {key: tuple(tensor.shape) for key, tensor in weights.items()} == published_shapes()
    model = load(exported(path, tmp_path / "out"))
    photographs = sorted(p for p in (DATA / "lowlight_unpaired/sci_samples").rglob("*") if p.is_file())
    assert len(photographs) == 18
    assert {p.suffix for p in photographs} == {".png", ".jpg"}
    for photograph in photographs:
        picture = np.asarray(Image.open(photograph).convert("RGB")) / 255
        values = enhanced(weights, picture) * 255
        restore(model, photograph, tmp_path / "made.png", overwrite=True)
        found = np.asarray(Image.open(tmp_path / "made.png")).astype(np.int16)
        assert np.abs(found - values).max() < 0.51  # to the nearest level
        assert np.abs(found - values.astype(np.uint8)).max() <= 1
        assert found.mean() > 1.05 * 255 * picture.mean()
        restore(model, photograph, tmp_path / "made.jpg", overwrite=True)
        jpeg = np.asarray(Image.open(tmp_path / "made.jpg")).astype(np.int16)
        assert np.abs(jpeg - found).mean() < 3  # what quality 95 costs
