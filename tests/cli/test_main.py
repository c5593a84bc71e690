"""The command line as a person meets it: light to start, one line an error, every command there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from restore_hub.cli import COMMANDS
from restore_hub.plan import shipped
from support import LOWLIGHT, check
from support.commands import end, invoke, output

Capture, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch
HEAVY = ("rich", "pydantic", "numpy", "torch", "onnxruntime", "rawpy", "pluggy", "ruamel", "restore_hub_std", "tqdm")


@pytest.fixture
def small(overrides: list[str]) -> list[str]:
    return [str(LOWLIGHT), *(part for override in overrides for part in ("--set", override))]


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
    assert output(name, "--help").startswith("Usage: ")


def test_help_says_where_the_commands_of_plugins_are() -> None:
    assert "`restore-hub list command`" in output("--help").rstrip().splitlines()[-1]


def test_an_error_is_one_line_and_status_2(capsys: Capture) -> None:
    status, out, err = end(capsys, "check", LOWLIGHT, "--set", "blocks.generate.wdith=3")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: --set blocks.generate.wdith: ")
    assert "did you mean 'width'" in err


@pytest.mark.parametrize(
    ("arguments", "place", "mend"),
    [
        (("check",), "restore-hub check", "`restore-hub check --help`"),
        (("check", "a", "b"), "restore-hub check", "`restore-hub check --help`"),
        (("check", "--plugn", "x", "a"), "restore-hub check", "did you mean '--plugin'?"),
        (("chekc",), "restore-hub", "did you mean 'check'?"),
        (("xyzzy",), "restore-hub", "`restore-hub --help`"),
        (("--jsn", "check"), "restore-hub", "did you mean '--json'?"),
        (("data", "mke-raw"), "restore-hub data", "did you mean 'make-raw'?"),
        (("data", "xyzzy"), "restore-hub data", "`restore-hub data --help`"),
        (("restore", "a", "b", "--device", "cdua"), "restore-hub restore", "did you mean 'cuda'?"),
        (("restore", "a", "b", "--input", "x"), "restore-hub restore", "`restore-hub restore --help`"),
        (("run", "--runs"), "restore-hub run", "`restore-hub run --help`"),
        (("run", "a", "--quiet", "--verbose"), "restore-hub run", "`restore-hub run --help`"),
    ],
)
def test_a_wrong_call_is_one_line_too(capsys: Capture, arguments: tuple[str, ...], place: str, mend: str) -> None:
    status, out, err = end(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {place}: ")
    assert f"; {mend}" in err
    found = _error(capsys, "--json", *arguments)
    assert (found["code"], found["place"]) == ("call.usage", place)
    assert err == f"error: {place}: {found['what']}; {found['mend']}\n"


def test_a_group_alone_shows_its_help(capsys: Capture) -> None:
    for arguments in ((), ("data",)):
        status, _, err = end(capsys, *arguments)
        assert status == 2
        assert err.startswith("Usage: restore-hub")


def _error(capsys: Capture, *arguments: str) -> dict[str, str]:
    """Return the one JSON object that the command line printed on standard error."""
    status, out, err = end(capsys, *arguments)
    assert (status, out) == (2, "")
    found: dict[str, str] = json.loads(err)
    assert list(found) == ["code", "kind", "place", "what", "mend"]
    return found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("check", "raw_lowligth"), ["spec.unknown-spec", "SpecError", "raw_lowligth"]),
        (("list", "netwrok"), ["plugin.unknown-kind", "UnknownComponentError", ""]),
        (("check",), ["call.usage", "RestoreHubError", "restore-hub check"]),
        (("chekc",), ["call.usage", "RestoreHubError", "restore-hub"]),
        (("show", "--nothing"), ["call.usage", "RestoreHubError", "restore-hub show"]),
        (("--nothing",), ["call.usage", "RestoreHubError", "restore-hub"]),
        ((), ["call.usage", "RestoreHubError", "restore-hub"]),
    ],
)
def test_errors_as_json(capsys: Capture, monkeypatch: Patch, arguments: tuple[str, ...], expected: list[str]) -> None:
    asked = _error(capsys, "--json", *arguments)
    monkeypatch.setenv("RESTORE_HUB_ERRORS", "json")
    assert _error(capsys, *arguments) == asked
    assert [asked["code"], asked["kind"], asked["place"]] == expected


def test_a_missing_extra_is_an_error_of_its_own(capsys: Capture, monkeypatch: Patch) -> None:
    def away(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(shipped, "find_spec", away)
    found = _error(capsys, "--json", "check", "raw_lowlight")
    assert (found["code"], found["kind"]) == ("call.missing-extra", "MissingExtraError")
    assert "restore-hub[train]" in found["mend"]


def test_check_prints_shapes_parameters_and_cost(small: list[str]) -> None:
    shown = output("check", *small)
    for part in ("2 x 3 x 16 x 16", "parameters  raw/unet", "gradient evaluations a step"):
        assert part in shown
    assert shown.endswith("raw_lowlight: ok\n")


def test_check_finds_a_shipped_pipeline_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "does not exist here, so it is not checked" in output("check", "raw_lowlight")


def test_schema_is_json() -> None:
    assert json.loads(output("schema"))["title"] == "restore_hub pipeline spec"


def test_data_lists_and_runs_the_commands_of_plugins(tmp_path: Path, capsys: Capture) -> None:
    assert "make-raw" in output("data", "--help")
    status, _, err = end(capsys, "data", "make-raw", tmp_path / "none", tmp_path / "out")
    assert status == 2
    assert err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_spec_with_a_plugin_from_a_file(tmp_path: Path, small: list[str]) -> None:
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
    small += ["--set", "objectives.fidelity.loss=mine/huber", "--set", "objectives.fidelity.delta=0.2"]
    without = invoke("check", *small)
    check(without.exception, "plugin.not-loaded", "objectives.fidelity.loss", name="mine/huber")
    output("check", *small, "--plugin", tmp_path / "mine.py")
