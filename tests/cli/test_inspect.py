"""`restore-hub inspect` shows the manifest and runs the test vector."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from click.testing import CliRunner

from restore_hub.cli import group
from restore_hub.export import deployed_chain, export_onnx
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.spec import read_spec

PIPELINE = Path(__file__).resolve().parents[2] / "pipelines" / "raw_lowlight.yaml"


def test_inspect_prints_inputs_metrics_and_the_verdict(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plan = make_plan(read_spec(PIPELINE, ["blocks.generate.width=2", "blocks.generate.depth=1"]), default_registry())
    path = tmp_path / "chain.onnx"
    module = deployed_chain(build_chain(plan).eval(), "enhanced")
    export_onnx(module, path, name="t/chain", licence="CC0-1.0", metrics={"psnr": 21.5}, provenance={})
    shown = CliRunner().invoke(group, ["inspect", str(path)])
    assert shown.exit_code == 0, shown.output
    for part in ("t/chain  (raw-to-rgb", "licence CC0-1.0", "mosaic", "phase", "holdout psnr 21.5", ": ok"):
        assert part in shown.output
    whole = CliRunner().invoke(group, ["inspect", str(path), "--json"])
    assert json.loads(whole.output)["metrics"] == {"psnr": 21.5}
