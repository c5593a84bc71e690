"""Labelled pictures from small files of the real formats, whole and damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from restore_hub.errors import DataError
from restore_hub_cleaning import cifar
from restore_hub_cleaning.formats import load
from restore_hub_cleaning.idx import read_idx
from support import refused
from support.real import DATA, real

Array = np.ndarray[Any, Any]


def idx(array: Array) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def samples(count: int, *shape: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 10, count, np.uint8)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Return a folder of idx files: 30 pictures to train on as .gz, 20 to test as they are."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    images, labels = samples(30, 28, 28)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    images, labels = samples(20, 28, 28, seed=1)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(images))
    (folder / "t10k-labels.idx1-ubyte").write_bytes(idx(labels))
    return folder


def _batches(folder: Path, write: Callable[[Path, Array, Array], None], ending: str = "") -> Path:
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        write(folder / (name + ending), *samples(4, 3072, seed=number))
    return folder


def _pickled(path: Path, images: Array, labels: Array) -> None:
    content = {"batch_label": "training batch", "labels": [int(n) for n in labels], "data": images}
    path.write_bytes(pickle.dumps(content, protocol=2))


def _publish(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let torchvision take the files of a folder for the published ones."""
    sums = [[name, hashlib.md5((root / name).read_bytes()).hexdigest()] for name in cifar.FILES]
    monkeypatch.setattr(cifar._Published, "train_list", sums[:5])
    monkeypatch.setattr(cifar._Published, "test_list", sums[5:])
    return root


def _binary(path: Path, images: Array, labels: Array) -> None:
    path.write_bytes(np.concatenate([labels[:, None], images], axis=1).tobytes())


def _zipped(path: Path, pictures: dict[str, Array]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in pictures.items():
            file = io.BytesIO()
            Image.fromarray(array.reshape(3, 32, 32).transpose(1, 2, 0)).save(file, "png")
            archive.writestr(f"{name}.png", file.getvalue())
    return path


@pytest.mark.parametrize("data", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_gzipped_and_plain(mnist: Path, data: str) -> None:
    found = load(data, mnist)
    (images, labels), (tested, classes) = samples(30, 28, 28), samples(20, 28, 28, seed=1)
    np.testing.assert_equal(found[:4], (images, labels, tested, classes))
    for file in mnist.glob("t10k*"):
        file.unlink()
    assert load(data, mnist).test_images is None


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
def test_files_of_the_test_split_alone_are_enough(mnist: Path, name: str) -> None:
    (mnist / name).unlink()
    found = load("mnist", mnist)
    assert (len(found.images), found.test_labels) == (20, None)


def test_npz_files_are_read(tmp_path: Path) -> None:
    images, labels = samples(12, 28, 28)
    np.savez_compressed(tmp_path / "m.npz", images=images, labels=labels)
    np.testing.assert_equal(load("mnist", tmp_path / "m.npz")[:2], (images, labels))


def test_cifar10_is_read_from_published_files_binary_files_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [samples(4, 3072, seed=number) for number in range(6)]
    pictures = {}
    for number, (images, labels) in enumerate(parts):
        split = "test" if number == 5 else "train"
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            pictures[f"{split}/{cifar.CLASSES[label]}/{number}{place}"] = image
    archive = _zipped(tmp_path / "c.zip", pictures)
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "folder")
    published = _publish(_batches(tmp_path / "p", _pickled), monkeypatch)
    roots = [published, _batches(tmp_path / "b", _binary, ".bin")]
    expected = {(image.tobytes(), int(label)) for part in parts[:5] for image, label in zip(*part, strict=True)}
    for root in (*roots, archive, tmp_path / "folder"):
        found = load("cifar10", root)
        assert {(image.tobytes(), int(label)) for image, label in zip(*found[:2], strict=True)} == expected
        assert found.test_labels is not None
        assert sorted(found.test_labels) == sorted(parts[5][1])


def test_digits_come_with_scikit_learn_or_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, of the extra demo, is not installed")
    found = load("digits", None)
    assert (found.images.shape, found.images.max(), found.white) == ((1797, 64), 16, 16.0)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with refused("cleaning.needs-scikit-learn"):
        load("digits", None)


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo run > run.txt",)


def test_a_pickle_that_was_not_published_is_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = _publish(_batches(tmp_path / "p", _pickled), monkeypatch)
    (root / "test_batch").write_bytes(pickle.dumps({"data": _Evil(), "labels": []}))
    with refused("cleaning.cifar-not-published", root / "test_batch"):
        load("cifar10", root)
    assert not (tmp_path / "run.txt").exists()


@pytest.mark.parametrize("keep", [0, 3, 10, 20, 0.5, 0.98])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"])
def test_a_cut_off_idx_file_is_named(mnist: Path, name: str, keep: float) -> None:
    data = (mnist / name).read_bytes()
    (mnist / name).write_bytes(data[: int(keep if keep == int(keep) else keep * len(data))])
    with refused("cleaning.damaged", name):
        load("mnist", mnist)


def test_every_changed_byte_of_a_gzipped_idx_file_is_noticed_or_harmless(mnist: Path) -> None:
    path, rng = mnist / "train-labels-idx1-ubyte.gz", np.random.default_rng(0)
    data, whole, noticed = path.read_bytes(), read_idx(path), 0
    for place in rng.integers(0, len(data), 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << rng.integers(8)]) + data[place + 1 :])
        try:
            found = read_idx(path)
        except DataError:
            noticed += 1
        else:
            np.testing.assert_array_equal(found, whole)  # a time or a flag in the header
    assert noticed > 30


