"""A whole folder through a model: every photograph once, whatever goes wrong on the way."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from restore_hub import load, restore, restore_folder
from restore_hub.errors import DataError
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from restore_hub.runtime import folder as module
from restore_hub.runtime.folder_result import RestoredFolder
from restore_hub.runtime.journal import FOLDER, JOURNAL, open_journal
from support import refused
from support.models import Write


@pytest.fixture
def photos(tmp_path: Path, write_raw: Write) -> Path:
    """Return a folder with six RAW files, in it and in a sub-folder."""
    for seed in range(6):
        write_raw(tmp_path / "photos" / ("trip" if seed % 2 else "") / f"p{seed}.dng", seed)
    return tmp_path / "photos"


def _files(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder of results except the journal's."""
    files = (path for path in folder.rglob("*") if path.is_file() and FOLDER not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _states(done: RestoredFolder) -> dict[str, str]:
    return {result.out.as_posix(): result.state for result in done.results}


def test_every_photograph_is_restored_as_if_alone(models: Path, photos: Path, tmp_path: Path) -> None:
    done = restore_folder(models / "chain.onnx", photos, tmp_path / "out", bits=16, balance="camera")
    names = ["p0.png", "p2.png", "p4.png", "trip/p1.png", "trip/p3.png", "trip/p5.png"]
    assert _states(done) == dict.fromkeys(names, "done")
    files = _files(tmp_path / "out")
    assert sorted(files) == names
    for name, data in files.items():
        alone = restore(models / "chain.onnx", photos / Path(name).with_suffix(".dng"), tmp_path / "o.png", bits=16)
        assert data == alone.path.read_bytes()
        alone.path.unlink()
        facts = {"photo": str(photos / Path(name).with_suffix(".dng")), "height": 26, "width": 34}
        facts |= {"notes": list(alone.notes), "record": alone.record}
        assert next(result.facts for result in done.results if str(result.out) == name) == facts
    assert done.speed == pytest.approx(6 * 26 * 34 / 1e6 / done.seconds)


def test_two_at_once_give_the_same_bits_and_progress_is_reported(models: Path, photos: Path, tmp_path: Path) -> None:
    model = load(models / "chain.onnx")
    for jobs in (1, 2, 4):
        seen: list[Any] = []
        out = tmp_path / str(jobs)
        done = restore_folder(model, photos, out, jobs=jobs, report=lambda *given, seen=seen: seen.append(given))
        assert seen[0] == (None, 6)
        assert {total for _, total in seen} == {6}
        assert sorted((result for result, _ in seen[1:]), key=lambda result: result.photo) == list(done.results)
    assert _files(tmp_path / "1") == _files(tmp_path / "2") == _files(tmp_path / "4")
    assert len(_files(tmp_path / "1")) == 6


def test_files_that_the_model_does_not_take_are_left_alone(models: Path, tmp_path: Path, write_raw: Write) -> None:
    folder = tmp_path / "photos"
    write_raw(folder / "a.dng")
    write_raw(folder / ".trash" / "b.dng")
    write_raw(folder / "._a.dng")
    write_picture(folder / "c.jpg", np.full((8, 8, 3), 0.25))
    write_picture(folder / "d.PNG", np.full((8, 8, 3), 0.25))
    (folder / "notes.txt").write_text("hello")
    np.save(folder / "m.npy", np.full((26, 34), 900, np.uint16))
    (folder / "m.npy.yaml").write_text("cfa: rggb\nwhite: 1000\n")
    os.mkfifo(folder / "pipe.dng")
    out = folder / "out"
    write_raw(out / "e.dng")
    assert _states(restore_folder(models / "chain.onnx", folder, out)) == {"a.png": "done", "m.png": "done"}
    pictures = restore_folder(models / "enhance.onnx", folder, tmp_path / "o", format="jpg")
    assert _states(pictures) == dict.fromkeys(["c.jpg", "d.jpg", "out/a.jpg", "out/m.jpg"], "done")


def test_bad_files_stop_nothing(models: Path, photos: Path, tmp_path: Path) -> None:
    data = (photos / "p0.dng").read_bytes()
    (photos / "cut.dng").write_bytes(data[: len(data) // 2])
    (photos / "empty.dng").write_bytes(b"")
    (photos / "link.dng").symlink_to("nowhere")
    done = restore_folder(models / "chain.onnx", photos, tmp_path / "out", jobs=2)
    assert len(done.of("done")) == 6
    codes = {str(result.photo): result.code for result in done.of("failed")}
    assert codes.keys() == {"cut.dng", "empty.dng", "link.dng"}
    assert codes["empty.dng"] == "photo.empty"
    assert codes["link.dng"] == "photo.cannot-open"
    assert all(result.reason and str(photos) not in result.reason for result in done.of("failed"))
    (photos / "cut.dng").write_bytes(data)
    again = restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    assert _states(again)["cut.png"] == "done"
    assert (len(again.of("skipped")), len(again.of("failed"))) == (6, 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(IndexError("no  such\nplace"), "IndexError: no such place"), (MemoryError(), "not enough memory")],
)
def test_unforeseen_errors_stop_nothing(
    models: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    restore_to_bytes = module.restore_to_bytes

    def failing(model: Any, photo: Path, *rest: Any) -> Any:
        if photo.name == "p2.dng":
            raise error
        return restore_to_bytes(model, photo, *rest)

    monkeypatch.setattr(module, "restore_to_bytes", failing)
    done = restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    assert [(str(r.photo), r.reason) for r in done.of("failed")] == [("p2.dng", reason)]
    assert len(done.of("done")) == 5


def test_results_are_skipped_until_a_change(models: Path, photos: Path, tmp_path: Path, write_raw: Write) -> None:
    out, model = tmp_path / "out", tmp_path / "model.onnx"
    model.write_bytes((models / "chain.onnx").read_bytes())

    def made(**options: Any) -> list[str]:
        times = {name: (out / name).stat().st_mtime_ns for name in _files(out)} if out.exists() else {}
        done = restore_folder(model, photos, out, **options)
        assert not done.of("failed")
        written = [n for n in _files(out) if times.get(n) != (out / n).stat().st_mtime_ns]
        assert sorted(written) == [r.out.as_posix() for r in done.of("done")]
        return sorted(written)

    assert len(made()) == 6
    assert made() == []
    write_raw(photos / "p2.dng", 77)
    assert made() == ["p2.png"]
    expected = _files(out)
    (out / "trip" / "p1.png").write_bytes(expected["trip/p1.png"][:-20])
    (out / "p0.png").unlink()
    assert made() == ["p0.png", "trip/p1.png"]
    assert _files(out) == expected
    assert len(made(gain=3.0)) == 6
    assert len(made(gain=3.0, balance="camera")) == 6
    assert len(made(gain=3.0, balance=(2, 1, 1))) == 6
    assert made(gain=3, balance=[2.0, 1.0, 1.0]) == []
    assert len(made(bits=16)) == 6
    other = onnx.load(models / "chain.onnx")
    other.producer_version = "2"
    onnx.save(other, model)
    assert len(made(bits=16)) == 6
    assert made(bits=16) == []


def test_a_changed_sidecar_remakes_the_result(models: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in "ab":
        np.save(tmp_path / "photos" / f"{name}.npy", np.full((8, 8), 900, np.uint16))
        (tmp_path / "photos" / f"{name}.npy.yaml").write_text("cfa: rggb\nwhite: 1000\n")
    restore_folder(models / "chain.onnx", tmp_path / "photos", tmp_path / "out")
    (tmp_path / "photos" / "b.npy.yaml").write_text("cfa: rggb\nwhite: 1000\ngain: 2\n")
    done = restore_folder(models / "chain.onnx", tmp_path / "photos", tmp_path / "out")
    assert _states(done) == {"a.png": "skipped", "b.png": "done"}


def test_other_files_are_replaced_only_with_overwrite(models: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "trip").mkdir(parents=True)
    (out / "trip" / "p3.png").write_bytes(b"mine")
    done = restore_folder(models / "chain.onnx", photos, out)
    assert [(str(r.out), r.code) for r in done.of("failed")] == [("trip/p3.png", "restore.output-exists")]
    assert (out / "trip" / "p3.png").read_bytes() == b"mine"
    again = restore_folder(models / "chain.onnx", photos, out, overwrite=True)
    assert [str(r.out) for r in again.of("done")] == ["trip/p3.png"]
    assert len(again.of("skipped")) == 5
    assert read_picture(out / "trip" / "p3.png").pixels.shape == (26, 34, 3)


def test_one_name_from_two_folders(models: Path, photos: Path, tmp_path: Path, write_raw: Write) -> None:
    """Cameras start again from 1: a result stays while the photograph that it was made from is still there."""
    restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    before = _files(tmp_path / "out")
    write_raw(tmp_path / "others" / "p0.dng", 50)
    done = restore_folder(models / "chain.onnx", tmp_path / "others", tmp_path / "out")
    assert done.of("failed")[0].code == "restore.other-photograph"
    assert str(photos / "p0.dng") in done.of("failed")[0].reason
    assert _files(tmp_path / "out") == before
    photos.rename(tmp_path / "moved")
    moved = restore_folder(models / "chain.onnx", tmp_path / "moved", tmp_path / "out")
    assert len(moved.of("skipped")) == 6
    write_raw(tmp_path / "moved" / "p0.dng", 51)
    again = restore_folder(models / "chain.onnx", tmp_path / "moved", tmp_path / "out")
    assert [str(result.out) for result in again.of("done")] == ["p0.png"]


@pytest.mark.parametrize("other", ["p0.nef", "P0.DNG"])
def test_two_photographs_of_one_result(
    models: Path, photos: Path, tmp_path: Path, write_raw: Write, other: str
) -> None:
    write_raw(photos / other)
    with refused("restore.same-result", result=Path("p0.png")):
        restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unusable_folders(models: Path, photos: Path, tmp_path: Path) -> None:
    model = models / "chain.onnx"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for folder, out, code, place in (
        ("none", "o", "restore.no-such-folder", "none"),
        ("file", "o", "restore.not-a-folder", "file"),
        ("empty", "o", "restore.no-photographs", "empty"),
        ("photos", "photos", "restore.output-holds-photographs", "photos"),
        ("photos/trip", "photos", "restore.output-holds-photographs", "photos"),
        ("photos", "file", "files.cannot-write", "file"),
    ):
        with refused(code, tmp_path / place):
            restore_folder(model, tmp_path / folder, tmp_path / out)
    with refused("restore.no-photographs", tmp_path / "empty"):
        restore_folder(models / "enhance.onnx", tmp_path / "empty", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    assert sorted(path.name for path in photos.iterdir()) == ["p0.dng", "p2.dng", "p4.dng", "trip"]


def test_invalid_options_are_refused_before_any_work(models: Path, photos: Path, tmp_path: Path) -> None:
    for model, options, code, place in (
        ("chain.onnx", {"format": "dng", "bits": 8}, "restore.dng-bits", "NAME.dng"),
        ("chain.onnx", {"gain": -1.0}, "restore.bad-gain", "gain"),
        ("chain.onnx", {"tile": -5}, "restore.bad-tile", "tile"),
        ("chain.onnx", {"bits": 0}, "restore.bad-bits", "bits"),
        ("chain.onnx", {"jobs": 0}, "restore.bad-jobs", "jobs"),
        ("enhance.onnx", {"gain": 2.0}, "restore.option-for-raw", "gain"),
        ("none.onnx", {}, "model.missing", "none.onnx"),
    ):
        with refused(code, place):
            restore_folder(models / model, photos, tmp_path / "out", **options)
    for wrong in ({"format": "jpg", "bits": 16}, {"balance": "flash"}):
        with pytest.raises(DataError):
            restore_folder(models / "chain.onnx", photos, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_results_that_cannot_be_written_stop_the_call(models: Path, photos: Path, tmp_path: Path) -> None:
    with open_journal(tmp_path / "out"), refused("restore.busy", tmp_path / "out"):
        restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    (tmp_path / "out" / "trip").write_text("in the way")
    with refused("restore.result-not-written", "trip/p1.png"):
        restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    (tmp_path / "out" / "trip").unlink()
    done = restore_folder(models / "chain.onnx", photos, tmp_path / "out")
    states = [state for name, state in sorted(_states(done).items()) if "trip" not in name]
    assert states == ["skipped"] * 3
    assert len(done.of("done")) == 3


DIES = """
import os, signal, sys
from restore_hub import restore_folder
moment, model, photos, out, jobs = sys.argv[1:]
calls = 0
def dying(call, before):
    def wrapped(*arguments):
        global calls
        calls += 1
        if before and calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(*arguments)
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return wrapped
if moment == "noted":
    os.fsync = dying(os.fsync, True)
else:
    os.replace = dying(os.replace, moment == "half")
restore_folder(model, photos, out, jobs=int(jobs))
"""


@pytest.mark.parametrize(("moment", "jobs"), [("noted", 1), ("half", 2), ("done", 1)])
def test_a_killed_call_leaves_no_partial_files_and_the_next_continues(
    models: Path, photos: Path, tmp_path: Path, moment: str, jobs: int
) -> None:
    restore_folder(models / "chain.onnx", photos, tmp_path / "whole")
    expected, out = _files(tmp_path / "whole"), tmp_path / "out"
    arguments = [moment, models / "chain.onnx", photos, out, str(jobs)]
    died = subprocess.run([sys.executable, "-c", DIES, *arguments], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = _files(out)
    assert 1 <= len(left) < 6
    assert left.items() <= expected.items()
    assert len(list((out / FOLDER).glob("*.part"))) >= (moment == "half")
    done = restore_folder(models / "chain.onnx", photos, out)
    assert {str(result.out) for result in done.of("skipped")} == left.keys()
    assert not done.of("failed")
    assert _files(out) == expected
    assert not list((out / FOLDER).glob("*.part"))


def test_a_damaged_journal_costs_only_what_it_lost(models: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore_folder(models / "chain.onnx", photos, out)
    journal, expected = out / FOLDER / JOURNAL, _files(out)
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([b'"a"', b"\xff\xfe", *lines[:-1], lines[-1][:50]]))
    (lost,) = {json.loads(lines[-1])["out"]}
    done = restore_folder(models / "chain.onnx", photos, out)
    assert [r.out.as_posix() for r in done.of("failed")] == [lost]
    (out / lost).unlink()
    assert [r.out.as_posix() for r in restore_folder(models / "chain.onnx", photos, out).of("done")] == [lost]
    assert not restore_folder(models / "chain.onnx", photos, out).of("done", "failed")
    assert _files(out) == expected


def test_decoders_are_quiet(models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif.update({271: "Acme", 306: "2024:05:06 07:08:09"})
    (tmp_path / "photos").mkdir()
    for number in range(6):
        Image.new("RGB", (24, 24)).save(tmp_path / "photos" / f"{number}.jpg", exif=exif.tobytes()[:40])
    filters = list(warnings.filters)
    done = restore_folder(models / "enhance.onnx", tmp_path / "photos", tmp_path / "out", jobs=3)
    assert [len(result.facts["notes"]) for result in done.of("done")] == [1] * 6
    assert warnings.filters == filters
    assert not logging.getLogger("tifffile").disabled
    assert capfd.readouterr() == ("", "")
