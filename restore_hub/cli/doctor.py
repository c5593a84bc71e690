"""`restore-hub doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from restore_hub.runtime.doctor import Finding


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Check this machine: versions, devices and their speed, memory, CPUs, folders, plugins.

    The exit code is 1 if restoring can't work. PyTorch and MLflow aren't imported.
    """
    from restore_hub.cli.table import table
    from restore_hub.runtime.doctor import examine

    findings = examine(("plugins", _plugins))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [(f.status, f.name, f"{f.found}; {f.mend}" if f.mend else f.found) for f in findings]
        click.echo(table(("STATUS", "CHECK", "FOUND"), rows))
    if any(finding.status == "error" for finding in findings):
        context.exit(1)


def _plugins() -> Iterator[Finding]:
    """Training needs plugins; restoring doesn't."""
    from restore_hub.plugins import allowed_namespaces, load_plugins
    from restore_hub.runtime.doctor import Finding

    plugins = load_plugins((), allowed_namespaces())
    failed = [plugin.namespace for plugin in plugins if plugin.error]
    if failed:
        mend = "`restore-hub list plugin` says why; restoring needs none of them"
        yield Finding("plugins", "warning", f"failed to load: {', '.join(failed)}", mend)
    else:
        yield Finding("plugins", "ok", ", ".join(f"{p.namespace} {p.version}" for p in plugins) or "none")
