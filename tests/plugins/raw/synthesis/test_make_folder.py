from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import PHASES, RawImage, exposure_gain
from restore_hub.photo.raw.reader import read_raw, render_raw
from restore_hub_raw.synthesis import unprocess
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.make_pair import make_pair
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused
from support.raw_pairs import photo
from support.real import DATA, real


def pairs_in(folder: Path, side: str = "short") -> list[str]:
    return sorted(path.name for path in (folder / side).iterdir())


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one.astype(np.float64) - two) ** 2)))


@pytest.mark.parametrize("phase", list(PHASES))
def test_the_long_exposure_renders_to_the_photo(photos: Path, tmp_path: Path, phase: str) -> None:
    assert make_folder(photos, tmp_path / "out", Recipe(phase=phase)) == 3
    for file in photos.iterdir():
        path = tmp_path / "out" / "long" / f"{file.stem}.dng"
        assert read_raw(path).phase == PHASES[phase]
        assert psnr(render_raw(path) / 65535, read_picture(file).pixels) > 30


@real
def test_a_real_photo_survives(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for file in sorted((DATA / "lowlight_paired" / "lol_our485" / "high").glob("*.png"))[:3]:
        (tmp_path / "photos" / file.name).write_bytes(file.read_bytes())
    make_folder(tmp_path / "photos", tmp_path / "out", Recipe())
    for file in (tmp_path / "photos").iterdir():
        picture = render_raw(tmp_path / "out" / "long" / f"{file.stem}.dng") / 65535
        assert psnr(picture, read_picture(file).pixels) > 34


def test_the_short_exposure_is_dark_noisy_and_says_so(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "out", Recipe(ratio=50))
    short, long = (read_raw(tmp_path / "out" / side / "a.dng") for side in ("short", "long"))
    assert long.exposure_time / short.exposure_time == pytest.approx(50)
    assert long.gain is None
    assert exposure_gain(short)[0] == pytest.approx(50, rel=1e-4)
    np.testing.assert_array_equal(short.balance, long.balance)
    dark, light = (raw.mosaic.astype(float) - 512 for raw in (short, long))
    assert dark.mean() * 50 == pytest.approx(light.mean(), rel=0.02)
    error = dark * 50 - light
    signal = light.mean() / (16383 - 512) / 50
    expected = np.sqrt(Recipe().shot * signal + Recipe().read) * (16383 - 512) * 50
    assert error.std() == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(
    ("option", "value"),
    [(name, value) for name in ("ratio", "shot", "read") for value in (-1.0, 1e300, float("nan"), float("inf"))]
    + [("ratio", 0.5), ("ratio", 301.0), ("shot", 1e-300), ("shot", 1.0)],
)
def test_numbers_out_of_range_are_refused(option: str, value: float) -> None:
    code = "raw-data.bad-ratio" if option == "ratio" else f"raw-synthesis.bad-{option}-noise"
    with refused(code, option):
        Recipe(**{option: value})


def test_a_tall_photo_is_made_in_bands_without_a_seam() -> None:
    picture = photo(1100, 30)
    recipe = Recipe(shot=0.0, read=0.0, ratio=2, phase="gbrg")
    short, long, balance = make_pair(picture, recipe, np.random.default_rng(0))
    colours = unprocess.sensor_rgb(picture, unprocess.CANON_6D, balance, False)
    whole = unprocess.mosaic(colours, (1, 0))
    np.testing.assert_array_equal(long, unprocess.quantise(whole, 512, 16383))
    np.testing.assert_array_equal(short, unprocess.quantise(whole / 2, 512, 16383))


def test_a_pair_depends_on_seed_and_name_alone(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "one", Recipe())
    (photos / "b.jpg").unlink()
    make_folder(photos, tmp_path / "two", Recipe())
    make_folder(photos, tmp_path / "three", Recipe(seed=1))
    for side in ("short", "long"):
        one, two, three = ((tmp_path / run / side / "c.dng").read_bytes() for run in ("one", "two", "three"))
        assert one == two
        assert one != three


def test_pair_from_an_array() -> None:
    picture = photo(31, 44)
    recipe = Recipe(ratio=10, shot=0, read=0, phase="gbrg")
    short, long, balance = make_pair(picture, recipe, np.random.default_rng(3))
    assert short.shape == long.shape == (31, 44)
    assert balance.shape == (4,)
    np.testing.assert_allclose(short - 512.0, (long - 512.0) / 10, atol=0.55)
    darker = make_pair(picture * 0.4, replace(recipe, tone=True), np.random.default_rng(3))[1]
    plain = make_pair(picture * 0.4, recipe, np.random.default_rng(3))[1]
    assert darker.mean() > plain.mean()


def test_large_photos_are_reduced(photos: Path, tmp_path: Path) -> None:
    for size, shape in ((40, (30, 40)), (80, (60, 80))):
        make_folder(photos, tmp_path / str(size), Recipe(size=size))
        assert read_raw(tmp_path / str(size) / "short" / "a.dng").mosaic.shape == shape


def test_earlier_pairs_are_kept_unless_forced(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_folder(photos, out, Recipe())
    before = (out / "short" / "a.dng").read_bytes()
    with refused("raw-synthesis.pairs-exist", out):
        make_folder(photos, out, Recipe(seed=1))
    assert (out / "short" / "a.dng").read_bytes() == before
    (photos / "b.jpg").unlink()
    make_folder(photos, out, Recipe(seed=1), force=True)
    assert (out / "short" / "a.dng").read_bytes() != before
    assert pairs_in(out, "long") == ["a.dng", "c.dng"]


def test_force_removes_only_what_the_listing_names(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_folder(photos, out, Recipe())
    for side in ("short", "long"):
        (out / side / "mine.dng").write_bytes(b"precious")
    (photos / "b.jpg").unlink()
    make_folder(photos, out, Recipe(), force=True)
    assert pairs_in(out) == ["a.dng", "c.dng", "mine.dng"]
    assert (out / "long" / "mine.dng").read_bytes() == b"precious"
    write_picture(photos / "mine.png", read_picture(photos / "a.png").pixels)
    with refused("raw-synthesis.would-overwrite", "mine.dng"):
        make_folder(photos, out, Recipe(), force=True)
    assert (out / "short" / "mine.dng").read_bytes() == b"precious"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["a.dng", "DSC_0001.ARW"])
def test_unlisted_files_are_left_alone(photos: Path, tmp_path: Path, name: str, force: bool) -> None:
    (tmp_path / "out" / "long").mkdir(parents=True)
    (tmp_path / "out" / "long" / name).write_bytes(b"precious")
    with refused("raw-synthesis.foreign-file", name):
        make_folder(photos, tmp_path / "out", Recipe(), force=force)
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["long", name]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "unreadable-listing"),
        ('{"pairs": 3}', "unreadable-listing"),
        ("[]", "unreadable-listing"),
        ('{"pairs": [{}]}', "unreadable-listing"),
        ('{"pairs": [{"name": "../../photos/x"}]}', "bad-listed-name"),
    ],
)
def test_a_damaged_listing_removes_nothing(photos: Path, tmp_path: Path, text: str, code: str) -> None:
    out = tmp_path / "out"
    make_folder(photos, out, Recipe())
    (out / "pairs.json").write_text(text)
    with refused(f"raw-synthesis.{code}", "pairs.json"):
        make_folder(photos, out, Recipe(), force=True)
    assert len(list(out.rglob("*.dng"))) == 6


