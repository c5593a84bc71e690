"""click's own errors about how a command is called, as one line like every other error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from restore_hub.commands import COMMANDS
from restore_hub.errors import RestoreHubError, nearest


def usage_error(error: click.ClickException, given: Sequence[str]) -> RestoreHubError:
    """Return one of click's errors as ours.

    Args:
        error: what click raised.
        given: the arguments, which say which command it is where click doesn't.
    """
    context = getattr(error, "ctx", None)
    name = next((argument for argument in given if argument in COMMANDS), "")
    command = context.command_path if context else f"restore-hub {name}".rstrip()
    problem, mend = _parts(error, context)
    return RestoreHubError("call.usage", command, problem=problem, mend=mend, command=command)


def no_such_command(context: click.Context, name: str, known: Iterable[str]) -> RestoreHubError:
    """Return the error for a command that a group doesn't have."""
    facts = {"problem": f"no such command {name!r}", "command": context.command_path}
    return RestoreHubError("call.usage", context.command_path, mend=nearest(name, known), **facts)


def _parts(error: click.ClickException, context: click.Context | None) -> tuple[str, str]:
    """Return what is wrong, and the nearest name where there is one."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # its message is the whole help
        return "missing command", ""
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name!r}", nearest(error.option_name, _options(context))
    text = error.format_message()
    kind = getattr(getattr(error, "param", None), "type", None)
    near = nearest(error.message.split("'")[1], map(str, kind.choices)) if isinstance(kind, click.Choice) else ""
    return text[:1].lower() + text[1:].rstrip("."), near


def _options(context: click.Context | None) -> list[str]:
    parameters = context.command.get_params(context) if context else []
    return [name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)]
