"""`restore-hub forecast SPEC`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore_hub.cli.options import plugin_option, set_option
from restore_hub.cli.table import table
from restore_hub.cli.units import duration, size

if TYPE_CHECKING:
    from restore_hub.trial.compare_solvers import SolverResult, StageComparison
    from restore_hub.trial.forecast import Forecast, StageForecast
    from restore_hub.trial.stage_probe import Measurement


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@set_option
@plugin_option
@click.option("--runs", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of runs.")
@click.option("--device", default="cpu", show_default=True, help="A torch device.")
@click.option("--compare", metavar="SOLVER,SOLVER", help="Compare solvers in the bilevel stages instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: seconds and bytes.")
def command(
    spec: Path,
    overrides: tuple[str, ...],
    plugins: tuple[Path, ...],
    runs: Path,
    device: str,
    compare: str | None,
    as_json: bool,
) -> None:
    """Forecast the time, memory and disk of a run of SPEC by taking its first steps; write no files."""
    from restore_hub.trial.compare_solvers import compare_solvers
    from restore_hub.trial.forecast import forecast

    if compare is None:
        found = forecast(spec, overrides=overrides, plugins=plugins, runs=runs, device=device)
        click.echo(json.dumps(asdict(found), indent=2) if as_json else "\n".join(_forecast(found)))
        return
    named = [name.strip() for name in compare.split(",") if name.strip()]
    if not named:
        raise click.UsageError("--compare needs names of solvers, such as tbgl,ibgl")
    comparisons = compare_solvers(spec, named, overrides=overrides, plugins=plugins, device=device)
    if as_json:
        click.echo(json.dumps([asdict(comparison) for comparison in comparisons], indent=2))
    else:
        click.echo("\n\n".join("\n".join(_comparison(comparison)) for comparison in comparisons))


def _forecast(found: Forecast) -> Iterator[str]:
    head = ["stage", "steps", "a step", "for data", "total", "holdout", "memory", "with holdout"]
    yield table(head, [_stage(number, stage) for number, stage in enumerate(found.stages, 1)])
    most = "at most " if any(stage.at_most for stage in found.stages) else ""
    holdout = sum(stage.measuring for stage in found.stages)
    measuring = f", including {duration(holdout)} to measure the holdout" if holdout else ""
    yield f"time    {most}{duration(found.seconds)}{measuring}; plus the start and the export"
    yield f"memory  {size(found.memory)} of {size(found.machine)}; plus a tracker and the export"
    if found.device_total:
        yield f"device  {size(found.device_memory)} of {size(found.device_total)}"
    yield f"disk    {size(found.checkpoints)} of {size(found.free)} free, for checkpoints"
    for warning in found.warnings:
        yield f"warning: {warning}"


def _stage(number: int, stage: StageForecast) -> list[str]:
    memory, peak = _memory(stage.measured)
    return [
        f"{number} {stage.solver}",
        f"{'about ' if stage.estimated else ''}{stage.steps}",
        duration(stage.measured.step_seconds),
        duration(stage.measured.data_seconds),
        duration(stage.stepping),
        f"{stage.measurements} x {duration(stage.measuring / stage.measurements)}" if stage.measurements else "-",
        memory,
        peak if stage.measurements else "-",
    ]


def _memory(measured: Measurement) -> tuple[str, str]:
    """Return the peaks after the steps and after a picture: the device's if there is one, else the host's."""
    if measured.device_total:
        return size(measured.device_memory), size(measured.device_peak)
    return size(measured.memory), size(measured.peak)


def _comparison(comparison: StageComparison) -> Iterator[str]:
    ran = [result for result in comparison.results if result.measured]
    base = comparison.current if comparison.current in [result.solver for result in ran] else "the fastest"
    yield f"stage {comparison.stage}, now {_short(comparison.current)}, losses of the third step from the first weights"
    head = ["solver", "a step", f"x {_short(base)}", "gradients", "memory", "F_upper", "F_lower", ""]
    yield table(head, [_row_of(result, result.measured) for result in ran if result.measured])
    for result in comparison.results:
        if result.refused:
            yield f"{_short(result.solver)}: {result.refused}"


def _row_of(result: SolverResult, measured: Measurement) -> Sequence[str]:
    losses = (measured.losses.get(f"loss/{level}") for level in ("upper", "lower"))
    return [
        _short(result.solver),
        duration(measured.step_seconds),
        f"{result.ratio:.2f}",
        str(measured.evaluations),
        _memory(measured)[0],
        *("-" if value is None else f"{value:.4g}" for value in losses),
        ", ".join(result.changed),
    ]


def _short(name: str) -> str:
    return name.removeprefix("std/")
