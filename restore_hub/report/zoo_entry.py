"""Makes an entry of the model zoo from a run's folder: the file, its card, metrics, spec and pictures."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore_hub.errors import DataError, reason_of
from restore_hub.files import file_hash
from restore_hub.model.model import Model, load
from restore_hub.model.zoo import CARD, MODEL, Entry, aside, hidden_entries, zoo_folder
from restore_hub.report.fact_sections import spec_text
from restore_hub.report.model_card import model_card
from restore_hub.report.pictures import grouped, strip
from restore_hub.report.run_facts import RunFacts, read_run
from restore_hub.report.scores import RULE, recipes

METRICS, SPEC, PICTURES = "metrics.json", "spec.yaml", "pictures"


def write_entry(run: Path, folder: Path, *, model: str | None = None, overwrite: bool = False) -> Path:
    """Write `folder` whole or not at all: `model.onnx`, `card.md`, `metrics.json`, `spec.yaml` and `pictures/`.

    The card's figures come from the exported file and the run's folder. Its author's words come from the spec
    (`export.about`, `export.limits`, `source` of each split).

    Args:
        run: folder of a run that exported something.
        folder: the entry; the model gets its name.
        model: name of a file in `RUN/export`; by default `chain.onnx`, or the only one.
        overwrite: replace an older entry; any other folder is never replaced.

    Returns:
        path of the card.

    Raises:
        DataError: not a run, no such exported file, metrics that aren't those of the file, a folder in the way, or one
            that can't be written. ModelFileError: the file is damaged.
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
        CARD: model_card(facts, loaded.manifest, _in_zoo(folder), sorted(pictures)).encode(),
    }
    _write_folder(folder, files)
    return folder / CARD


def card_of(folder: Path) -> str:
    """Return an entry's card, made anew from its file, `metrics.json` and the names of its pictures.

    Raises:
        DataError: `metrics.json` is missing or damaged. ModelFileError: the file is.
    """
    try:
        facts = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("report.no-metrics", folder / METRICS) from error
    pictures = sorted(path.relative_to(folder).as_posix() for path in (folder / PICTURES).glob("*.jpg"))
    return model_card(facts, Entry(folder.name, folder).manifest(), _in_zoo(folder), pictures)


def entry_facts(run: RunFacts, model: Model, name: str) -> dict[str, Any]:
    """Return what `metrics.json` holds: all figures of the card that aren't in the file's manifest.

    Raises:
        DataError: the run measured other metrics than the file states.
    """
    spec, environment = run.spec, run.environment
    data = {
        split: {
            "dataset": use["dataset"],
            "samples": (run.data.get(split) or {}).get("samples"),
            "left_out": sum(line.get("split") == split for line in run.left_out),
            "source": use.get("source"),
            "options": {key: value for key, value in use.items() if _worth_telling(key, value)},
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
    """Return the step of the file's weights, the number of pictures, the means, and each picture's values."""
    step, means = model.manifest.provenance.get("step"), dict(model.manifest.metrics)
    if model.manifest.quantisation is not None:  # the run's values are those of the float32 weights
        return {"step": step, "pictures": model.manifest.quantisation.measured, "mean": means, "each": {}}
    each = run.holdout.get(step, {}) if isinstance(step, int) else {}
    for name, mean in means.items():
        values = [float(picture[name]) for picture in each.values() if name in picture]
        found = sum(values) / len(values) if values else mean
        if not abs(found - mean) <= 1e-6 * max(1.0, abs(mean)):
            raise DataError(
                "report.metrics-differ",
                run.path,
                step=step,
                metric=name,
                mean=found,
                file=model.path.name,
                stated=mean,
            )
    return {"step": step, "pictures": len(each) or None, "mean": means, "each": each}


def _worth_telling(option: str, value: Any) -> bool:
    """Whether a split's option means something to others; texts are names of folders."""
    return option not in ("strict", "cache_mb") and isinstance(value, int | float | list | Mapping)


def _in_zoo(folder: Path) -> bool:
    return folder.resolve().parent == zoo_folder().resolve()


def _pictures(run: RunFacts, model: Model) -> dict[str, Mapping[str, Path]]:
    """Return the run's pictures, if they were made with the file's weights."""
    last = model.manifest.provenance.get("step") == max(run.holdout, default=None)
    if not last or model.manifest.quantisation is not None:
        return {}
    return {name: group for name, group in grouped(run.path / "pictures").items() if len(group) > 1}


def _exported(run: Path, name: str | None) -> Path:
    files = sorted((run / "export").glob("*.onnx"))
    wanted = [file for file in files if file.name == (name or "chain.onnx")] or (files if name is None else [])
    if len(wanted) != 1:
        known = ", ".join(file.name for file in files) or "nothing"
        raise DataError("report.no-such-file", run / "export", name=name or "chain.onnx", known=known)
    return wanted[0]


def _bring_back(folder: Path) -> None:
    """Put back an entry that a killed call had moved aside, so that this call refuses or replaces it."""
    hidden = hidden_entries(folder.parent).get(folder.name)
    if hidden is not None:
        try:
            os.replace(hidden, folder)
        except OSError as error:
            raise DataError("report.cannot-write", folder, cause=reason_of(error)) from error


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / METRICS).is_file()):
        raise DataError("report.not-an-entry", folder)
    if any(folder.iterdir()) and not overwrite:
        raise DataError("report.entry-exists", folder)


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files into a new folder beside the old one, then swap the two."""
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
        raise DataError("report.cannot-write", folder, cause=reason_of(error)) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
