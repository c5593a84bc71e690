"""`restore-hub list`: plugins, and every component that they register."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore_hub.cli.options import plugin_option
from restore_hub.errors import UnknownComponentError, nearest

if TYPE_CHECKING:
    from restore_hub.plugins import Plugin
    from restore_hub.registry import Registry


@click.command(name="list")
@click.argument("kind", required=False)
@plugin_option
@click.pass_context
def command(context: click.Context, kind: str | None, plugins: tuple[Path, ...]) -> None:
    """List plugins and components, or those of one KIND: plugin, network, loss, metric, command, ...

    `list plugin` ends with status 1 where a plugin failed to load.
    """
    from restore_hub.plugins import allowed_namespaces, default_registry, load_plugins, registry_of

    kind = _kind(kind)
    if kind is not None and kind != "plugin":
        click.echo(_components(default_registry(plugins), kind))
        return
    found = load_plugins(plugins, allowed_namespaces())
    if kind is None:
        click.echo(_components(registry_of(found), None) + "\n")
    click.echo("\n".join(_plugins(found)))
    if kind == "plugin" and any(plugin.error for plugin in found):
        context.exit(1)


def _kind(name: str | None) -> str | None:
    """Return a kind in the singular."""
    from restore_hub.registry import KINDS, PLURALS

    kinds = {"plugins": "plugin", "plugin": "plugin", **{kind: kind for kind in KINDS}}
    kinds.update({plural: kind for kind, plural in PLURALS.items()})
    if name is not None and name not in kinds:
        known = ", ".join(dict.fromkeys(kinds.values()))
        raise UnknownComponentError("plugin.unknown-kind", kind=name, known=known, mend=nearest(name, kinds))
    return None if name is None else kinds[name]


def _components(registry: Registry, kind: str | None) -> str:
    from restore_hub.cli.table import table

    for namespace in sorted(registry.failures) if kind else ():
        click.echo(f"the plugin {namespace} failed to load; `restore-hub list plugin` says why", err=True)
    return table(("KIND", "NAME", "SUMMARY"), [(c.kind, c.name, c.summary) for c in registry.of_kind(kind)])


def _plugins(found: Sequence[Plugin]) -> Iterator[str]:
    from restore_hub.cli.table import table

    rows = [(p.namespace, "FAILED" if p.error else "ok", str(len(p.components)), p.version, p.origin) for p in found]
    yield table(("PLUGIN", "STATUS", "COMPONENTS", "VERSION", "FROM"), rows)
    for plugin in found:
        if plugin.error:
            yield f"{plugin.namespace}: {plugin.error}"
