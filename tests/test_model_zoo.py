"""The model zoo: every entry is consistent, and its recipe trains on no held-out picture."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from restore_hub.files import file_hash
from restore_hub.model.verify import verify
from restore_hub.model.zoo import Entry, zoo_entries
from restore_hub.plan import make_plan
from restore_hub.plugins import default_registry
from restore_hub.report import card_of
from restore_hub.spec import read_spec
from support import ROOT

MOST = 5_000_000  # bytes of an entry
ENTRIES = list(zoo_entries().values())
entries = pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"zoo_test_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@entries
def test_an_entry_is_consistent_and_its_file_passes_every_check(entry: Entry) -> None:
    assert entry.card() == card_of(entry.folder), "to write it anew: `python model_zoo/make.py NAME --card`"
    assert {check.name: check.result for check in verify(entry.file) if check.result != "ok"} == {}
    facts, manifest = json.loads((entry.folder / "metrics.json").read_text(encoding="utf-8")), entry.manifest()
    assert facts["name"] == entry.name
    assert facts["model"] == {"sha256": file_hash(entry.file), "bytes": entry.file.stat().st_size}
    assert facts["metrics"]["mean"] == dict(manifest.metrics)
    assert facts["metrics"]["step"] == manifest.provenance["step"]
    assert bool(facts["metrics"]["each"]) == (manifest.quantisation is None)  # a run measures its float32 weights
    for name, mean in manifest.metrics.items() if facts["metrics"]["each"] else ():
        values = [picture[name] for picture in facts["metrics"]["each"].values()]
        assert mean == pytest.approx(sum(values) / len(values))
    assert manifest.licence == "Apache-2.0"
    assert all(split["source"] for split in facts["data"].values())
    assert sum(path.stat().st_size for path in entry.folder.rglob("*") if path.is_file()) < MOST


def test_the_int8_entry_states_its_loss_against_the_other_one() -> None:
    whole, small = (zoo_entries()[name] for name in ("raw-lowlight", "raw-lowlight-int8"))
    found = small.manifest().quantisation
    assert found is not None
    assert found.psnr_loss <= found.budget
    loss = whole.manifest().metrics["psnr"] - small.manifest().metrics["psnr"]
    assert found.psnr_loss == pytest.approx(loss, abs=1e-2)  # a run measures in PyTorch
    assert f"- {found.describe()}" in small.card().splitlines()
    assert "int8:" not in whole.card()


@entries
def test_an_entrys_spec_is_that_of_its_recipe(entry: Entry) -> None:
    """The resolved spec has more keys, and all that the recipe has."""
    registry = default_registry()
    resolved = make_plan(read_spec(entry.folder / "spec.yaml"), registry).spec.model_dump()
    name = entry.name.removesuffix("-int8")
    recipe = make_plan(read_spec(ROOT / "model_zoo" / f"{name}.yaml"), registry).spec.model_dump()
    assert resolved["stages"][0]["steps"] == recipe["stages"][0]["steps"]
    assert resolved["export"] == recipe["export"]
    for split, use in recipe["data"].items():
        assert {key: resolved["data"][split][key] for key in use} == use


def test_the_recipe_trains_on_no_held_out_scene_and_copies_photographs_as_it_says(tmp_path: Path) -> None:
    make, demo = _module(ROOT / "model_zoo" / "make.py"), _module(ROOT / "pipelines" / "demo" / "photographs.py")
    assert sorted(make.HOLDOUT) == sorted(demo.SPLITS["holdout"])
    assert not set(make.TRAIN) & set(make.HOLDOUT)
    assert not [name for name in make.TRAIN if "motorcycle" in name]  # the other view of a held-out scene
    sources = read_spec(ROOT / "model_zoo" / "raw-lowlight.yaml").data["data"]
    for split, names in (("train", make.TRAIN), ("holdout", make.HOLDOUT)):
        assert not [name for name in names if Path(name).stem not in sources[split]["source"]]
    make.copy_training(tmp_path / "train")
    names = {path.stem for path in (tmp_path / "train").iterdir()}
    assert {Path(name).stem for name in make.TRAIN} <= names
    assert {"astronaut-half", "china-half"} <= names
    assert not names & {"camera-half", "coins-half"}  # grey ones
