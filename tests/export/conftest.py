"""A file that denoises mosaics, exported once for all tests that run it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restore_hub.export import deployed_chain, export_onnx
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec

SPEC = """
name: denoise
blocks:
  denoise: {network: raw/denoiser, width: 2, depth: 1, inputs: {raw: data.raw}, outputs: [clean]}
"""


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that denoises mosaics, with weights that do something; not to be changed."""
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "spec.yaml").write_text(SPEC)
    torch.manual_seed(0)
    chain = build_chain(make_plan(read_spec(folder / "spec.yaml"), default_registry())).eval()
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    module = deployed_chain(chain, "clean")
    export_onnx(module, folder / "quiet.onnx", name="t/clean", licence="MIT", metrics={}, provenance={})
    return folder / "quiet.onnx"
