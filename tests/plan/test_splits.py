"""The datasets of a spec: what they know, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from restore_hub.contracts import Port
from restore_hub.plan import Plan, make_plan
from restore_hub.plan.splits import check_splits_apart, make_dataset, notes_of
from restore_hub.plugins import load_plugins, registry_of
from restore_hub.spec import read_spec
from support import LOWLIGHT, refused

NOTED = """
from restore_hub import hookimpl
from restore_hub.contracts import Port

class Noted:
    ports = {"raw": Port(4, "raw", scale=0.5), "rgb": Port(3)}
    notes = NOTES
    def __init__(self, crop: int | None = None) -> None: ...
    def __len__(self):
        return LENGTH
    def files(self, index):
        return ()

@hookimpl
def register_datasets(register):
    register("data", "{stem}:Noted", summary="x")
"""


class Listed:
    """A dataset that reads the files it is given, one a sample."""

    ports = {"rgb": Port(3)}

    def __init__(self, *files: Path) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def files(self, index: int) -> Sequence[Path]:
        return (self._files[index],)

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        return {"rgb": np.zeros((3, 4, 4), np.float32)}


class InMemory(Listed):
    def files(self, index: int) -> Sequence[Path]:
        return ()


@pytest.fixture
def noted(write_plugin: Callable[[str, str], Path], overrides: list[str]) -> Callable[..., Plan]:
    """Return a function that plans a pipeline whose training data has the given notes."""

    def plan(notes: str, length: int = 2) -> Plan:
        file = write_plugin("noted", NOTED.replace("NOTES", notes).replace("LENGTH", str(length)))
        registry = registry_of(load_plugins((file,)))
        return make_plan(read_spec(LOWLIGHT, [*overrides, "data.train={dataset: noted/data}"]), registry)

    return plan


@pytest.mark.parametrize("notes", ["'two left out'", "7", "('a', 1)"])
def test_notes_must_be_texts(noted: Callable[..., Plan], notes: str) -> None:
    with refused("data.bad-notes", "data.train", component="noted/data", got=eval(notes)):
        make_dataset(noted(notes), "train")


def test_notes_carry_the_name_of_their_split_which_has_samples(noted: Callable[..., Plan]) -> None:
    dataset = make_dataset(noted("('a scene is left out', 'b')"), "train")
    notes = notes_of({"train": dataset, "holdout": Listed()})
    assert notes == ["data.train: a scene is left out", "data.train: b"]
    with refused("data.no-samples", "data.train"):
        make_dataset(noted("()", length=0), "train")


def test_splits_share_no_file_and_miss_none(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    splits = {"train": Listed(tmp_path / "a", tmp_path / "gone"), "holdout": Listed(tmp_path / "gone-too")}
    with refused("data.file-missing", tmp_path / "gone", cause="No such file or directory"):
        check_splits_apart(splits)
    here = Listed(tmp_path / "a")
    check_splits_apart({"train": InMemory(tmp_path / "a"), "upper": InMemory(tmp_path / "a"), "holdout": here})
    with refused("data.splits-share-files", one="holdout", other="train", count=1):
        check_splits_apart({"train": Listed(tmp_path / "a"), "holdout": here})
