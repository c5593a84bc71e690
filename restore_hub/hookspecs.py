"""The hooks of a plugin: signatures and one sentence each, no logic.

`register(name, target, *, summary, references=())` takes a name without namespace and the string
`module:attribute` of a callable, which is imported when the component is first used.
"""

from __future__ import annotations

from typing import Protocol

import pluggy

PROJECT = "restore_hub"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """The callback that a hook receives."""

    def __call__(self, name: str, target: str, *, summary: str, references: tuple[str, ...] = ()) -> None:
        """Register one component under the plugin's namespace."""
        ...


class RegisterCommand(Protocol):
    """The callback of `register_commands`."""

    def __call__(
        self, name: str, target: str, *, summary: str, references: tuple[str, ...] = (), group: str | None = None
    ) -> None:
        """Register one command: `restore-hub GROUP NAME`, or `restore-hub NAME` without a group."""
        ...


@hookspec
def register_networks(register: Register) -> None:
    """Register blocks: `restore_hub.contracts.Network` classes."""


@hookspec
def register_tasks(register: Register) -> None:
    """Register tasks, a network with its losses and metrics: `restore_hub.contracts.Task` classes."""


@hookspec
def register_losses(register: Register) -> None:
    """Register losses: `restore_hub.contracts.Loss` classes, which return (sum, count)."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics: `restore_hub.contracts.Metric` classes."""


@hookspec
def register_datasets(register: Register) -> None:
    """Register data: `restore_hub.contracts.Dataset` classes."""


@hookspec
def register_problems(register: Register) -> None:
    """Register problems, for models that aren't a chain of blocks: `restore_hub.contracts.Problem` classes."""


@hookspec
def register_solvers(register: Register) -> None:
    """Register solvers: `restore_hub.contracts.Solver` classes."""


@hookspec
def register_trackers(register: Register) -> None:
    """Register trackers: `restore_hub.contracts.Tracker` classes."""


@hookspec
def register_readers(register: Register) -> None:
    """Register sensor layouts: `restore_hub.contracts.Reader` classes, which turn RAW files into mosaics."""


@hookspec
def register_exporters(register: Register) -> None:
    """Register formats that an exported file is packed into for another program: `restore_hub.contracts.Exporter`."""


@hookspec
def register_commands(register: RegisterCommand) -> None:
    """Register commands: `click.Command` objects; with `group="data"` those that prepare or check data."""
