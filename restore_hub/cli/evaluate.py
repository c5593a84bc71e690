"""`restore-hub evaluate WHAT...`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore_hub.cli.native import quiet_libraw
from restore_hub.cli.options import FilePath, NumberInput, as_mapping, plugin_option
from restore_hub.cli.units import printable
from restore_hub.model.devices import PROVIDERS
from restore_hub.terminal import has_bar

if TYPE_CHECKING:
    from restore_hub.evaluate.comparison import Difference, Estimate
    from restore_hub.evaluate.job import Evaluation, Job


@click.command()
@click.argument("what", nargs=-1, required=True)
@click.option("--data", metavar="WHERE", help="A folder, a split of the first run, or '{dataset: NAME, ...}'.")
@click.option("--reference", type=FilePath(), help="Folder of the references of pictures or RAW files in --data.")
@click.option("--metrics", metavar="NAMES", help="Such as psnr,ssim (the default, unless the run names others).")
@click.option("--input", "inputs", type=NumberInput(), multiple=True, help="A number for all samples, as sigma=0.1.")
@click.option("--weights", help="Checkpoint of runs (last, best, stage-1 …); default: the one that they export.")
@click.option("--csv", "sheet", type=FilePath(), help="Write every value of every sample here.")
@click.option("--pictures", type=FilePath(), help="New folder for the restored pictures (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--device",
    type=click.Choice(list(PROVIDERS)),
    default="cpu",
    show_default=True,
    help="Where to compute.",
)
@plugin_option
@quiet_libraw()
def command(
    what: tuple[str, ...],
    data: str | None,
    reference: Path | None,
    metrics: str | None,
    inputs: tuple[tuple[str, float], ...],
    weights: str | None,
    sheet: Path | None,
    pictures: Path | None,
    as_json: bool,
    device: str,
    plugins: tuple[Path, ...],
) -> None:
    """Measure WHAT by metrics: run folders, exported ONNX files, zoo:NAME, or folders of results.

    Without --data, a run is measured on its split `holdout`, and a folder of results against --reference. A folder of
    pictures or RAW files needs --reference, unless it holds the folders `short` and `long` of RAW pairs. Pictures that
    belong together have the same name, whatever the suffix.

    Several WHAT are compared on the same samples with the first: the mean difference, its standard error, and which one
    is better, if by more than two of these.
    """
    from restore_hub.evaluate.job import prepare
    from restore_hub.evaluate.written import check_places, picture_writer, write_csv
    from restore_hub.plugins import default_registry

    twice = next((name for name in what if what.count(name) > 1), None)
    if twice is not None:
        raise click.UsageError(f"{twice} is given twice")
    check_places(sheet, pictures)
    job = prepare(
        what,
        default_registry(plugins),
        data=data,
        reference=reference,
        metrics=metrics,
        numbers=as_mapping(inputs),
        weights=weights,
        device=device,
    )
    found = _run(job, picture_writer(job, pictures) if pictures is not None else None)
    if sheet is not None:
        write_csv(found, sheet)
    click.echo(json.dumps(_as_json(found), indent=2) if as_json else "\n".join(map(printable, _lines(found))))


def _run(job: Job, write: Any) -> Evaluation:
    """Measure with a bar, if standard error is a terminal."""
    from tqdm import tqdm

    total = len(job.candidates) * len(job.names)
    with tqdm(total=total, desc="evaluate", unit="sample", disable=not has_bar(), leave=False) as bar:

        def progress(*facts: Any) -> None:
            if write is not None:
                write(*facts)
            bar.update()

        return job.run(progress)


def _lines(found: Evaluation) -> Iterator[str]:
    """Yield the tables."""
    from restore_hub.cli.table import table
    from restore_hub.evaluate.comparison import difference, estimate

    against = f", against {found.target}" if found.target else ""
    several = "s" if len(found.samples) > 1 else ""
    yield f"{found.data}{against}: {len(found.samples)} sample{several}, mean ± standard error"
    rows = [
        [name, *(_shown(estimate(scores, m)) if m in scores.means else "-" for m in found.metrics)]
        for name, scores in found.scores.items()
    ]
    yield from table(["", *found.metrics], rows).splitlines()
    first, *others = found.candidates
    compared = [
        [name, metric, *_compared(difference(found.scores[name], found.scores[first], metric, higher))]
        for metric, higher in found.metrics.items()
        for name in others
    ]
    if compared:
        yield ""
        yield f"compared with {first}, sample by sample"
        yield from table(["", "metric", "difference", ""], compared).splitlines()
    yield from (f"note: {note}" for note in found.notes)


def _shown(estimate: Estimate, sign: str = "") -> str:
    error = "" if math.isnan(estimate.error) else f" ± {estimate.error:.2g}"
    return f"{estimate.mean:{sign}.4g}{error}"


def _compared(found: Difference | None) -> tuple[str, str]:
    if found is None:
        return "-", "measures all samples together"
    return _shown(found.estimate, "+"), found.verdict


def _as_json(found: Evaluation) -> dict[str, Any]:
    from restore_hub.evaluate.comparison import difference, estimate

    first, *others = found.candidates
    differences: dict[str, Any] = {name: {} for name in others}
    for name in others:
        for metric, higher in found.metrics.items():
            one = difference(found.scores[name], found.scores[first], metric, higher)
            if one is not None:
                differences[name][metric] = {**_numbers(one.estimate), "verdict": one.verdict}
    return {
        "data": found.data,
        "reference": found.target or None,
        "samples": len(found.samples),
        "metrics": {name: {"higher_is_better": higher} for name, higher in found.metrics.items()},
        "scores": {
            name: {metric: _numbers(estimate(scores, metric)) for metric in scores.means}
            for name, scores in found.scores.items()
        },
        "differences": {"to": first, "of": differences} if others else None,
        "notes": list(found.notes),
    }


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    """Return the numbers of an estimate; JSON has none that aren't finite."""
    finite = {"mean": estimate.mean, "error": estimate.error}
    return {name: value if math.isfinite(value) else None for name, value in finite.items()} | {"count": estimate.count}
