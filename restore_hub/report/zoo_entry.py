"""An entry of the model zoo from the folder of a run: the file, its card, metrics, spec and pictures."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore_hub.errors import DataError
from restore_hub.files import file_hash
from restore_hub.model.model import Model, load
from restore_hub.model.zoo import CARD, MODEL, Entry, aside, hidden_entries, zoo_folder
from restore_hub.report.card import card
from restore_hub.report.fact_sections import spec_text
from restore_hub.report.pictures import grouped, strip
from restore_hub.report.reading import RunFacts, read_run
from restore_hub.report.scores import RULE, recipes

METRICS, SPEC, PICTURES = "metrics.json", "spec.yaml", "pictures"


def write_entry(run: Path, folder: Path, *, model: str | None = None, overwrite: bool = False) -> Path:
    """Write `folder` whole or not at all: `model.onnx`, `card.md`, `metrics.json`, `spec.yaml` and `pictures/`.

    Every figure of the card is read from the exported file and the run's folder; its author's words are those of the
    spec (`export.about`, `export.limits`, `source` of each split).

    Args:
        run: folder of a run that exported something.
        folder: the entry; its name is the model's.
        model: name of a file in `RUN/export`; by default `chain.onnx`, or the only one.
        overwrite: replace an older entry; another folder is never replaced.

    Returns:
        path of the card.

    Raises:
        DataError: no run, nothing or several things exported, metrics that are not those of the file, a folder in the
            way or one that cannot be written. ModelFileError: the file is damaged.
    """
    found = read_run(run)
    loaded = load(_exported(run, model))
    loaded.verify()
    _bring_back(folder.resolve())
    _check_free(folder, overwrite)
    groups = _pictures(found, loaded)
    facts = entry_facts(found, loaded, folder.resolve().name)
    pictures = {f"{PICTURES}/{name}.jpg": strip(group) for name, group in groups.items()}
    files = {
        MODEL: loaded.path.read_bytes(),
        METRICS: (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode(),
        SPEC: spec_text(found).encode(),
        **pictures,
        CARD: card(facts, loaded.manifest, _in_zoo(folder), sorted(pictures)).encode(),
    }
    _write_folder(folder, files)
    return folder / CARD


def card_of(folder: Path) -> str:
    """Return the card of an entry anew, from its file, `metrics.json` and the names of its pictures.

    Raises:
        DataError: `metrics.json` is missing or damaged. ModelFileError: the file is.
    """
    try:
        facts = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / METRICS} cannot be read; make the entry again") from error
    pictures = sorted(path.relative_to(folder).as_posix() for path in (folder / PICTURES).glob("*.jpg"))
    return card(facts, Entry(folder.name, folder).manifest(), _in_zoo(folder), pictures)


def entry_facts(run: RunFacts, model: Model, name: str) -> dict[str, Any]:
    """Return what `metrics.json` holds: all figures of the card that the file's manifest has not.

    Raises:
        DataError: the run measured something else than the file says of itself.
    """
    spec, environment = run.spec, run.environment
    data = {
        split: {
            "dataset": use["dataset"],
            "samples": (run.data.get(split) or {}).get("samples"),
            "left_out": sum(line.get("split") == split for line in run.left_out),
            "source": use.get("source"),
            "options": {key: value for key, value in use.items() if _told(key, value)},
        }
        for split, use in dict(spec.get("data") or {}).items()
    }
    stages = [
        {"solver": s.solver, "steps": s.steps, "seconds": s.seconds, "gradients": s.evaluations} for s in run.stages
    ]
    weights = str(model.manifest.provenance.get("weights", "last"))
    return {
        "name": name,
        "model": {"sha256": file_hash(model.path), "bytes": model.path.stat().st_size},
        "metrics": {
            **_measured(run, model),
            "rule": RULE,
            "recipes": recipes(run),
            "chosen_by_holdout": weights == "best",
        },
        "data": data,
        "training": {"stages": stages, "precision": spec.get("precision"), "seed": spec.get("seed")},
        "author": {key: (spec.get("export") or {}).get(key) for key in ("about", "limits")},
        "made": {key: environment.get(key) for key in ("command", "revision", "python", "threads", "packages")},
    }


def _measured(run: RunFacts, model: Model) -> dict[str, Any]:
    """Return step, number of pictures, means and each picture's values, of the weights that the file has."""
    step, means = model.manifest.provenance.get("step"), dict(model.manifest.metrics)
    if model.manifest.quantisation is not None:  # the run's pictures are those of the float32 weights
        return {"step": step, "pictures": model.manifest.quantisation.measured, "mean": means, "each": {}}
    each = run.holdout.get(step, {}) if isinstance(step, int) else {}
    for name, mean in means.items():
        values = [float(picture[name]) for picture in each.values() if name in picture]
        if values and not abs(sum(values) / len(values) - mean) <= 1e-6 * max(1.0, abs(mean)):
            raise DataError(
                f"{run.path}: the pictures of step {step} have a mean {name} of {sum(values) / len(values):.6g}, and "
                f"{model.path.name} says {mean:.6g}; export it again"
            )
    return {"step": step, "pictures": len(each) or None, "mean": means, "each": each}


def _told(option: str, value: Any) -> bool:
    """Say whether an option of a split is of use to others; texts are names of folders."""
    return option not in ("strict", "cache_mb") and isinstance(value, int | float | list | Mapping)


def _in_zoo(folder: Path) -> bool:
    return folder.resolve().parent == zoo_folder().resolve()


def _pictures(run: RunFacts, model: Model) -> dict[str, Mapping[str, Path]]:
    """Return the run's pictures, where they are of the weights that the file has."""
    last = model.manifest.provenance.get("step") == max(run.holdout, default=None)
    if not last or model.manifest.quantisation is not None:
        return {}
    return {name: group for name, group in grouped(run.path / "pictures").items() if len(group) > 1}


def _exported(run: Path, name: str | None) -> Path:
    files = sorted((run / "export").glob("*.onnx"))
    wanted = [file for file in files if file.name == (name or "chain.onnx")] or (files if name is None else [])
    if len(wanted) != 1:
        has = ", ".join(file.name for file in files) or "nothing"
        which = f"no {name}" if name else "no chain.onnx"
        raise DataError(f"{run / 'export'} has {which}, it has {has}; name one of them with --model, or export the run")
    return wanted[0]


def _bring_back(folder: Path) -> None:
    """Put an entry in its place again that a killed call had taken away, so that this call refuses or replaces it."""
    hidden = hidden_entries(folder.parent).get(folder.name)
    if hidden is not None:
        try:
            os.replace(hidden, folder)
        except OSError as error:
            raise DataError(f"{hidden} cannot be renamed to {folder}: {error.strerror or error}") from error


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / METRICS).is_file()):
        raise DataError(f"{folder} exists and is no entry of a zoo; give another folder")
    if any(folder.iterdir()) and not overwrite:
        raise DataError(f"{folder} is an entry already; give --overwrite to replace it, or another folder")


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files into a new folder beside, then put it in the place of the old one."""
    folder = folder.resolve()
    new, old = folder.with_name(f".{secrets.token_hex(8)}.new"), aside(folder)
    try:
        for name, content in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(content)
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {error.strerror or error}; mend that and call it again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
