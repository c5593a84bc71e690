"""Loading plugins: failures stay alone, duplicates are refused with both owners, misspelt hooks are found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_hub.errors import PluginError, UnknownComponentError
from restore_hub.plugins import Plugin, allowed_namespaces, default_registry, load_plugins, registry_of
from support import check, refused
from support.fresh import fresh_python

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

Write = Callable[[str, str], Path]
Install = Callable[..., None]


pytestmark = pytest.mark.usefixtures("install")


def _one(path: Path) -> Plugin:
    (plugin,) = load_plugins((path,))
    return plugin


def test_good_file_registers_under_its_stem(write_plugin: Write) -> None:
    path = write_plugin("my_good", GOOD)
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
        (GOOD.replace("register_losses", "register_loses"), "plugin.unknown-hook"),
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
def test_failing_plugin_is_reported_whole_and_leaves_the_others(write_plugin: Write, text: str, code: str) -> None:
    good, bad = write_plugin("good", GOOD), write_plugin("bad", text)
    plugins = {p.namespace: p for p in load_plugins((bad, good))}
    check(plugins["bad"].error, code, "bad")
    assert plugins["bad"].components == ()
    assert [c.name for c in plugins["good"].components] == ["good/zero"]
    with refused(code, "bad", UnknownComponentError):
        registry_of(plugins.values()).find("loss", "bad/zero")


def test_a_command_of_a_built_in_name_may_stand_in_a_group(write_plugin: Write) -> None:
    text = COMMAND.replace("fetch", "restore").replace('"Fetches"', '"Fetches", group="data"')
    assert [(c.name, c.group) for c in _one(write_plugin("grouped", text)).components] == [("grouped/restore", "data")]


def test_one_name_for_two_kinds_is_fine(write_plugin: Write) -> None:
    metric = "\n@hookimpl\ndef register_metrics(register):\n    register('zero', '{stem}:Zero', summary='Metric')\n"
    plugin = _one(write_plugin("two_kinds", GOOD + metric))
    assert sorted((c.kind, c.name) for c in plugin.components) == [
        ("loss", "two-kinds/zero"),
        ("metric", "two-kinds/zero"),
    ]


def test_namespace_claimed_twice_refuses_both_and_names_them(write_plugin: Write, tmp_path: Path) -> None:
    first = write_plugin("same", GOOD)
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


def test_file_named_twice_is_loaded_once(write_plugin: Write) -> None:
    path = write_plugin("again", GOOD)
    assert load_plugins((path, path)) == (_one(path),)


def test_missing_failed_and_shadowing_files_leave_modules_as_they_were(write_plugin: Write, tmp_path: Path) -> None:
    json = sys.modules["json"]
    check(_one(write_plugin("json", GOOD)).error, "plugin.shadows", "json.py")
    assert sys.modules["json"] is json
    _one(write_plugin("half_done", "VALUE = 1\nraise RuntimeError('no')"))
    assert not [name for name in sys.modules if "half_done" in name]
    check(_one(tmp_path / "absent.py").error, "plugin.no-file", "absent.py")


def test_entry_points_obey_the_allow_list(
    write_plugin: Write, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plugin("listed_a", GOOD)
    write_plugin("listed_b", GOOD)
    install(listed_a="listed_a", listed_b="listed_b")

    monkeypatch.delenv("RESTORE_HUB_PLUGINS", raising=False)
    assert default_registry().names() == ["listed-a/zero", "listed-b/zero"]
    for allowed, names in (("listed-b", ["listed-b/zero"]), ("none", [])):
        monkeypatch.setenv("RESTORE_HUB_PLUGINS", allowed)
        assert default_registry().names() == names
    assert allowed_namespaces() == frozenset()


def test_an_allow_list_that_names_nothing_is_refused(
    write_plugin: Write, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(listed="no_such_module")
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "listde")
    with refused("plugin.unknown-plugin", "RESTORE_HUB_PLUGINS", name="listde", known="listed") as caught:
        default_registry()
    assert caught.value.mend == "did you mean 'listed'?"
    monkeypatch.setenv("RESTORE_HUB_PLUGINS", "by-hand")
    assert default_registry([write_plugin("by_hand", GOOD)]).names() == ["by-hand/zero"]


def test_a_file_named_by_hand_that_fails_is_an_error(write_plugin: Write, tmp_path: Path) -> None:
    bad = write_plugin("b_raise", "raise RuntimeError('no camera')")
    for path, code in ((bad, "plugin.fails"), (tmp_path / "absent.py", "plugin.no-file")):
        with refused(code, path, PluginError):
            default_registry([write_plugin("good", GOOD), path])
    with refused("plugin.fails", "b-raise", UnknownComponentError, cause="RuntimeError: no camera"):
        registry_of(load_plugins((bad,))).find("network", "b_raise/residual")


def test_file_and_entry_point_of_one_namespace_clash(write_plugin: Write, install: Install) -> None:
    install(clash="some_package")
    path = write_plugin("clash", GOOD)
    errors = [str(p.error) for p in load_plugins((path,))]
    assert len(errors) == 2
    assert all("some_package" in error and str(path) in error for error in errors)


def test_component_whose_target_is_broken_carries_the_original_error(write_plugin: Write) -> None:
    text = GOOD.replace('"{stem}:Zero"', '"{stem}:Missing"')
    component = registry_of([_one(write_plugin("broken_target", text))]).find("loss", "broken-target/zero")
    with refused("plugin.cannot-import", "broken-target/zero", PluginError):
        component.load()


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (
            "restore_hub.plugins restore_hub_std restore_hub_raw restore_hub_retinex restore_hub_mlflow",
            "torch numpy mlflow pydantic rich rawpy click",
        ),
        ("restore_hub_raw.commands restore_hub_raw.datasets.sid restore_hub_raw.datasets.photos", "torch"),
    ],
)
def test_listing_plugins_and_making_data_import_nothing_heavy(modules: str, heavy: str) -> None:
    code = "import sys; [__import__(name) for name in sys.argv[1].split()]; print(*sys.modules)"
    assert not set(heavy.split()) & set(fresh_python(code, modules).stdout.split())
