"""The command line in this process."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from restore_hub.cli import group, main


def invoke(*arguments: object) -> Result:
    """Run a command; an error is in `exception`."""
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def output(*arguments: object, exit_code: int = 0) -> str:
    """Run a command, check its exit status and return all that it printed."""
    done = invoke(*arguments)
    assert done.exit_code == exit_code, (done.output, done.exception)
    return done.output


def end(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command line to its end as a person does; return the exit status and both outputs."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err