def test_old_pairs_stay_until_the_new_ones_are_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    make_folder(photos, out, Recipe())
    (photos / "a.png").rename(photos / "z.png")
    seen = []

    def write(path: Path, raw: RawImage) -> None:
        seen.append((out / "short" / "a.dng").exists() and (out / "pairs.json").exists())
        write_dng(path, raw)

    monkeypatch.setattr("restore_hub_raw.synthesis.make_folder.write_dng", write)
    make_folder(photos, out, Recipe(), force=True)
    assert seen == [True] * 6
    assert pairs_in(out) == ["b.dng", "c.dng", "z.dng"]


def test_damaged_photos_are_counted_and_remove_no_earlier_pair(photos: Path, tmp_path: Path) -> None:
    out, failures = tmp_path / "out", []
    (photos / "b.jpg").write_bytes((photos / "b.jpg").read_bytes()[:300])
    with refused("raw-synthesis.photos-left-out", photos, written=2, failed=1, photos=3):
        make_folder(photos, out, Recipe(), on_failure=failures.append)
    assert [failure.place for failure in failures] == [str(photos / "b.jpg")]
    assert pairs_in(out) == ["a.dng", "c.dng"]
    for file in photos.iterdir():
        file.write_bytes(b"no picture")
    with refused("raw-synthesis.photos-left-out", photos, failed=3, photos=3):
        make_folder(photos, out, Recipe(), force=True)
    assert pairs_in(out) == pairs_in(out, "long") == ["a.dng", "c.dng"]
    assert len(json.loads((out / "pairs.json").read_text())["pairs"]) == 2


def test_unusable_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, code in (("empty", "no-photos"), ("missing", "no-folder")):
        with refused(f"raw-data.{code}", tmp_path / name):
            make_folder(tmp_path / name, tmp_path / "out", Recipe())
    (photos / "a.jpg").write_bytes((photos / "b.jpg").read_bytes())
    with refused("raw-synthesis.same-name", photos / "a.png", other=photos / "a.jpg"):
        make_folder(photos, tmp_path / "out", Recipe())
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    (photos / "a.jpg").unlink()
    with refused("raw-synthesis.cannot-make-folder", tmp_path / "file" / "short"):
        make_folder(photos, tmp_path / "file", Recipe())
