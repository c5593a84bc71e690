"""`restore-hub track RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option, set_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@set_option
@plugin_option
def command(run: Path, overrides: tuple[str, ...], plugins: tuple[Path, ...]) -> None:
    """Send the tracker what it doesn't have yet of RUN, a run folder; use --set to send it to another tracker."""
    from restore_hub.plugins import default_registry
    from restore_hub.train.recording.send_later import track_run

    where = track_run(run, default_registry(plugins), overrides)
    click.echo("nothing to send: the tracker has all of the run" if where is None else f"tracker   {where}")
