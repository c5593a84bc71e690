"""What an exported file states about tiles is what tiles give: exact, approximate or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restore_hub.export import Deployed, deployed_chain, export_onnx
from restore_hub.export import tiling as tiling_module
from restore_hub.export.merge import merge
from restore_hub.export.tiling import find_tiling
from restore_hub.model.model import probe_feeds
from restore_hub.model.sequence import load
from restore_hub.model.tiled import run
from restore_hub.plan import build_chain
from support import refused
from support.models import Make, Write, join


def exported(chain: Deployed, path: Path) -> Path:
    export_onnx(chain, path, name="t", licence=None, metrics={}, provenance={})
    return path


class Looking(nn.Module):
    """Replaces `enhance`: a 3x3 convolution, plus a share of the whole picture's mean."""

    def __init__(self, part: float, contract: nn.Module) -> None:
        super().__init__()
        self.part, self.convolution = part, nn.Conv2d(3, 3, 3, padding=1)
        self.inputs, self.outputs, self.size_multiple = contract.inputs, {"image": contract.inputs["image"]}, 1

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(image) + self.part * image.mean((2, 3), keepdim=True)


class Median(Looking):
    """The convolution on the median of three columns."""

    def forward(self, image: Tensor) -> Tensor:
        padded, width = nn.functional.pad(image, (1, 1, 0, 0), mode="replicate"), image.shape[3]
        columns = torch.stack([padded[..., start : start + width] for start in range(3)])
        return self.convolution(columns.topk(2, dim=0).values[1])


def looking(make: Make, part: float, block: type[Looking] = Looking) -> Deployed:
    torch.manual_seed(0)
    chain = build_chain(make()).eval()
    chain.blocks["enhance"] = block(part, chain.blocks["enhance"]).eval()  # type: ignore[arg-type]
    chain._wiring["enhance"] = (chain._wiring["enhance"][0], ("enhanced",))
    return deployed_chain(chain, "enhanced")


@pytest.mark.usefixtures("measured_memory")
def test_the_shipped_chain_is_exact_at_odd_sizes_and_every_phase(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A margin that is too small for it is noticed."""
    torch.manual_seed(0)
    module = deployed_chain(build_chain(make("blocks.generate.depth=2")).eval(), "enhanced")
    model = load(exported(module, tmp_path / "c.onnx"))
    tiling = model.manifest.tiling
    assert (tiling.kind, tiling.align) == ("exact", 8)
    assert tiling.error <= 1e-4
    assert tiling.margin % 8 == 0
    assert model.manifest.memory.per_pixel > 16  # the mosaic and the picture alone
    for seed, (size, phase) in enumerate((((131, 97), (0, 1)), ((1, 140), (1, 1)), ((96, 96), (1, 0)))):
        feeds = probe_feeds(module.inputs, seed, *size, phase)
        feeds["mosaic"] = feeds["mosaic"] * 900 + 64
        feeds |= {"black": np.full(4, 64, np.float32), "white": np.full(4, 1023, np.float32)}
        whole, cut = (run(model, feeds, tile)[0] for tile in (0, 24))
        assert np.abs(whole - cut).max() <= 1e-4
    monkeypatch.setattr(tiling_module, "receptive_field", lambda *_: 2)
    small = find_tiling(module, model)
    assert small.kind != "exact"
    assert small.error > 1e-4 or small.kind == "none"


@pytest.mark.parametrize(
    ("part", "kind", "low", "high"), [(0.01, "approximate", 1e-4, 8 / 255), (20.0, "none", 8 / 255, np.inf)]
)
def test_the_whole_s_mean(make: Make, tmp_path: Path, part: float, kind: str, low: float, high: float) -> None:
    """The file is judged by itself: what the module gives doesn't count."""
    model = load(exported(looking(make, part), tmp_path / "c.onnx"))
    tiling = model.manifest.tiling
    assert tiling.kind == kind
    assert low < tiling.error <= high
    if kind == "none":
        assert tiling.margin == 256
        assert "256 pixels" in tiling.describe()
        assert f"{tiling.error:.2g}" in tiling.describe()
        assert find_tiling(looking(make, 0.0), model).kind == "none"


def test_a_median_filter_is_exact(make: Make, tmp_path: Path) -> None:
    tiling = load(exported(looking(make, 0.0, Median), tmp_path / "c.onnx")).manifest.tiling
    assert (tiling.kind, tiling.margin >= 3) == ("exact", True)


@pytest.mark.usefixtures("measured_memory")
def test_a_file_that_cannot_be_measured(write_model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restore_hub.fresh_process.sys.executable", "/bin/false")
    one = write_model(tmp_path / "one.onnx")
    with refused("model.not-measured", quantity="memory"):
        merge(join(one, one), tmp_path / "merged.onnx")
    assert list(tmp_path.iterdir()) == [one]
