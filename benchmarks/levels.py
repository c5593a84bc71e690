"""Whether levels pay: the pipeline `few_references` against training without levels, over seeds, at equal time.

Each seed has a warm start of its own. From it every solver trains for the same seconds on the same photographs, few
with references and many without, with the same clipping and schedule; `joint` has no levels. The scores are those of
photographs held out, after the last step. With `RESTORE_HUB_DATA` they come from its training photographs of BSDS500:
4 with references, 32 without, the other 30 held out. Without it they are those of the demo.

- `PSNR`, `SSIM`: means over seeds and photographs.
- `lowest`: the PSNR of the worst seed.
- `over`: the PSNR of `ibgl` over that of another solver, paired by seed, with its 95 % interval (Student's t). An
  interval that holds 0 finds no difference.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

from arena.results import RESULTS, ROOT, publish, table

sys.path.append(str(ROOT / "pipelines" / "demo"))
from arms import SOLVERS, go_on
from photographs import copy_photographs

from restore_hub import run
from restore_hub.spec import read_spec

PIPELINE = ROOT / "pipelines" / "few_references.yaml"
REFERENCES, DARK = 4, 32  # of the photographs of BSDS500


def photographs(folder: Path) -> dict[str, Path]:
    """Copy the photographs into `folder/<split>` and return the folder of each split."""
    shared = os.environ.get("RESTORE_HUB_DATA")
    if not shared:
        return copy_photographs(folder)
    files = sorted(Path(shared, "denoise", "bsds500_train_rgb").rglob("*.jpg"))
    cuts = {"references": files[:REFERENCES], "dark": files[REFERENCES:][:DARK], "holdout": files[REFERENCES + DARK :]}
    for split, chosen in cuts.items():
        (folder / split).mkdir(parents=True)
        for file in chosen:
            shutil.copyfile(file, folder / split / file.name)
    return {split: folder / split for split in cuts}


def make_data(folder: Path) -> list[str]:
    """Make the dark and bright files of every split; return the overrides that name their folders."""
    roots = []
    for split, source in photographs(folder / "photographs").items():
        root = folder / "data" / split
        subprocess.run(
            [sys.executable, "-m", "restore_hub", "data", "make-raw", str(source), str(root), "--ratio", "100"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        roots.append(f"data.{split}.root={root / 'short' if split == 'dark' else root}")
    return [*roots, "tracker=", "export={chain: enhanced}"]


def train_all(seed: int, out: Path, overrides: Sequence[str], steps: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Return what each solver reached from one warm start, and the warm start itself."""
    document = read_spec(PIPELINE).data
    common = [*overrides, f"seed={seed}"]
    first = [f"stages={json.dumps([{**document['stages'][0], 'steps': steps}])}"]
    found = {"warm start": _train(out / "warm", [*common, *first])}
    warm = out / "warm" / "checkpoints" / "last.pt"
    for solver in (*SOLVERS[seed % len(SOLVERS) :], *SOLVERS[: seed % len(SOLVERS)]):  # no solver always goes first
        print(f"seed {seed}: {solver}", file=sys.stderr, flush=True)
        found[solver] = _train(out / solver, [*common, *go_on(document, solver, warm, seconds)])
    return found


def _train(out: Path, overrides: Sequence[str]) -> dict[str, Any]:
    result = run(PIPELINE, overrides=overrides, out=out, quiet=True)
    (stage,) = result.stages
    return {**result.metrics, "steps": stage.steps, "seconds": stage.seconds}


def interval(differences: Sequence[float]) -> str:
    """Return the mean of paired differences with the half width of its 95 % interval; one seed has none."""
    mean = statistics.mean(differences)
    if len(differences) < 2:
        return f"{mean:+.2f}"
    half = student.ppf(0.975, len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.2f} ± {half:.2f}"


def row(name: str, seeds: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return the cells of a solver."""
    values = {key: [seed[name][key] for seed in seeds] for key in ("psnr", "ssim", "seconds", "steps")}
    over = [seed["ibgl"]["psnr"] - seed[name]["psnr"] for seed in seeds]
    return [
        name,
        f"{statistics.mean(values['psnr']):.2f}",
        f"{statistics.mean(values['ssim']):.3f}",
        f"{min(values['psnr']):.2f}",
        f"{statistics.mean(values['seconds']):.0f}",
        f"{statistics.mean(values['steps']):.0f}",
        "-" if name == "ibgl" else interval(over),
    ]


def main() -> None:
    """Measure, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--results", type=Path, default=RESULTS, help="folder that the table is written to")
    arguments.add_argument("--seeds", type=int, default=5, help="number of seeds")
    arguments.add_argument("--steps", type=int, default=1000, help="outer steps of the warm start")
    arguments.add_argument("--seconds", type=float, default=20, help="of training from the warm start")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overrides = make_data(Path(folder))
        seeds = [
            train_all(seed, Path(folder, f"seed-{seed}"), overrides, given.steps, given.seconds)
            for seed in range(given.seeds)
        ]
    head = ["solver", "PSNR, dB", "SSIM", "lowest", "seconds", "steps", "`ibgl` over it, dB"]
    text = f"{given.seeds} seeds\n\n{table(head, [row(name, seeds) for name in ('warm start', *SOLVERS)])}"
    publish("levels", __doc__, [text], given.results, f"One process with {torch.get_num_threads()} threads.")


if __name__ == "__main__":
    main()
