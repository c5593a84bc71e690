"""`zoo:NAME` wherever a model is named, the listing, and the entries that are shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from restore_hub import load, restore, restore_folder
from restore_hub.model import zoo
from restore_hub.model.verify import verify
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.reader import read_raw
from support import check, refused
from support.commands import invoke, output
from support.models import Write
from support.real import DATA, real


@pytest.fixture
def dark(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a zoo in the place of the shipped one, with the entry `dark-photos`."""
    folder = tmp_path / "model_zoo"
    (folder / "dark-photos").mkdir(parents=True)
    (folder / "empty").mkdir()
    shutil.copyfile(models / "chain.onnx", folder / "dark-photos" / "model.onnx")
    (folder / "dark-photos" / "card.md").write_text("# Dark photos\n", encoding="utf-8")
    monkeypatch.setattr(zoo, "zoo_folder", lambda: folder)
    return folder


def test_the_listing_says_what_each_model_is(dark: Path) -> None:
    head, line = output("zoo").splitlines()
    assert head.split() == ["NAME", "KIND", "SIZE", "HOLDOUT", "LICENCE"]
    size = (dark / "dark-photos" / "model.onnx").stat().st_size / 1024
    assert line.split() == ["dark-photos", "raw-to-rgb", f"{size:.3g}", "KiB", "-", "not", "stated"]
    for name in ("dark-photos", "zoo:dark-photos"):
        assert output("zoo", name) == output("zoo", "card", name) == "# Dark photos\n"


def test_a_damaged_entry_hides_no_other_and_an_unfinished_one_is_not_listed(dark: Path) -> None:
    for name in ("cut", ".0123.new"):
        (dark / name).mkdir()
        (dark / name / "model.onnx").write_bytes((dark / "dark-photos" / "model.onnx").read_bytes()[:1000])
    done = invoke("zoo")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "dark-photos"]
    assert "cut/model.onnx" in done.stderr
    assert ".0123" not in done.output
    assert done.exit_code == 2


def test_an_entry_hidden_by_a_stopped_zoo_add_is_reported(dark: Path) -> None:
    shutil.copytree(dark / "dark-photos", zoo.aside(dark / "dark-photos"))  # killed after it had put the new one there
    assert "hidden" not in output("zoo")
    (dark / "dark-photos").rename(hidden := zoo.aside(dark / "dim.2"))
    done = invoke("zoo")
    with refused("zoo.hidden", dark / "dim.2", hidden=hidden) as caught:
        zoo.zoo_file("zoo:dim.2")
    assert f"error: {caught.value}\n" in done.stderr
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 2)


@pytest.mark.usefixtures("dark")
@pytest.mark.parametrize("name", ["dark-photo", "zoo:dark-photo"])
def test_an_unknown_name_comes_with_the_near_and_the_known_ones(name: str) -> None:
    with refused("zoo.unknown", "zoo:dark-photo", name="dark-photo", known="dark-photos") as caught:
        zoo.zoo_file(name)
    assert "'dark-photos'" in caught.value.mend


@pytest.mark.usefixtures("dark")
@pytest.mark.parametrize("name", ["", "empty", "../model_zoo/dark-photos", "dark-photos/model.onnx", "Dark-Photos/.."])
def test_only_names_of_entries_are_names(name: str) -> None:
    with refused("zoo.unknown", known="dark-photos"):
        zoo.model_path(f"zoo:{name}")


def test_a_zoo_without_models_and_an_entry_without_its_card(dark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dark / "dark-photos" / "card.md").unlink()
    with refused("zoo.unreadable-card", "card.md"):
        zoo.zoo_entry("dark-photos").card()
    monkeypatch.setattr(zoo, "zoo_folder", lambda: dark / "missing")
    with refused("zoo.empty", "zoo:any", folder=dark / "missing"):
        zoo.zoo_file("any")


def test_an_installed_zoo_comes_before_a_folder_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "restore_hub"
    (tmp_path / "site" / "model_zoo").mkdir(parents=True)
    monkeypatch.setattr(zoo, "_PACKAGE", package)
    assert zoo.zoo_folder() == tmp_path / "site" / "model_zoo"
    (package / "_shipped" / "model_zoo").mkdir(parents=True)
    assert zoo.zoo_folder() == package / "_shipped" / "model_zoo"


def test_a_zoo_name_works_wherever_a_file_does(dark: Path, tmp_path: Path, write_raw: Write) -> None:
    file = dark / "dark-photos" / "model.onnx"
    photo = write_raw(tmp_path / "photos" / "a.dng")
    assert load("zoo:dark-photos").path == load(Path("zoo:dark-photos")).path == file
    assert [one.result for one in verify("zoo:dark-photos")] == [one.result for one in verify(file)]
    by_name = restore("zoo:dark-photos", photo, tmp_path / "name.png")
    assert by_name.record == restore(file, photo, tmp_path / "file.png").record
    assert (tmp_path / "name.png").read_bytes() == (tmp_path / "file.png").read_bytes()
    assert len(restore_folder("zoo:dark-photos", tmp_path / "photos", tmp_path / "all").of("done")) == 1


def test_a_zoo_name_works_on_the_command_line(dark: Path, tmp_path: Path, write_raw: Write) -> None:
    photo = write_raw(tmp_path / "a.dng")
    assert "wrote" in output("restore", "zoo:dark-photos", str(photo), "-o", str(tmp_path / "a.png"))
    assert output("inspect", "zoo:dark-photos") == output("inspect", str(dark / "dark-photos" / "model.onnx"))
    assert output("verify", "zoo:dark-photos").startswith("zoo:dark-photos: ok")
    for command in (["inspect"], ["verify"], ["restore"]):
        more = [str(photo), "-o", str(tmp_path / "b.png")] if command == ["restore"] else []
        check(invoke(*command, "zoo:dark-photo", *more).exception, "zoo.unknown", name="dark-photo")


@pytest.mark.long
@real
@pytest.mark.parametrize(
    "name", sorted(name for name, e in zoo.zoo_entries().items() if e.manifest().kind == "raw-to-rgb")
)
def test_shipped_models_for_raw_develop_real_photographs(name: str, tmp_path: Path) -> None:
    """Finite (or `restore` refuses), of the right size, not dark, with detail; no cast where the light is known."""
    model = load(f"zoo:{name}")
    files = [*DATA.glob("raw/*/*.dng"), *DATA.glob("raw/**/*.[qQ][tT][kK]")]
    photos = [file for file in files if file.stem != "canon_eos_6d"]  # a linear DNG, which is refused
    assert len(photos) >= 5
    for photo in photos:
        raw = read_raw(photo)
        done = restore(model, photo, tmp_path / f"{photo.stem}.png")
        pixels = read_picture(done.path).pixels
        assert (done.height, done.width) in (raw.mosaic.shape, raw.mosaic.shape[::-1])
        assert 0.15 < pixels.mean() < 0.85, photo
        assert pixels.std() > 0.08, photo
        means = pixels.mean(axis=(0, 1))
        # A white balance that is only daylight's leaves a cast under other light, and the card says that it grows.
        assert np.ptp(means) < (0.2 if raw.balance_source == "camera" else 0.5) * means.mean(), photo
