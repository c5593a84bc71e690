"""Loading plugins: failures stay alone, duplicates are refused with both owners, misspelt hooks are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from restore_hub import plugins as plugins_module
from restore_hub.errors import PluginError, UnknownComponentError
from restore_hub.plugins import Plugin, allowed_namespaces, default_registry, load_plugins, registry_of
from support import check, refused

GOOD = """
from restore_hub.hookspecs import hookimpl
@hookimpl
def register_losses(register):
    register("zero", "{stem}:Zero", summary="Nothing")
class Zero:
    pass
"""
LINE = '    register("zero", "{stem}:Zero", summary="Nothing")\n'
COMMAND = """
from restore_hub.hookspecs import hookimpl
@hookimpl
def register_commands(register):
    register("fetch", "{stem}:fetch", summary="Fetches")
"""

Load = Callable[..., dict[str, Plugin]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Write a plugin file; the modules it leaves behind are removed afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: [])

    def write(stem: str, text: str) -> Path:
        path = tmp_path / f"{stem}.py"
        path.write_text(text.replace("{stem}", stem))
        return path

    load_plugins.cache_clear()
    yield write
    load_plugins.cache_clear()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _one(path: Path) -> Plugin:
    (plugin,) = load_plugins((path,))
    return plugin


def test_good_file_registers_under_its_stem(write: Callable[[str, str], Path]) -> None:
    path = write("my_good", GOOD)
    registry = registry_of(load_plugins((path,)))
    component = registry.find("loss", "my-good/zero")
    assert (component.owner, component.version, component.summary) == (str(path), "0", "Nothing")
    assert component.load().__name__ == "Zero"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import nothing_of_this_name", "plugin.fails"),
        ("import sys; sys.exit(3)", "plugin.fails"),
        ("def f(:", "plugin.fails"),
        (GOOD.replace("register_losses", "register_loses"), "plugin.fails"),
        (GOOD.replace("register_losses(register)", "register_losses(registry)"), "plugin.fails"),
        ("x = 1", "plugin.registers-nothing"),
        (GOOD.replace('"zero"', '"Zero Loss"'), "plugin.bad-name"),
        (GOOD.replace('"{stem}:Zero"', '"Zero"'), "plugin.bad-target"),
        (GOOD.replace('"{stem}:Zero"', "print"), "plugin.bad-target"),
        (GOOD.replace("Nothing", " "), "plugin.no-summary"),
        (GOOD.replace(LINE, LINE + LINE), "plugin.registers-twice"),
        (COMMAND.replace("fetch", "restore"), "plugin.built-in-command"),
        (COMMAND.replace('"Fetches"', '"Fetches", group="zoo"'), "plugin.bad-command-group"),
    ],
)
def test_failing_plugin_is_reported_whole_and_leaves_the_others(
    write: Callable[[str, str], Path], text: str, code: str
) -> None:
    good, bad = write("good", GOOD), write("bad", text)
    plugins = {p.namespace: p for p in load_plugins((bad, good))}
    check(plugins["bad"].error, code, "bad")
    assert plugins["bad"].components == ()
    assert [c.name for c in plugins["good"].components] == ["good/zero"]
    with refused(code, "bad", UnknownComponentError):
        registry_of(plugins.values()).find("loss", "bad/zero")


def test_a_command_of_a_built_in_name_may_stand_in_a_group(write: Callable[[str, str], Path]) -> None:
    text = COMMAND.replace("fetch", "restore").replace('"Fetches"', '"Fetches", group="data"')
    assert [(c.name, c.group) for c in _one(write("grouped", text)).components] == [("grouped/restore", "data")]


def test_one_name_for_two_kinds_is_fine(write: Callable[[str, str], Path]) -> None:
    metric = "\n@hookimpl\ndef register_metrics(register):\n    register('zero', '{stem}:Zero', summary='Metric')\n"
    plugin = _one(write("kinds", GOOD + metric))
    assert sorted((c.kind, c.name) for c in plugin.components) == [("loss", "kinds/zero"), ("metric", "kinds/zero")]


def test_namespace_claimed_twice_refuses_both_and_names_them(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    first = write("same", GOOD)
    second = tmp_path / "other" / "same.py"
    second.parent.mkdir()
    second.write_text(first.read_text())
    plugins = load_plugins((first, second))
    assert len(plugins) == 2
    for plugin in plugins:
        assert plugin.components == ()
        check(plugin.error, "plugin.claimed-twice", "same")
        assert str(first) in str(plugin.error)
        assert str(second) in str(plugin.error)


def test_file_named_twice_is_loaded_once(write: Callable[[str, str], Path]) -> None:
    path = write("again", GOOD)
    assert _one(path) == load_plugins((path, path))[0]
    assert len(load_plugins((path, path))) == 1


def test_file_may_not_shadow_an_importable_module(write: Callable[[str, str], Path]) -> None:
    json = sys.modules["json"]
    check(_one(write("json", GOOD)).error, "plugin.shadows", "json.py")
    assert sys.modules["json"] is json


def test_failed_file_leaves_no_module_behind(write: Callable[[str, str], Path]) -> None:
    _one(write("half_done", "VALUE = 1\nraise RuntimeError('no')"))
    assert not [name for name in sys.modules if "half_done" in name]


def test_missing_file_is_a_failure(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    del write
    check(_one(tmp_path / "absent.py").error, "plugin.no-file", "absent.py")


def test_entry_points_obey_the_allow_list(
    write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("listed_a", GOOD)
    write("listed_b", GOOD)
    points = [EntryPoint(f"listed-{x}", f"listed_{x}", "restore_hub") for x in "ab"]
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: points)
    monkeypatch.syspath_prepend(tmp_path)

    def names() -> list[str]:
        return default_registry().names()

    monkeypatch.delenv("RESTORE_HUB_PLUGINS", raising=False)
    assert names() == ["listed-a/zero", "listed-b/zero"]
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "listed-b")
    assert names() == ["listed-b/zero"]
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "none")
    assert names() == []
    assert allowed_namespaces() == frozenset()


def test_an_allow_list_that_names_nothing_is_refused(
    write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [EntryPoint("listed", "no_such_module", "restore_hub")]
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: points)
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "listde")
    with refused("plugin.unknown-plugin", "RESTORE_HUB_PLUGINS", name="listde", known="listed") as caught:
        default_registry()
    assert caught.value.mend == "did you mean 'listed'?"
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "by-hand")
    assert default_registry([write("by_hand", GOOD)]).names() == ["by-hand/zero"]


def test_a_file_named_by_hand_that_fails_is_an_error(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    bad = write("b_raise", "raise RuntimeError('no camera')")
    for path, code in ((bad, "plugin.fails"), (tmp_path / "absent.py", "plugin.no-file")):
        with refused(code, path, PluginError):
            default_registry([write("good", GOOD), path])
    with refused("plugin.fails", "b-raise", UnknownComponentError, cause="RuntimeError: no camera"):
        registry_of(load_plugins((bad,))).find("network", "b_raise/residual")


def test_file_and_entry_point_of_one_namespace_clash(
    write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("clash", "some_package", "restore_hub")
    monkeypatch.setattr(plugins_module, "entry_points", lambda **_: [point])
    path = write("clash", GOOD)
    errors = [str(p.error) for p in load_plugins((path,))]
    assert len(errors) == 2
    assert all("some_package" in error and str(path) in error for error in errors)


def test_component_whose_target_is_broken_carries_the_original_error(write: Callable[[str, str], Path]) -> None:
    text = GOOD.replace('"{stem}:Zero"', '"{stem}:Missing"')
    component = registry_of([_one(write("broken_target", text))]).find("loss", "broken-target/zero")
    with refused("plugin.cannot-import", "broken-target/zero", PluginError):
        component.load()


def test_listing_first_party_plugins_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import restore_hub_std, restore_hub_raw, restore_hub_retinex, restore_hub_mlflow\n"
        "import restore_hub.plugins\n"
        "heavy = {'torch', 'numpy', 'mlflow', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