@pytest.mark.parametrize(
    ("name", "content", "code", "facts"),
    [
        ("t10k-labels.idx1-ubyte", idx(samples(19)[1]), "counts-differ", {"pictures": 20, "labels": 19}),
        ("t10k-labels.idx1-ubyte", idx(np.full(20, 11, np.uint8)), "label-out-of-range", {"got": 11}),
        ("t10k-labels.idx1-ubyte", idx(samples(20, 2)[0]), "damaged", {}),
        ("t10k-labels.idx1-ubyte", idx(samples(20)[1].astype(">i4")).replace(b"\0\0\x08", b"\0\0\x0c"), "damaged", {}),
        ("t10k-images-idx3-ubyte", idx(samples(20, 8, 8)[0]), "sizes-differ", {"train": (28, 28), "test": (8, 8)}),
        ("t10k-images-idx3-ubyte", idx(samples(20, 28, 28)[0]) + b"x", "damaged", {}),
        ("t10k-images-idx3-ubyte", b"PK\x03\x04" * 9, "damaged", {}),
        ("t10k-images-idx3-ubyte", idx(samples(0, 28, 28)[0]), "damaged", {}),
    ],
)
def test_idx_files_that_do_not_fit_are_refused(
    mnist: Path, name: str, content: bytes, code: str, facts: dict[str, Any]
) -> None:
    (mnist / name).write_bytes(content)
    with refused(f"cleaning.{code}", mnist / name if code == "damaged" else mnist, **facts):
        load("mnist", mnist)


@pytest.mark.parametrize(
    ("data", "root", "code"),
    [
        ("mnist", None, "needs-root"),
        ("mnist", "nowhere", "not-found"),
        ("fashion-mnist", ".", "no-idx-files"),
        ("cifar10", ".", "no-cifar-files"),
    ],
)
def test_places_without_the_files_are_refused(tmp_path: Path, data: str, root: str | None, code: str) -> None:
    with refused(f"cleaning.{code}", "root" if root is None else tmp_path):
        load(data, root and tmp_path / root)


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"images": samples(3, 28, 28)[0]}, "npz-lacks-array"),
        ({"images": samples(3, 28, 28)[0].astype(float), "labels": samples(3)[1]}, "npz-arrays"),
        ({"images": samples(3, 28, 28)[0], "labels": np.array([1, -2, 3])}, "label-out-of-range"),
        ({"images": samples(3, 28, 28)[0], "labels": samples(4)[1]}, "counts-differ"),
        ({"images": samples(0, 28, 28)[0], "labels": samples(0)[1]}, "no-samples"),
        ({"images": np.array([{}, {}]), "labels": samples(2)[1]}, "damaged"),
    ],
)
def test_npz_files_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], code: str) -> None:
    np.savez(tmp_path / "m.npz", **arrays)
    with refused(f"cleaning.{code}", "m.npz"):
        load("mnist", tmp_path / "m.npz")


def test_damaged_npz_and_zip_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", images=samples(3, 28, 28)[0], labels=samples(3)[1])
    for name, data in (("m.npz", "mnist"), ("c.zip", "cifar10")):
        if name == "c.zip":
            _zipped(tmp_path / name, {"train/cat/1": samples(1, 3072)[0][0]})
        whole = (tmp_path / name).read_bytes()
        for damaged in (b"", whole[: len(whole) // 2], whole[:60] + b"\xff" * 20 + whole[80:]):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(DataError) as caught:
                load(data, tmp_path / name)
            assert caught.value.code in ("cleaning.damaged", "cleaning.not-a-zip")
            assert name in caught.value.place


def test_cifar10_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root = _batches(tmp_path / "b", _binary, ".bin")
    (root / "data_batch_3.bin").write_bytes((root / "data_batch_3.bin").read_bytes()[:-1])
    with refused("cleaning.cifar-cut-off", root / "data_batch_3.bin", found=12291):
        load("cifar10", root)
    (root / "data_batch_3.bin").unlink()
    with refused("cleaning.cifar-lacks-file", root / "data_batch_3.bin"):
        load("cifar10", root)
    Image.new("RGB", (31, 32)).save(tmp_path / "p.png")
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "p.png").rename(tmp_path / "train" / "cat" / "p.png")
    with refused("cleaning.picture-size", "p.png", found="31 x 32 pixels"):
        load("cifar10", tmp_path)


@real
@pytest.mark.parametrize(
    ("data", "place", "count", "first"),
    [
        ("mnist", "mnist_train20k_npz/mnist_train20k.npz", 20_000, [5, 0, 4, 1, 9]),
        ("fashion-mnist", "fashion_train15k_npz/fashion_train15k.npz", 15_000, [9, 0, 0, 3, 0]),
        ("mnist", "mnist_t10k_idx", 10_000, [7, 2, 1, 0, 4]),
        ("cifar10", "cifar10_jpg_shared/cifar10_jpg_train500pc_test100pc.zip", 5000, [0, 0, 0, 0, 0]),
    ],
)
def test_real_files_are_read(data: str, place: str, count: int, first: list[int]) -> None:
    found = load(data, DATA / "classification" / place)
    assert (len(found.images), found.labels[:5].tolist(), len(np.unique(found.labels))) == (count, first, 10)
    assert found.images.max() == 255
    assert (found.test_labels is not None) is (data == "cifar10")
