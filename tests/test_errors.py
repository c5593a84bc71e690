"""Errors: a code and a place for programs, one line for people, and one table that holds every text and no other."""

from __future__ import annotations

import ast
import importlib
import pickle
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from restore_hub import errors
from restore_hub.errors import DataError, PluginError, RestoreHubError, SpecError, messages
from support import ROOT, refused

for _table in (ROOT / "plugins").glob("*/messages.toml"):
    importlib.import_module(_table.parent.name)  # a plugin adds its table when it is imported

CODE = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z0-9]+(-[a-z0-9]+)*")
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, RestoreHubError)}
MAKERS = {"error", "fail"}  # methods that put a place before an error: `document.error(code, *place, **facts)`


class Site(NamedTuple):
    where: str
    code: str | None
    facts: frozenset[str]
    open: bool  # facts are handed on from elsewhere


def _sites() -> Iterator[Site]:
    for path in sorted([*(ROOT / "restore_hub").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        makers = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name in MAKERS]
        inside = {inner for maker in makers for inner in ast.walk(maker)}
        for node in nodes:
            if not isinstance(node, ast.Call) or node in inside:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0] if node.args else None
            code = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
            if name not in KINDS and not (code and CODE.fullmatch(code) and code in messages()):
                continue
            names = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
            handed_on = any(keyword.arg is None for keyword in node.keywords)
            yield Site(f"{path.relative_to(ROOT)}:{node.lineno}", code, names, handed_on)


def _names(text: str) -> set[str]:
    return {re.split(r"[.\[]", name)[0] for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_error_raised_has_a_code_in_the_table_and_the_facts_that_its_text_needs() -> None:
    wrong = []
    for site in _sites():
        if site.code is None or site.code not in messages():
            wrong.append(f"{site.where}: no code of the table: {site.code!r}")
        elif not site.open:
            row = messages()[site.code]
            needed = (set() if "what" in site.facts else _names(row.what)) | (
                set() if "mend" in site.facts and not row.mend else _names(row.mend)
            )
            if needed - site.facts:
                wrong.append(f"{site.where}: {site.code} lacks {sorted(needed - site.facts)}")
    assert not wrong, "\n".join(wrong)


def test_every_row_of_the_table_is_used() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("restore_hub", "plugins")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert [code for code in messages() if f'"{code}"' not in text] == []


@pytest.mark.parametrize("code", messages())
def test_rows_are_one_line_and_no_sentence(code: str) -> None:
    assert CODE.fullmatch(code)
    for text in messages()[code]:
        assert "\n" not in text
        assert text == text.strip()
        assert not text.endswith(".")


def test_a_line_says_place_what_and_mend() -> None:
    error = DataError("mine.odd", "a.dng", what="the file is {odd}", mend="copy it again")
    assert str(error) == "a.dng: the file is {odd}; copy it again", "a text that is given is not filled in"
    assert str(DataError("mine.odd", what="odd")) == "odd"
    assert str(DataError("mine.unknown")) == "mine.unknown", "an error without a row still says something"


def test_counts_and_choices_read_as_a_person_writes_them() -> None:
    def text(count: int, known: str) -> str:
        facts = {"component": "it", "count": count, "outputs": "a", "named": 3}
        return f"{DataError('spec.too-many-outputs', **facts).what} / {DataError('spec.no-input', known=known).mend}"

    assert text(1, "a, b") == "it has 1 output (a), and 3 are named / use one of its inputs: a, b"
    assert text(2, "").startswith("it has 2 outputs (a)")
    assert text(2, "").endswith(" / "), "no names, no choice"
    assert text(2, "none").endswith(" / ")
    assert DataError("spec.no-input", known="", mend="did you mean 'a'?").mend == "did you mean 'a'?"
    assert [errors.counted(count, "minute") for count in (0, 1, 1.0, 0.5, 3)] == [
        "0 minutes", "1 minute", "1 minute", "0.5 minutes", "3 minutes"
    ]  # fmt: skip


def test_a_place_goes_before_and_the_kind_may_change() -> None:
    inner = DataError("mine.odd", "a.dng", what="odd", bytes=3)
    outer = inner.at("s.yaml:3:5 data.train", SpecError)
    assert isinstance(outer, SpecError)
    assert (outer.code, outer.place, outer.facts) == ("mine.odd", "s.yaml:3:5 data.train: a.dng", {"bytes": 3})
    assert str(outer) == "s.yaml:3:5 data.train: a.dng: odd"

    # All of it is kept between processes.
    error = DataError("mine.odd", Path("a.dng"), what="odd", mend="mend", bytes=3)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is DataError
    assert (again.as_json(), again.facts) == (error.as_json(), {"bytes": 3})


def test_a_plugin_has_a_table_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_added", {})
    monkeypatch.setattr(errors, "_owners", {})
    (tmp_path / "messages.toml").write_text('[glow.dim]\nwhat = "only {count} lit"\nmend = "light {more}"\n')
    errors.add_messages(tmp_path / "messages.toml")
    with refused("glow.dim", "lamp", count=2) as caught:
        raise DataError("glow.dim", "lamp", count=2, more=3)
    assert str(caught.value) == "lamp: only 2 lit; light 3"
    assert caught.value.as_json()["what"] == "only 2 lit"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "plugin.bad-messages"),
        ("[glow", "plugin.bad-messages"),
        ('[glow.dim]\nwhat = "dim"\nhint = "none"\n', "plugin.bad-messages"),
        ('[plugin.unknown-component]\nwhat = "hijacked"\n', "plugin.messages-taken"),
        ('[raw-data.odd]\nwhat = "of another plugin"\n', "plugin.messages-taken"),
    ],
)
def test_a_bad_table_is_the_error_of_its_plugin_alone(tmp_path: Path, text: str | None, code: str) -> None:
    table, before = tmp_path / "messages.toml", dict(messages())
    if text is not None:
        table.write_text(text)
    with refused(code, table, PluginError):
        errors.add_messages(table)
    assert messages() == before


def test_a_fact_that_does_not_fit_its_text_leaves_the_text() -> None:
    assert "{" not in str(DataError("photo.empty", "a.dng"))
    assert errors._fill("{got:g} of {first.place}", {"got": "a", "other": 1}) == "{got:g} of {first.place}"
