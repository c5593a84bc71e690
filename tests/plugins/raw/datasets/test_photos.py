"""`raw/photos`: exposures made while training, and augmentation by albumentations."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restore_hub.errors import OptionError, UnreadableFileError
from restore_hub.options import check_options
from restore_hub.photo.picture_writer import write_picture
from restore_hub.photo.pictures import read_picture
from restore_hub.testing import check_dataset
from restore_hub_raw.datasets.pairs import Pairs
from restore_hub_raw.datasets.photos import Photos
from restore_hub_raw.synthesis.make_folder import make_folder
from restore_hub_raw.synthesis.recipe import Recipe
from support import refused
from support.fresh import fresh_python

CHANGES = {"RandomBrightnessContrast": {"p": 1.0}, "HorizontalFlip": {}, "GaussNoise": {"p": 1.0}}


def test_the_clean_planes_are_the_photo_seen_by_the_camera(photos: Path) -> None:
    sample = Photos(photos).sample(0, None)
    shapes = {"raw": (4, 30, 40), "rgb": (3, 60, 80), "clean": (4, 30, 40)}
    assert {name: array.shape for name, array in sample.items()} == shapes
    np.testing.assert_allclose(sample["rgb"], read_picture(photos / "a.png").pixels.transpose(2, 0, 1), atol=1e-5)
    assert 0 <= sample["clean"].min() <= sample["clean"].max() <= 1
    green = sample["rgb"][1, ::2, 1::2]
    assert np.corrcoef(sample["clean"][1].ravel(), green.ravel())[0, 1] > 0.9


def test_a_grey_photo_is_grey_to_the_camera_after_its_white_balance(tmp_path: Path) -> None:
    write_picture(tmp_path / "grey.png", np.full((30, 30, 3), 0.5))
    clean = Photos(tmp_path).sample(0, None)["clean"]
    linear = ((128 / 255 + 0.055) / 1.055) ** 2.4
    np.testing.assert_allclose(clean, linear, atol=2e-4)


def test_noise_has_the_stated_variance_after_the_ratio(tmp_path: Path) -> None:
    """After white balance the planes of a neutral photo share a mean; balance multiplies the noise of each."""
    write_picture(tmp_path / "grey.png", np.full((600, 600, 3), 0.6))
    shot, read, ratio = 1e-3, 1e-6, 20.0
    sample = Photos(tmp_path, ratio=ratio, shot=shot, read=read).sample(0, None)
    difference = (sample["raw"] - sample["clean"]).astype(np.float64)
    signal = float(sample["clean"][1].mean())
    deviation = ratio * (shot * signal / ratio + read) ** 0.5
    assert difference[1].std() == pytest.approx(deviation, rel=0.02)
    assert abs(difference[1].mean()) < 5 * deviation / 300
    assert difference[0].std() > 1.2 * deviation  # red is multiplied by 1.9 or more


def test_a_pair_of_make_raw_has_the_same_planes(photos: Path, tmp_path: Path) -> None:
    """Noise and white balance are random: the test has no noise, and compares after balance."""
    make_folder(photos, tmp_path / "data", Recipe(shot=0.0, read=0.0, ratio=4.0))
    written = Pairs(tmp_path / "data").sample(0, None)["raw"]
    made = Photos(photos, shot=0.0, read=0.0, ratio=4.0).sample(0, None)["raw"]
    dark = (written < 0.7) & (made < 0.7)  # highlights depend on the balance
    assert dark.mean() > 0.5
    np.testing.assert_allclose(made[dark], written[dark], atol=2e-3)


def test_validation_is_repeatable_and_does_not_augment(photos: Path) -> None:
    dataset = Photos(photos, crop=16, augment=CHANGES)
    one, two = dataset.sample(1, None), Photos(photos).sample(1, None)
    assert one["rgb"].shape == (3, 60, 78)  # 61 x 79, cut to even size
    np.testing.assert_equal(one, two)
    assert not np.array_equal(dataset.sample(0, None)["raw"][:, :20, :20], one["raw"][:, :20, :20])


def test_a_sample_is_a_function_of_index_and_generator(photos: Path) -> None:
    one, two = (Photos(photos, crop=32, augment=CHANGES, cache_mb=mb) for mb in (64, 0))
    two.sample(2, np.random.default_rng(9))
    state = repr(np.random.get_state()), random.getstate(), torch.get_rng_state()
    a, b = ([each.sample(0, np.random.default_rng(seed)) for seed in range(4)] for each in (one, two))
    np.testing.assert_equal(a, b)
    assert all(not np.array_equal(a[0]["rgb"], other["rgb"]) for other in a[1:])
    check_dataset(Photos(photos, crop=32, augment={"ColorJitter": {}, "GaussianBlur": {"p": 0.3}}))
    assert (repr(np.random.get_state()), random.getstate()) == state[:2]
    assert torch.equal(torch.get_rng_state(), state[2])


def test_planes_are_made_from_the_augmented_picture(photos: Path) -> None:
    plain = Photos(photos, crop=32).sample(0, np.random.default_rng(0))["rgb"]
    for transform, expected in (("InvertImg", 1 - plain), ("VerticalFlip", plain[:, ::-1])):
        sample = Photos(photos, crop=32, augment={transform: {"p": 1.0}}).sample(0, np.random.default_rng(0))
        np.testing.assert_allclose(sample["rgb"], expected, atol=1e-6)
        green = sample["rgb"][1, ::2, 1::2]
        assert np.corrcoef(sample["clean"][1].ravel(), green.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("augment", "code"),
    [
        ({"GausianBlur": {}}, "unknown-transform"),
        ({"Compose": {}}, "unknown-transform"),
        ({"GaussianBlur": {"sigma": 3}}, "bad-option"),
        ({"GaussianBlur": {"p": 2}}, "bad-option"),
        ({"RandomCrop": {"height": 8, "width": 8}}, "changes-size"),
        ({"Normalize": {}}, "leaves-range"),
        ({"MaskDropout": {}}, "fails"),
    ],
)
def test_unusable_transforms_are_named(photos: Path, augment: dict[str, Any], code: str) -> None:
    with refused(f"raw-augment.{code}", "augment", OptionError, transform=next(iter(augment))):
        Photos(photos, crop=32, augment=augment)


def test_a_transform_that_changes_the_size_later_is_named(photos: Path) -> None:
    # Without a crop, transforms are tried at a size that the photos needn't have.
    dataset = Photos(photos, augment={"CenterCrop": {"height": 48, "width": 64, "p": 1}})
    with refused("raw-augment.changes-size", "augment", before=(60, 80, 3), after=(48, 64, 3)):
        dataset.sample(0, np.random.default_rng(0))


def test_options_are_checked_as_a_spec_writes_them(photos: Path) -> None:
    given = {"root": str(photos), "crop": 16, "augment": {"RandomGamma": {"gamma_limit": [80, 120]}, "Blur": {}}}
    sample = Photos(**check_options("raw/photos", Photos, given)).sample(0, np.random.default_rng(0))
    assert sample["rgb"].shape == (3, 16, 16)
    with refused("option.wrong-value", "augment.Blur", OptionError):
        check_options("raw/photos", Photos, {"root": str(photos), "augment": {"Blur": 0.5}})


def test_noise_of_a_camera_comes_from_its_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.yaml").write_text("shot: 1.0e-3\nread: 2.0e-5\n")
    from_file, given = Photos(photos, noise=tmp_path / "noise.yaml"), Photos(photos, shot=1e-3, read=2e-5)
    np.testing.assert_array_equal(from_file.sample(0, None)["raw"], given.sample(0, None)["raw"])
    with refused("raw-noise.given-twice", "noise"):
        Photos(photos, noise=tmp_path / "noise.yaml", shot=1e-3)


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("crop", 15, "raw-data.bad-crop"),
        ("ratio", 0.5, "raw-data.bad-ratio"),
        ("ratio", 301.0, "raw-data.bad-ratio"),
        ("ratio", [50, 2], "raw-data.bad-range"),
        ("ratio", [1], "raw-data.bad-range"),
        ("ratio", [1, 2, 3], "raw-data.bad-range"),
        ("ratio", [2, 400], "raw-data.bad-ratio"),
        ("shot", -1e-3, "raw-synthesis.bad-shot-noise"),
        ("shot", [0, 1e-3], "raw-data.bad-range"),
        ("read", 1.0, "raw-synthesis.bad-read-noise"),
    ],
)
def test_options_out_of_range_are_refused(photos: Path, option: str, value: Any, code: str) -> None:
    with refused(code, option):
        Photos(photos, **{option: value})


def test_unusable_folders_and_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    with refused("raw-data.no-folder", tmp_path / "missing"):
        Photos(tmp_path / "missing")
    (tmp_path / "bare").mkdir()
    with refused("raw-data.no-photos", tmp_path / "bare"):
        Photos(tmp_path / "bare")
    with refused("raw-data.crop-too-large", photos / "a.png", crop=62, height=60, width=80):
        Photos(photos, crop=62).sample(0, np.random.default_rng(0))


def test_a_damaged_photo_is_of_the_kind_that_training_leaves_out(photos: Path) -> None:
    for name in ("a.png", "b.jpg", "c.tif"):
        (photos / name).write_bytes((photos / name).read_bytes()[:1500])
    (photos / "d.png").touch()
    dataset = Photos(photos, crop=16)
    for index, name in enumerate(["a.png", "b.jpg", "c.tif", "d.png"]):
        with pytest.raises(UnreadableFileError) as caught:
            dataset.sample(index, np.random.default_rng(0))
        assert caught.value.place.endswith(name)


def test_albumentations_is_imported_only_when_used(photos: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from restore_hub_raw.datasets.photos import Photos;"
        "Photos(Path(sys.argv[1])).sample(0, None); print(*sys.modules)"
    )
    assert not {"torch", "albumentations", "cv2"} & set(fresh_python(code, photos).stdout.split())


def test_each_sample_draws_between_two_ratios_and_shot_noises(photos: Path) -> None:
    dataset = Photos(photos, crop=32, ratio=[2, 50], shot=[1e-5, 1e-2], read=0.0)
    recipes = [dataset._drawn(np.random.default_rng(seed)) for seed in range(400)]
    ratios = [r.ratio for r in recipes]
    assert 2 <= min(ratios) <= max(ratios) <= 50
    assert np.median(ratios) == pytest.approx(10, rel=0.25)  # the geometric mean
    assert np.median([r.shot for r in recipes]) == pytest.approx(10**-3.5, rel=0.4)
    noise = [np.std(s["raw"] - s["clean"]) for s in (dataset.sample(0, np.random.default_rng(n)) for n in range(12))]
    assert max(noise) > 4 * min(noise)
    np.testing.assert_equal(dataset.sample(1, None), dataset.sample(1, None))
    # A range of one number gives the samples of that number.
    one, two = (Photos(photos, crop=16, ratio=ratio) for ratio in (20.0, [20.0, 20.0]))
    np.testing.assert_equal(one.sample(0, np.random.default_rng(3)), two.sample(0, np.random.default_rng(3)))
