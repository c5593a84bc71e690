"""The generated pages are current, and leave out no component, command or error."""

from __future__ import annotations

import re
import runpy
import shlex

import click
import pytest

from restore_hub.cli import group
from restore_hub.errors import messages
from restore_hub.plugins import default_registry
from support import DOCS, ROOT
from support.pages import PAGES, blocks_of, text_of


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return runpy.run_path(str(DOCS / "generate.py"))["pages"]()


@pytest.mark.parametrize("name", ["errors.md", "commands.md", "components.md", "spec-keys.md"])
def test_a_generated_page_is_current(name: str, generated: dict[str, str]) -> None:
    stored = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert stored == generated[name], "run `python docs/generate.py`"


def test_every_component_has_its_section(generated: dict[str, str]) -> None:
    for component in default_registry().of_kind():
        assert f"\n### {component.name.removeprefix('std/')}\n" in generated["components.md"], component.name


def test_every_error_has_its_row(generated: dict[str, str]) -> None:
    for code in messages():
        assert f"| `{code}` |" in generated["errors.md"], code


def test_every_solver_is_in_the_table_that_compares_them() -> None:
    named = re.findall(r"^\| `([\w-]+)` \|", text_of("docs/how-to/solvers.md"), re.M)
    assert {f"std/{name}" for name in named} == set(default_registry().names("solver"))


def test_the_makefile_has_every_target_that_a_page_names() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.M))
    for page in PAGES:
        code = [*re.findall(r"`([^`\n]+)`", text_of(page)), *(block.text for block in blocks_of(page))]
        named = re.findall(r"^(?:\$ )?make ([a-z][\w-]*)", "\n".join(code), re.M)
        assert set(named) <= targets, page


def test_every_page_that_the_code_names_exists() -> None:
    sources = [path for folder in ("restore_hub", "plugins") for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in (path for path in sources if path.suffix in (".py", ".toml")):
        for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / page).is_file(), f"{path.name}: {page}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/reference/commands.md"])
def test_every_command_that_a_page_names_exists_with_its_options(page: str) -> None:
    """Also those that no block runs."""
    for line in re.findall(r"restore-hub ([a-z][^`\n]*)", text_of(page)):
        words = shlex.split(re.split(r" [|&;]|\$\(", line.replace("'", ""))[0], posix=False)
        command, options = _command(words)
        assert command is not None, f"{page}: restore-hub {line}"
        known = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
        assert set(options) <= known | {"--help"}, f"{page}: restore-hub {line}"


def _command(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """Return the command that words name, `None` where there is none, and the options that are given to it."""
    command: click.Command | None = group
    context = click.Context(group)
    for i, word in enumerate(words):
        if not isinstance(command, click.Group):
            return command, [w.partition("=")[0].rstrip(".,;:)") for w in words[i:] if w.startswith("-")]
        if word == "--plugin":  # the command comes with that file
            return command, [word]
        command = command.get_command(context, word.rstrip(".,;:)"))
    return command, []
