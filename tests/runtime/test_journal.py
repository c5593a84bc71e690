"""The journal of a folder of results, damaged by hand or by a disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restore_hub import restore_folder
from restore_hub.runtime.journal import FOLDER, JOURNAL
from support.models import Write


def _without(line: Any, *keys: str) -> Any:
    line = json.loads(json.dumps(line))
    inner = line
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return line


@pytest.mark.parametrize(
    "damaged",
    [
        lambda _: b"\x00\xff\x9f PNG \x1a" * 40,
        lambda line: json.dumps(line).encode()[:90],
        lambda _: b"[" * 100_000,
        lambda _: b"null",
        lambda line: json.dumps([line]).encode(),
        lambda line: json.dumps({**line, "out": [line["out"]]}).encode(),
        lambda line: json.dumps({**line, "facts": None}).encode(),
        lambda line: json.dumps({**line, "facts": {"photo": 1}}).encode(),
        lambda line: json.dumps(_without(line, "facts", "record", "gain", "value")).encode(),
        lambda line: json.dumps(_without(line, "facts", "record")).encode(),
    ],
)
def test_a_damaged_line_is_skipped_and_reported(
    models: Path, tmp_path: Path, write_raw: Write, damaged: Callable[[Any], bytes]
) -> None:
    for name in ("a", "b"):
        write_raw(tmp_path / "photos" / f"{name}.dng")
    out = tmp_path / "out"
    assert restore_folder(models / "chain.onnx", tmp_path / "photos", out).notes == ()
    journal = out / FOLDER / JOURNAL
    lines = sorted(map(json.loads, journal.read_bytes().splitlines()[1:]), key=lambda line: str(line["out"]))
    journal.write_bytes(b"\n" + damaged(lines[0]) + b"\n" + json.dumps(lines[1]).encode())
    for overwrite, state in ((False, "failed"), (True, "done")):
        done = restore_folder(models / "chain.onnx", tmp_path / "photos", out, overwrite=overwrite)
        assert [result.state for result in done.results] == [state, "skipped"]
        (note,) = done.notes
        assert note.startswith(f"{journal}: skipped 1 damaged line;")
