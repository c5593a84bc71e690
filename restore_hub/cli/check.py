"""`restore-hub check SPEC`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@set_option
@plugin_option
def command(spec: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    """Check SPEC: names, options, graph, level rules, then shapes on the meta device, parameters and cost."""
    from restore_hub.plan import make_plan
    from restore_hub.plan.report import report
    from restore_hub.plan.shipped import find_spec
    from restore_hub.plugins import default_registry
    from restore_hub.spec import read_spec

    plan = make_plan(read_spec(find_spec(spec), overrides), default_registry(plugins))
    found = report(plan)
    of = "each split" if plan.problem else "the first split, at its crop or 128 pixels"
    click.echo(f"tensors (of one batch of {of})")
    width = max(14, *map(len, found.shapes))
    for name, shape in found.shapes.items():
        click.echo(f"  {name:<{width}} {' x '.join(map(str, shape)):<20} {found.makers[name]}")
    click.echo("blocks")
    for name, count in found.parameters.items():
        click.echo(f"  {name:<14} {count:>12,} parameters  {(plan.problem or plan.networks[name]).component.name}")
    click.echo("stages")
    for number, line in enumerate(found.costs, 1):
        click.echo(f"  {number}. {line}")
    for remark in found.remarks:
        click.echo(f"note: {remark}")
    click.echo(f"{plan.spec.name}: ok")
