"""The command line as a person meets it: light to start, one line an error, every command there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from restore_hub.cli import COMMANDS, group, main
from restore_hub.plan import shipped
from support import LOWLIGHT, check

HEAVY = ("rich", "pydantic", "numpy", "torch", "onnxruntime", "rawpy", "pluggy", "ruamel", "restore_hub_std", "tqdm")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "restore_hub", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy_and_no_command() -> None:
    code = (
        "import sys, io, contextlib\n"
        "from restore_hub.cli import group\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    group(['--help'], standalone_mode=False)\n"
        "assert 'restore' in out.getvalue()\n"
        "print(*sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "click" in loaded
    assert not [name for name in HEAVY if name in loaded]
    assert not [name for name in loaded if name.startswith("restore_hub.cli.")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Usage: ")


def test_help_says_where_the_commands_of_plugins_are() -> None:
    last = CliRunner().invoke(group, ["--help"]).output.rstrip().splitlines()[-1]
    assert "`restore-hub list command`" in last


def test_an_error_is_one_line_and_status_2() -> None:
    done = _run("check", str(LOWLIGHT), "--set", "blocks.generate.wdith=3")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --set blocks.generate.wdith: ")
    assert "did you mean 'width'" in done.stderr


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Run the command line in this process; return the one JSON object that it printed on standard error."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    found: dict[str, str] = json.loads(err)
    assert list(found) == ["code", "kind", "place", "what", "mend"]
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "place"),
    [
        (("check", "raw_lowligth"), "spec.unknown-spec", "SpecError", "raw_lowligth"),
        (("list", "netwrok"), "plugin.unknown-kind", "UnknownComponentError", ""),
        (("check",), "call.usage", "RestoreHubError", "restore-hub check"),
        (("chekc",), "call.usage", "RestoreHubError", "restore-hub"),
        (("show", "--nothing"), "call.usage", "RestoreHubError", "restore-hub show"),
        (("--nothing",), "call.usage", "RestoreHubError", "restore-hub"),
        ((), "call.usage", "RestoreHubError", "restore-hub"),
    ],
)
def test_errors_as_json(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: str,
    kind: str,
    place: str,
) -> None:
    asked = _error(capsys, "--json", *arguments)
    monkeypatch.setenv("RESTORE_HUB_ERRORS", "json")
    assert _error(capsys, *arguments) == asked
    assert (asked["code"], asked["kind"], asked["place"]) == (code, kind, place)


def test_a_missing_extra_is_an_error_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(shipped, "find_spec", away)
    found = _error(capsys, "--json", "check", "raw_lowlight")
    assert (found["code"], found["kind"]) == ("call.missing-extra", "MissingExtraError")
    assert "restore-hub[train]" in found["mend"]


def test_unknown_commands_are_refused() -> None:
    done = _run("rstore")
    assert done.returncode == 2
    assert "No such command 'rstore'" in done.stderr


def test_check_prints_shapes_parameters_and_cost(overrides: list[str]) -> None:
    arguments = [part for override in overrides for part in ("--set", override)]
    result = CliRunner().invoke(group, ["check", str(LOWLIGHT), *arguments])
    assert result.exit_code == 0, result.output
    assert "2 x 3 x 16 x 16" in result.output
    assert "parameters  raw/unet" in result.output
    assert "gradient evaluations a step" in result.output
    assert result.output.endswith("raw_lowlight: ok\n")


def test_check_finds_a_shipped_pipeline_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, ["check", "raw_lowlight"])
    assert result.exit_code == 0, result.output
    assert "does not exist here, so it is not checked" in result.output


def test_schema_is_json() -> None:
    result = CliRunner().invoke(group, ["schema"])
    assert json.loads(result.output)["title"] == "restore_hub pipeline spec"


def test_data_lists_and_runs_the_commands_of_plugins(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["data", "--help"])
    assert "make-raw" in result.output
    done = _run("data", "make-raw", str(tmp_path / "none"), str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_spec_with_a_plugin_from_a_file(tmp_path: Path, overrides: list[str]) -> None:
    """`--plugin FILE` gives a spec a loss that isn't packaged."""
    (tmp_path / "mine.py").write_text(
        "from restore_hub import hookimpl\n"
        "class Huber:\n"
        "    def __init__(self, delta: float = 0.1) -> None:\n"
        "        self.delta = delta\n"
        "    def __call__(self, prediction, target):\n"
        "        error = (prediction - target).abs()\n"
        "        quadratic = error.clamp(max=self.delta)\n"
        "        return (quadratic**2 / 2 + self.delta * (error - quadratic)).sum(), error.numel()\n"
        "@hookimpl\n"
        "def register_losses(register):\n"
        "    register('huber', 'mine:Huber', summary='Huber loss')\n"
    )
    arguments = [part for override in overrides for part in ("--set", override)]
    arguments += ["--set", "objectives.fidelity.loss=mine/huber", "--set", "objectives.fidelity.delta=0.2"]
    without = CliRunner().invoke(group, ["check", str(LOWLIGHT), *arguments])
    check(without.exception, "plugin.unknown-component", "objectives.fidelity.loss", name="mine/huber")
    result = CliRunner().invoke(group, ["check", str(LOWLIGHT), *arguments, "--plugin", str(tmp_path / "mine.py")])
    assert result.exit_code == 0, result.output
