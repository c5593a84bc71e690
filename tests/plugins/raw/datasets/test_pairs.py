from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore_hub.errors import UnreadableFileError
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import PHASES, RawImage, exposure_gain, pack, planes
from restore_hub.photo.raw.reader import read_raw, render_raw
from restore_hub.testing import check_dataset
from restore_hub_raw.datasets.pairs import Pairs
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused
from support.raw_pairs import photo

CLEAN: dict[str, Any] = {"shot": 0.0, "read": 0.0, "ratio": 4.0}


@pytest.fixture
def root(photos: Path, tmp_path: Path) -> Path:
    make_folder(photos, tmp_path / "data", Recipe())
    return tmp_path / "data"


def places_of(crop: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Return the rows and columns at which a crop occurs in a picture."""
    height, width, _ = crop.shape
    corners = np.argwhere((picture == crop[0, 0]).all(axis=2)).tolist()
    return [(y, x) for y, x in corners if np.array_equal(picture[y : y + height, x : x + width], crop)]


def transposed(picture: np.ndarray, turned: bool) -> np.ndarray:
    return picture.swapaxes(0, 1) if turned else picture


@pytest.mark.parametrize("phase", list(PHASES))
def test_the_whole_picture_begins_with_red(photos: Path, tmp_path: Path, phase: str) -> None:
    make_folder(photos, tmp_path / "data", Recipe(phase=phase, **CLEAN))
    pairs = Pairs(tmp_path / "data")
    for index, (height, width) in enumerate([(60, 80), (61, 79), (60, 80)]):
        sample = pairs.sample(index, None)
        y, x = PHASES[phase]
        h, w = (height - y) // 2 * 2, (width - x) // 2 * 2
        assert (sample["raw"].shape, sample["rgb"].shape) == ((4, h // 2, w // 2), (3, h, w))
        short, long = pairs.files(index)
        raw = read_raw(short)
        red = (raw.mosaic[y : y + h : 2, x : x + w : 2] - 512.0) / (16383 - 512) * raw.balance[0] * 4
        np.testing.assert_allclose(sample["raw"][0], np.minimum(red, 1), atol=1e-5)
        expected = render_raw(long)[y : y + h, x : x + w].transpose(2, 0, 1) / 65535
        np.testing.assert_allclose(sample["rgb"], expected, atol=1e-6)


@pytest.mark.parametrize("phase", list(PHASES))
def test_crops_and_flips_keep_colours_and_alignment(tmp_path: Path, phase: str) -> None:
    """Each sample occurs in the unflipped pair in exactly one place, with planes of the right colour."""
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos" / "a.png", photo(41, 46))
    make_folder(tmp_path / "photos", tmp_path / "data", Recipe(phase=phase, **CLEAN))
    pairs, rng, seen = Pairs(tmp_path / "data", crop=16), np.random.default_rng(0), set()
    check_dataset(pairs)
    short, long = pairs.files(0)
    raw, picture = read_raw(short), render_raw(long)
    y0, x0 = PHASES[phase]
    for _ in range(60):
        sample = pairs.sample(0, rng)
        target = np.rint(sample["rgb"].transpose(1, 2, 0) * 65535.0)
        places = [
            (y, x, up, left, turned)
            for up, left, turned in itertools.product((1, -1), (1, -1), (False, True))
            for y, x in places_of(transposed(target, turned)[::up, ::left], picture)
        ]
        assert len(places) == 1
        y, x, up, left, turned = places[0]
        seen.add((up, left, turned))
        cut = transposed(raw.mosaic[y : y + 16, x : x + 16][::up, ::left], turned)
        rows, columns = np.arange(y, y + 16)[::up] - y0, np.arange(x, x + 16)[::left] - x0
        if turned:
            rows, columns = columns, rows
        for plane in range(4):
            row, column = divmod(plane, 2)
            assert (rows[row::2] % 2 == row).all()
            assert (columns[column::2] % 2 == column).all()
            level = (cut[row::2, column::2] - 512.0) / (16383 - 512) * raw.balance[plane] * 4
            np.testing.assert_allclose(sample["raw"][plane], np.minimum(level, 1), atol=1e-5)
    assert len(seen) == 8


@pytest.mark.parametrize("phase", list(PHASES.values()))
def test_every_site_keeps_its_own_black_level(root: Path, phase: tuple[int, int]) -> None:
    """With four black levels and a constant signal for each plane, each stays flat after crop, flip and transpose."""
    black, signal = np.array([500, 700, 300, 900]), np.array([100, 200, 200, 300])
    mosaic = np.empty((60, 80), np.uint16)
    for plane, level in zip(planes(mosaic, phase), black + signal, strict=True):
        plane[...] = level
    balance = np.array([2.0, 1, 1, 1.5])
    path = root / "short" / "a.dng"
    write_dng(path, RawImage(mosaic, phase, black, np.full(4, 4095), balance, "camera"))
    pairs, rng = Pairs(root, crop=16, ratio=3), np.random.default_rng(0)
    expected = signal / (4095 - black) * balance * 3
    for _ in range(40):
        sample = pairs.sample(0, rng)["raw"]
        swapped = expected[[0, 2, 1, 3]]  # transposed, the greens change places with their levels
        flat = sample.mean(axis=(1, 2))
        np.testing.assert_allclose(sample, np.broadcast_to(flat[:, None, None], sample.shape), atol=1e-6)
        assert np.allclose(flat, expected, atol=1e-5) or np.allclose(flat, swapped, atol=1e-5)


def test_without_flip_nothing_is_mirrored(root: Path) -> None:
    pairs, rng = Pairs(root, crop=48, flip=False), np.random.default_rng(0)
    picture = render_raw(pairs.files(0)[1])
    corners = set()
    for _ in range(10):
        target = np.rint(pairs.sample(0, rng)["rgb"].transpose(1, 2, 0) * 65535.0)
        (place,) = places_of(target, picture)
        corners.add(place)
    assert len(corners) > 3


def test_a_sample_depends_on_index_and_generator_but_not_on_the_cache(root: Path) -> None:
    one, two = Pairs(root, crop=16), Pairs(root, crop=16, cache_mb=0)
    two.sample(2, np.random.default_rng(9))
    a, b = ([each.sample(1, np.random.default_rng(seed)) for seed in range(5)] for each in (one, two))
    np.testing.assert_equal(a, b)
    assert not np.array_equal(a[0]["rgb"], a[1]["rgb"])


def test_a_crop_of_the_whole_aligned_area_fits_without_flips(root: Path) -> None:
    shapes = {Pairs(root, crop=60).sample(0, np.random.default_rng(seed))["rgb"].shape for seed in range(6)}
    assert shapes == {(3, 60, 60)}
    assert Pairs(root).sample(0, np.random.default_rng(0))["rgb"].shape == (3, 60, 80)


def test_pairs_are_decoded_once_within_the_cache(root: Path) -> None:
    kept, fresh = Pairs(root), Pairs(root, cache_mb=0)
    for pairs in (kept, fresh):
        pairs.sample(0, None)
    for side in ("short", "long"):
        (root / side / "a.dng").unlink()
    assert kept.sample(0, None)["rgb"].shape == (3, 60, 80)
    with refused("photo.missing", "a.dng"):
        fresh.sample(0, None)


def test_a_picture_can_be_the_long_exposure(root: Path, photos: Path) -> None:
    shutil.rmtree(root / "long")
    shutil.copytree(photos, root / "long")
    sample = Pairs(root, ratio=100).sample(0, None)
    green = np.maximum(sample["raw"][1:3].mean(axis=0), 0) ** (1 / 2.2)
    blocks = sample["rgb"][1].reshape(30, 2, 40, 2).mean(axis=(1, 3))
    assert np.corrcoef(green.ravel(), blocks.ravel())[0, 1] > 0.8
    with refused("raw-data.no-exposure-time", "a.png"):
        Pairs(root).sample(0, None)


def test_ratio_comes_from_the_files_and_stops_at_300(photos: Path, tmp_path: Path) -> None:
    make_folder(photos, tmp_path / "data", Recipe(ratio=300, shot=0.0, read=0.0))
    raw = replace(read_raw(tmp_path / "data" / "short" / "a.dng"), exposure_time=0.01)
    write_dng(tmp_path / "data" / "short" / "a.dng", raw)  # now 1000 times shorter
    level = (raw.mosaic[::2, 1::2] - 512.0) / (16383 - 512)
    for given, ratio in ((None, 300), (2, 2)):
        green = Pairs(tmp_path / "data", ratio=given).sample(0, None)["raw"][1]
        np.testing.assert_allclose(green, np.minimum(level * ratio, 1), atol=1e-4 if given is None else 1e-5)


def test_pairs_that_cannot_be_a_sample_are_named(root: Path) -> None:
    short = root / "short" / "a.dng"
    with refused("raw-data.crop-too-large", short, crop=62, height=60, width=80):
        Pairs(root, crop=62).sample(0, np.random.default_rng(0))
    write_dng(short, replace(read_raw(short), exposure_time=None))
    with refused("raw-data.no-exposure-time", short):
        Pairs(root).sample(0, None)
    shutil.copy(root / "long" / "b.dng", root / "long" / "a.dng")
    with refused("raw-data.sizes-differ", short, size="60 x 80", other_size="61 x 79"):
        Pairs(root, ratio=2).sample(0, None)


def test_unusable_folders_are_refused(root: Path, tmp_path: Path) -> None:
    with refused("raw-data.no-folder", tmp_path / "missing"):
        Pairs(tmp_path / "missing")
    (tmp_path / "bare" / "short").mkdir(parents=True)
    with refused("raw-data.no-files", tmp_path / "bare" / "short"):
        Pairs(tmp_path / "bare")
    for side, other, name in (("long", "short", "b.dng"), ("short", "long", "a.dng")):
        (root / side / name).rename(tmp_path / name)
        with refused("raw-data.no-partner", root / other / name, folder=root / side):
            Pairs(root)
        (tmp_path / name).rename(root / side / name)
    (root / "short" / "c.nef").touch()
    with refused("raw-data.same-name", root / "short" / "c.nef"):
        Pairs(root)


@pytest.mark.parametrize(
    ("option", "value"), [("crop", 15), ("crop", 0), ("ratio", 0.5), ("ratio", 301.0), ("ratio", float("inf"))]
)
def test_options_out_of_range_are_refused(root: Path, option: str, value: float) -> None:
    with refused(f"raw-data.bad-{option}", option, got=value):
        Pairs(root, **{option: value})


def write_list(root: Path, *lines: str) -> Path:
    path = root / "pairs.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_list_names_the_pairs_and_their_ratios(root: Path, tmp_path: Path) -> None:
    (root / "short").rename(root / "dark ones")
    elsewhere = (root / "long").rename(tmp_path / "elsewhere")
    first, second = f'"dark ones/c.dng" {elsewhere}/c.dng 2.5', f"'dark ones/a.dng' {elsewhere}/a.dng  # ok"
    listing = write_list(root, "# exposures", "", first, second)
    pairs = Pairs(root, listing=listing)
    assert [tuple(pairs.files(i)) for i in range(len(pairs))] == [
        (root / "dark ones" / f"{name}.dng", elsewhere / f"{name}.dng") for name in "ca"
    ]
    for listed, index, ratio in ((1, 0, None), (0, 2, 2.5)):
        by_folders = Pairs(root, short="dark ones", long=str(elsewhere), ratio=ratio)
        np.testing.assert_equal(pairs.sample(listed, None), by_folders.sample(index, None))
    given = Pairs(root, listing=listing, ratio=7)
    assert [pair.ratio for pair in given._pairs] == [2.5, 7]


def test_a_long_exposure_of_several_short_ones_is_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from restore_hub_raw.datasets import decoded_cache

    for name in ("a1", "a2"):
        shutil.copy(root / "short" / "a.dng", root / "short" / f"{name}.dng")
    lines = [f"short/{name}.dng long/a.dng 4" for name in ("a", "a1", "a2")]
    rendered: list[Path] = []
    monkeypatch.setattr(decoded_cache, "render_raw", lambda path: rendered.append(path) or render_raw(path))
    pairs = Pairs(root, listing=write_list(root, *lines))
    samples = [pairs.sample(index, None) for index in (0, 1, 2, 0)]
    assert rendered == [root / "long" / "a.dng"]
    np.testing.assert_array_equal(samples[0]["rgb"], samples[2]["rgb"])


@pytest.mark.parametrize(
    ("lines", "code", "line"),
    [
        (("# first", "short/a.dng"), "wrong-fields", ":2"),
        (("short/a.dng long/a.dng 1 2",), "wrong-fields", ":1"),
        (("short/a.dng long/a.dng", "short/x.dng long/a.dng"), "no-listed-file", ":2"),
        (("short/a.dng long/a.dng fast",), "bad-listed-ratio", ":1"),
        (("short/a.dng long/a.dng nan",), "bad-listed-ratio", ":1"),
        (("short/a.dng long/a.dng 0",), "bad-listed-ratio", ":1"),
        (("short/a.dng 'long/a.dng",), "open-quote", ":1"),
        (("# nothing",), "empty-list", ""),
    ],
)
def test_errors_name_the_line_of_a_list(root: Path, lines: tuple[str, ...], code: str, line: str) -> None:
    with refused(f"raw-data.{code}", f"pairs.txt{line}"):
        Pairs(root, listing=write_list(root, *lines))


def test_an_unreadable_list_is_refused(root: Path) -> None:
    for path in (root / "none.txt", root / "short" / "a.dng"):
        with refused("raw-data.unreadable-list", path):
            Pairs(root, listing=path)
    with refused("raw-data.listing-and-folders", "listing"):
        Pairs(root, short="dark", listing=write_list(root, "short/a.dng long/a.dng"))


def test_damaged_files_are_of_the_kind_that_training_leaves_out(root: Path) -> None:
    for path in (root / "short/a.dng", root / "long/b.dng"):
        path.write_bytes(path.read_bytes()[:3000])
    pairs = Pairs(root)
    for index, name in enumerate(["a", "b"]):
        with pytest.raises(UnreadableFileError) as caught:
            pairs.sample(index, None)
        assert caught.value.place.endswith(f"{name}.dng")
    assert pairs.sample(2, None)["rgb"].shape == (3, 60, 80)


def test_an_array_with_a_sidecar_can_be_the_short_exposure(root: Path) -> None:
    raw = read_raw(root / "short" / "a.dng")
    expected = Pairs(root, ratio=3).sample(0, None)["raw"]
    (root / "short" / "a.dng").unlink()
    np.save(root / "short" / "a.npy", raw.mosaic)
    text = f"cfa: rggb\nblack: 512\nwhite: 16383\nbalance: {raw.balance.tolist()}\n"
    (root / "short" / "a.npy.yaml").write_text(text)
    np.testing.assert_allclose(Pairs(root, ratio=3).sample(0, None)["raw"], expected, atol=1e-6)


@pytest.mark.parametrize("phase", list(PHASES))
def test_training_and_restoring_see_the_same_bits(photos: Path, tmp_path: Path, phase: str) -> None:
    """One reader, hot pixels included: a dataset gives what `restore` feeds, only shifted."""
    make_folder(photos, tmp_path / "data", Recipe(phase=phase, ratio=7))
    path = tmp_path / "data" / "short" / "b.dng"
    hot = read_raw(path)
    hot.mosaic[20, 31] = 16383
    write_dng(path, hot)
    raw = read_raw(path, repair=True)
    assert raw.hot_pixels == 1
    packed = pack(raw.mosaic, raw.phase, raw.black, raw.white, raw.balance, exposure_gain(raw)[0])
    (y, x), given = PHASES[phase], Pairs(tmp_path / "data").sample(1, None)["raw"]
    np.testing.assert_array_equal(given, packed[:, y : y + given.shape[1], x : x + given.shape[2]])
