"""`restore-hub schema`."""

from __future__ import annotations

from pathlib import Path

import click

from restore_hub.cli.options import plugin_option


@click.command()
@plugin_option
def command(plugins: tuple[Path, ...]) -> None:
    """Print the JSON Schema of specs with the options of every registered component.

    Save it as spec.schema.json and begin a spec with `# yaml-language-server: $schema=spec.schema.json`.
    """
    import json

    from restore_hub.plan.schema import spec_schema
    from restore_hub.plugins import default_registry

    click.echo(json.dumps(spec_schema(default_registry(plugins)), indent=2))
