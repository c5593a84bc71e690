"""The demo's table: PSNR and SSIM of every method on the held-out pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from classical import Picture

from restore_hub.plugins import default_registry
from restore_hub.train.run import Result


@dataclass(frozen=True)
class Row:
    """One method to develop the dark files: seconds and outer steps of its last stage (`None` untrained), pictures."""

    name: str
    seconds: float | None
    steps: int | None
    pictures: dict[str, Picture]


def scores(row: Row, references: Mapping[str, Picture]) -> dict[str, list[float]]:
    """Return each metric of each picture, clipped to [0, 1] and rounded to 8 bits, nothing cropped."""
    registry = default_registry()
    metrics = {name: registry.find("metric", name).load()() for name in ("psnr", "ssim")}
    rounded = {
        name: (np.round(np.clip(picture, 0, 1) * 255) / 255, np.round(np.clip(references[name], 0, 1) * 255) / 255)
        for name, picture in row.pictures.items()
    }
    return {name: [metric(*pair) for pair in rounded.values()] for name, metric in metrics.items()}


def table(rows: Sequence[Row], references: Mapping[str, Picture]) -> str:
    """Return the table as Markdown that also reads well in a terminal."""
    names = list(references)
    lines = [
        f"| {'held-out pictures: ' + ', '.join(names):<42} | PSNR dB | SSIM  | trained s | steps |",
        f"| {'-' * 42} | ------- | ----- | --------- | ----- |",
    ]
    for row in rows:
        means = {metric: float(np.mean(values)) for metric, values in scores(row, references).items()}
        seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
        steps = "-" if row.steps is None else f"{row.steps}"
        lines.append(f"| {row.name:<42} | {means['psnr']:7.2f} | {means['ssim']:.3f} | {seconds:>9} | {steps:>5} |")
    return "\n".join(lines)


def write_report(
    path: Path, rows: Sequence[Row], references: Mapping[str, Picture], result: Result, ratio: float
) -> None:
    """Write the table, how it was measured, and where everything is."""
    each = []
    for row in rows:
        found = scores(row, references)
        values = ", ".join(
            f"{name} {psnr:.2f}/{ssim:.3f}"
            for name, psnr, ssim in zip(row.pictures, found["psnr"], found["ssim"], strict=True)
        )
        each.append(f"- {row.name}: {values}")
    text = f"""# Low-light RAW: the methods compared

{table(rows, references)}

Short exposures are {ratio:g} times darker than long ones (`data/*/pairs.json` states shot and read noise); the
reference is rawpy's rendering of the long exposure. PSNR is joint over RGB, SSIM is scikit-image's with Gaussian
weights; pictures are clipped and rounded to 8 bits, nothing is cropped. The tone curve and the denoiser's strength
are fitted to the pairs that have references. `ibgl`, `alternating` and `joint` continue from the same warm start for
the same time, on the same photographs, with the same clipping and schedule. `alternating` is `ibgl` without the
response; `joint` has no levels: it continues the warm start at the rate of the upper level.

With {len(references)} pictures, differences of a few tenths of a dB are not significant; `python benchmarks/levels.py`
compares over seeds.

PSNR/SSIM of each picture:

{chr(10).join(each)}

![held-out pictures](sheet.png)

- run folder: `{result.folder}`
- exported files (weights of the last step, {result.step}): {", ".join(f"`{p}`" for p in result.exported)}
- tracker: {result.where}
"""
    path.write_text(text, encoding="utf-8")
