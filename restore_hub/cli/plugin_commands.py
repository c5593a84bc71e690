"""Commands of plugins: `restore-hub NAME`, or `restore-hub GROUP NAME`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from restore_hub.errors import PluginError

if TYPE_CHECKING:
    from restore_hub.registry import Component, Registry


def commands_of(registry: Registry, group: str | None) -> dict[str, Component]:
    """Return the commands of a group as one types them: without namespace, or with it where several share a name."""
    found = [component for component in registry.of_kind("command") if component.group == group]
    owners = Counter(map(_short, found))
    return {c.name if owners[_short(c)] > 1 else _short(c): c for c in found}


def load_command(registry: Registry, group: str | None, name: str) -> click.Command | None:
    """Import a command by its name, with or without namespace; return `None` where there is none.

    Raises:
        PluginError: several plugins share the name, or the command can't be imported.
    """
    commands = commands_of(registry, group)
    component = commands.get(name) or {c.name: c for c in commands.values()}.get(name)
    if component is None:
        same = [c.name for c in commands.values() if _short(c) == name]
        if same:
            raise PluginError("plugin.command-of-several", name=name, known=" or ".join(same))
        return None
    command: click.Command = component.load()
    command.name = name
    return command


def call_of(registry: Registry, component: Component) -> str:
    """Return what one types to run a command."""
    name = next(name for name, c in commands_of(registry, component.group).items() if c is component)
    return " ".join(word for word in ("restore-hub", component.group, name) if word)


def _short(component: Component) -> str:
    return component.name.partition("/")[2]
