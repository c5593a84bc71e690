"""`restore-hub inspect` shows the manifest and runs the test vector."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from restore_hub.model.manifest import Memory
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage
from support.commands import output
from support.models import Write


def test_inspect_prints_inputs_metrics_and_the_verdict(tmp_path: Path, write_model: Write) -> None:
    memory = Memory(base=1 << 20, per_pixel=90)
    path = write_model(tmp_path / "chain.onnx", "raw-to-rgb", metrics={"psnr": 21.5}, memory=memory)
    shown = output("inspect", path)
    for part in (
        "t/chain  (raw-to-rgb",
        "licence CC0-1.0",
        "mosaic",
        "phase",
        "holdout psnr 21.5",
        "tiles: exact",
        "memory on the CPU: 1 MiB and 90 bytes a pixel",
        ": ok",
    ):
        assert part in shown
    assert json.loads(output("inspect", path, "--json"))["metrics"] == {"psnr": 21.5}


def test_inspect_shows_the_facts_of_a_raw_file(tmp_path: Path) -> None:
    mosaic = np.random.default_rng(0).integers(600, 1200, (26, 34)).astype(np.uint16)
    mosaic[:, :17] = 16383
    black, white, balance = np.float32([512, 513, 514, 515]), np.float32([16383] * 4), np.float32([2, 1, 1, 1.5])
    facts = {"noise": np.full((4, 2), 1e-4)}
    raw = RawImage(mosaic, (0, 1), black, white, balance, "camera", 6, 0.04, 8.0, "Acme X1", **facts)
    write_dng(tmp_path / "a.dng", raw)
    shown = output("inspect", tmp_path / "a.dng")
    for line in (
        "a.dng  (RAW, Acme X1)",
        "size           34 x 26\n",
        "pattern        grbg",
        "black          512 513 514 515",
        "white          16383\n",
        "white balance  2 1 1 1.5 (camera)",
        "exposure       0.04 s",
        "gain           8, stated in the file's metadata",
        "orientation    6",
        "clipped        50.00% of the sites",
        "hot pixels     0",
        "stated noise   0.0001 x + 0.0001, ",
    ):
        assert line in shown
    facts = json.loads(output("inspect", tmp_path / "a.dng", "--json"))
    assert facts["black"] == [512, 513, 514, 515]
    assert facts["size"] == facts["sensor"] == [26, 34]
