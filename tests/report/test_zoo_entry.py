"""Zoo entries made from a real run: the card has the run's figures, and an entry appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from restore_hub.errors import ModelFileError
from restore_hub.model.manifest import TensorInfo
from restore_hub.model.sequence import load
from restore_hub.photo.pictures import read_picture
from restore_hub.plan import make_plan
from restore_hub.plugins import default_registry
from restore_hub.report import card_of, write_entry, zoo_entry
from restore_hub.report.model_card import model_card
from restore_hub.spec import read_spec
from restore_hub.train.run import Result
from support import refused
from support.commands import output

pytestmark = pytest.mark.xdist_group("finished run")  # one worker makes what they share


@pytest.fixture
def made(finished: Result, tmp_path: Path) -> Path:
    """Return an entry of the small run, made on the command line."""
    told = output("zoo", "add", finished.folder, tmp_path / "dark")
    assert told == f"wrote {tmp_path / 'dark' / 'card.md'}\n"
    return tmp_path / "dark"


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return facts


@pytest.fixture
def run(finished: Result, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def test_an_entry_holds_the_file_and_its_origin(made: Path, finished: Result) -> None:
    assert sorted(path.name for path in made.iterdir()) == [
        "card.md", "metrics.json", "model.onnx", "pictures", "spec.yaml",
    ]  # fmt: skip
    chain = finished.folder / "export" / "chain.onnx"
    assert (made / "model.onnx").read_bytes() == chain.read_bytes()
    assert _facts(made)["model"]["sha256"] == hashlib.sha256(chain.read_bytes()).hexdigest()
    resolved = json.loads((finished.folder / "spec.json").read_text())["spec"]
    assert YAML(typ="safe").load(made / "spec.yaml") == resolved
    make_plan(read_spec(made / "spec.yaml"), default_registry())
    (picture,) = (made / "pictures").iterdir()
    assert read_picture(picture).pixels.shape[1] > 3 * 64  # three pictures, side by side


def test_the_figures_of_the_card_come_from_the_file_and_its_metrics(made: Path, finished: Result) -> None:
    card, facts = (made / "card.md").read_text(encoding="utf-8"), _facts(made)
    manifest = load(made / "model.onnx").manifest
    assert card == card_of(made)
    assert facts["metrics"]["mean"] == dict(manifest.metrics) == dict(finished.metrics)
    assert facts["metrics"]["pictures"] == len(facts["metrics"]["each"]) == 1
    assert f"| **all 1** | {finished.metrics['psnr']:.4g} | {finished.metrics['ssim']:.4g} |" in card
    assert re.findall(r"\| (\d) \| (std/\w+) \| (\d+) \|", card) == [("1", "std/joint", "3"), ("2", "std/ibgl", "2")]
    assert f"{manifest.provenance['parameters']:,} parameters" in card
    assert f"`{facts['model']['sha256']}`" in card
    assert manifest.tiling.describe() in card
    assert "restore-hub restore model.onnx photo.dng -o out.png" in card


def test_the_parameters_are_the_chain_s(finished: Result) -> None:
    import torch

    blocks = torch.load(finished.folder / "checkpoints" / "last.pt")["blocks"]
    count = sum(tensor.numel() for state in blocks.values() for tensor in state.values())
    assert load(finished.folder / "export" / "chain.onnx").manifest.provenance["parameters"] == count


def test_the_authors_words_come_from_the_spec(run: Path, tmp_path: Path) -> None:
    resolved = json.loads((run / "spec.json").read_text())
    resolved["spec"]["export"].update(about="For nights.", limits="Not for days.")
    resolved["spec"]["data"]["train"]["source"] = "Mine, CC0."
    (run / "spec.json").write_text(json.dumps(resolved))
    with (run / "holdout.jsonl").open("a") as file:
        file.write(json.dumps({"step": 99, "pictures": {}}) + "\n")  # pictures of other weights are left out
    write_entry(run, tmp_path / "e")
    assert not (tmp_path / "e" / "pictures").exists()
    card = (tmp_path / "e" / "card.md").read_text(encoding="utf-8")
    assert "gives a finished picture (sRGB). For nights." in card
    assert "## Limits\n\nNot for days." in card
    assert "- train: Mine, CC0." in card
    assert "## Pictures" not in card
    assert "- holdout: no source or licence is stated." in card


def test_a_card_names_the_numbers_that_must_be_given(made: Path) -> None:
    manifest = load(made / "model.onnx").manifest
    sigma = TensorInfo(name="sigma", shape=[1], low=0, high=0.3)
    numbers = [sigma, sigma.model_copy(update={"name": "offset", "default": [0.25]})]
    card = model_card(_facts(made), manifest.model_copy(update={"inputs": [*manifest.inputs, *numbers]}), False, [])
    assert "restore-hub restore model.onnx photo.dng -o out.png --input sigma=NUMBER\n" in card
    assert "| input | `offset` | float32 | 1 | 0.25 | map, 0 to 0.3 |" in card


def test_a_card_in_the_zoo_uses_its_name(finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo_entry, "zoo_folder", lambda: tmp_path)
    card = write_entry(finished.folder, tmp_path / "dark").read_text(encoding="utf-8")
    assert "restore-hub restore zoo:dark photo.dng -o out.png" in card


def test_metrics_of_other_weights_are_refused(run: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (run / "holdout.jsonl").read_text().splitlines()]
    next(iter(lines[-1]["pictures"].values()))["psnr"] += 1.0
    (run / "holdout.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with refused("report.metrics-differ", run, metric="psnr", file="chain.onnx"):
        write_entry(run, tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_one_block_of_several_is_named(finished: Result, tmp_path: Path) -> None:
    write_entry(finished.folder, tmp_path / "e", model="enhance.onnx")
    card = (tmp_path / "e" / "card.md").read_text()
    assert "restore-hub restore model.onnx photo.png -o out.png" in card
    assert "Nothing was measured." in card
    with refused("report.no-such-file", name="other.onnx", known="chain.onnx, enhance.onnx, generate.onnx"):
        write_entry(finished.folder, tmp_path / "f", model="other.onnx")


def test_only_an_entry_is_replaced_and_only_when_asked(made: Path, finished: Result, tmp_path: Path) -> None:
    with refused("report.entry-exists", made):
        write_entry(finished.folder, made)
    (made / "pictures" / "older.jpg").touch()
    write_entry(finished.folder, made, overwrite=True)
    assert "older.jpg" not in [path.name for path in (made / "pictures").iterdir()]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with refused("report.not-an-entry", tmp_path / "mine"):
        write_entry(finished.folder, tmp_path / "mine", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dark", "mine"]


def test_an_entry_that_cannot_be_written_stays(made: Path, finished: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with refused("report.cannot-write", made, cause="No space left on device"):
        write_entry(finished.folder, made, overwrite=True)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert list(made.parent.iterdir()) == [made]


def test_an_entry_that_a_killed_call_hid(made: Path, finished: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = (made / "card.md").read_bytes(), zoo_entry.os.replace

    class Killed(BaseException):
        pass

    def killed(source: Path, target: Path) -> None:
        if target == made:
            raise Killed
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(zoo_entry.os, "replace", killed)
        patched.setattr(zoo_entry.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            write_entry(finished.folder, made, overwrite=True)
    assert not made.exists()
    with refused("report.entry-exists", made):
        write_entry(finished.folder, made)
    assert (made / "card.md").read_bytes() == before
    assert [path.suffix for path in made.parent.iterdir() if path != made] == [".new"]


def test_a_damaged_file_makes_no_entry(run: Path, tmp_path: Path) -> None:
    chain = run / "export" / "chain.onnx"
    chain.write_bytes(chain.read_bytes()[:-2000])
    with pytest.raises(ModelFileError):
        write_entry(run, tmp_path / "e")
    assert not (tmp_path / "e").exists()
