"""`restore-hub check SPEC`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore_hub.cli.options import plugin_option, set_option
from restore_hub.cli.table import table

if TYPE_CHECKING:
    from restore_hub.trial.hypergradient_check import Agreement, Closeness, Comparison

MEANING = """\
  theta stays where it is. `whole` is the gradient that steps theta; `response` is the part of it that stands for the
  lower level's response to theta, and `share` is how large that part should be. cosine: 1 is the right direction, 0 an
  unrelated one, below 0 the wrong way. length: 1x is right; the learning rate makes up for any other constant factor.
  `optimum`: the gradient with the lower level solved, which bilevel training is after. `steps`: the exact gradient of
  the lower steps just taken. These figures never fail a spec."""


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@set_option
@plugin_option
@click.option("--hypergradient", is_flag=True, help="Also compare the solvers with exact gradients, on a tiny copy.")
def command(spec: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...], hypergradient: bool) -> None:
    """Check SPEC: names, options, graph, level rules, solvers with their optimizers, shapes, parameters and cost."""
    from restore_hub.evaluate.metric_trial import try_metrics
    from restore_hub.plan import build_chain, make_plan
    from restore_hub.plan.dry_run import dry_run
    from restore_hub.plan.shipped import find_spec
    from restore_hub.plugins import default_registry
    from restore_hub.spec import read_spec
    from restore_hub.train.problems.fit import check_coupling, check_fit

    plan = make_plan(read_spec(find_spec(spec), overrides), default_registry(plugins))
    found = dry_run(plan)
    check_fit(plan, found.samples.__getitem__)
    try_metrics(plan, found.metrics, found.ports)
    if plan.problem is None:
        chain = build_chain(plan, "meta")
        check_coupling(plan, chain)
        if plan.spec.export.blocks or plan.spec.export.chain:
            from restore_hub.export.runs import modules_of

            modules_of(plan, chain)
    of = "each split" if plan.problem else "the first split, at its crop or 128 pixels"
    click.echo(f"tensors (of one batch of {of})")
    width = max(14, *map(len, found.shapes))
    for name, shape in found.shapes.items():
        click.echo(f"  {name:<{width}} {' x '.join(map(str, shape)):<20} {found.makers[name]}")
    click.echo("blocks")
    width = max(14, *map(len, found.parameters))
    for name, count in found.parameters.items():
        click.echo(f"  {name:<{width}} {count:>12,} parameters  {(plan.problem or plan.networks[name]).component.name}")
    click.echo("stages")
    for number, line in enumerate(found.costs, 1):
        click.echo(f"  {number}. {line}")
    for remark in found.remarks:
        click.echo(f"note: {remark}")
    if hypergradient:
        click.echo("\n".join(_hypergradients(spec, overrides, plugins)))
    click.echo(f"{plan.spec.name}: ok")


def _hypergradients(spec: Path, overrides: Sequence[str], plugins: Sequence[Path]) -> Iterator[str]:
    from restore_hub.trial.hypergradient_check import check_hypergradients

    found = check_hypergradients(spec, overrides=overrides, plugins=plugins)
    stages = [agreement.stage for agreement in found]
    for agreement in found:
        upper, lower = agreement.levels
        where = f", levels {upper} and {lower}" if stages.count(agreement.stage) > 1 else ""
        yield from _agreement(agreement, f"stage {agreement.stage}{where}")
    yield MEANING if found else "hypergradient: there is none, since no stage has two levels"


def _agreement(found: Agreement, where: str) -> Iterator[str]:
    yield f"hypergradient of {where}, {found.solver}, on a tiny copy in {found.dtype}"
    head = ["  against", "lower steps", "whole: cosine", "length", "response: cosine", "length", "share"]
    yield table(head, [_row(comparison) for comparison in found.comparisons])
    yield from (f"note: {note}" for note in found.notes)
    for reference in ("optimum", "steps"):
        cosines = [c.whole.cosine for c in found.comparisons if c.reference == reference and c.sound]
        if cosines:
            yield f"  against `{reference}`, {found.solver} {_verdict(cosines)}"
            return


def _row(comparison: Comparison) -> list[str]:
    share = "-" if math.isnan(comparison.share) else f"{comparison.share:.0%}"
    both = [cell for part in (comparison.whole, comparison.response) for cell in _cells(part)]
    return [f"  {comparison.reference}", str(comparison.lower_steps), *both, share]


def _cells(closeness: Closeness) -> tuple[str, str]:
    if math.isnan(closeness.ratio):
        return "-", "-"
    return f"{closeness.cosine:.2f}", f"{closeness.ratio:.3g}x"


def _verdict(cosines: Sequence[float]) -> str:
    """Return what the least cosine of the whole hypergradient means."""
    least = min(cosines)
    if math.isnan(least):
        return "can't be compared: the exact gradient is zero"
    if least >= 0.9:
        return "steps theta in the right direction"
    if least >= 0.5:
        return "steps theta roughly in the right direction"
    if least > 0:
        return "steps theta hardly in the right direction; compare solvers by training, or try `cg` or `rhg`"
    return "steps theta the wrong way or across; try another solver, such as `cg` or `rhg`"
