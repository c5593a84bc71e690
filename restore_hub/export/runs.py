"""The ONNX files of a run, or of a spec whose blocks name their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restore_hub import __version__
from restore_hub.contracts import Problem
from restore_hub.errors import ExportError, ModelFileError, reason_of
from restore_hub.export import deployed_block, deployed_chain, export_onnx
from restore_hub.export.deploy import Deployed
from restore_hub.files import file_hash
from restore_hub.model.manifest import METADATA_KEY, parse_manifest
from restore_hub.model.scan import read_onnx
from restore_hub.plan.chain import Chain, alone, build_chain
from restore_hub.plan.plan import Plan, make_plan
from restore_hub.plan.problems import make_problem
from restore_hub.plan.resolved_spec import resolve
from restore_hub.plan.run_folder import checkpoint_of, plan_of_run
from restore_hub.plan.shipped import find_spec
from restore_hub.plan.weights import load_block_weights, load_checkpoint
from restore_hub.registry import Registry
from restore_hub.spec import read_spec


@dataclass(frozen=True, slots=True)
class Exported:
    """The files, the step of their weights, and those weights' holdout means where there are metrics."""

    files: tuple[Path, ...]
    step: int
    metrics: Mapping[str, float]


def export_checkpoint(plan: Plan, chain: Chain, weights: Path, folder: Path, resolved: Mapping[str, Any]) -> Exported:
    """Export what a spec names, with the weights of a checkpoint of its run.

    Args:
        plan: the spec.
        chain: its networks; they take on the weights and move to the CPU.
        weights: a checkpoint that the run wrote.
        folder: where `<block>.onnx` and `chain.onnx` go.
        resolved: the resolved spec, for the files' provenance.

    Raises:
        DataError: the checkpoint doesn't fit. ExportError: a file can't be exported, or differs from PyTorch.
    """
    # torch's exporter mistakes training's channels_last layout for a constraint on sizes.
    chain = chain.cpu().to(memory_format=torch.contiguous_format)
    about = load_checkpoint(chain.blocks, weights)
    return _export_loaded(plan, modules_of(plan, chain), weights, folder, resolved, about)


def export_problem(plan: Plan, problem: Problem, weights: Path, folder: Path, resolved: Mapping[str, Any]) -> Exported:
    """Export the networks of a problem that a spec names, with the weights of a checkpoint of its run.

    Raises:
        DataError: the checkpoint doesn't fit. ExportError: a file can't be exported, or differs from PyTorch.
    """
    problem.blocks.cpu().to(memory_format=torch.contiguous_format)
    about = load_checkpoint(problem.blocks, weights)
    modules = {name: deployed_block(alone(name, problem.blocks[name]), name) for name in plan.spec.export.blocks}
    return _export_loaded(plan, modules, weights, folder, resolved, about)


def _export_loaded(
    plan: Plan,
    modules: Mapping[str, Deployed],
    weights: Path,
    folder: Path,
    resolved: Mapping[str, Any],
    about: Mapping[str, Any],
) -> Exported:
    origin = {"weights_sha256": file_hash(weights), "weights": weights.stem, "step": about["step"]}
    files = _export(plan, modules, folder, {**_provenance(resolved), **origin}, about["holdout"])
    return Exported(files, about["step"], about["holdout"])


def modules_of(plan: Plan, chain: Chain) -> dict[str, Deployed]:
    """Return what a spec names to export, by the stem of its file.

    Raises:
        SpecError: a tensor that no file can hold.
    """
    export, document, modules = plan.spec.export, plan.document, dict[str, Deployed]()
    for index, block in enumerate(export.blocks):
        try:
            modules[block] = deployed_block(chain, block)
        except ExportError as error:
            raise document.located(error, "export", "blocks", index) from None
    if export.chain is not None:
        try:
            modules["chain"] = deployed_chain(chain, export.chain)
        except ExportError as error:
            raise document.located(error, "export", "chain") from None
    return modules


def _provenance(resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {"restore_hub": __version__, "spec": resolved["spec"], "components": resolved["components"]}


def _export(
    plan: Plan,
    modules: Mapping[str, Deployed],
    folder: Path,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> tuple[Path, ...]:
    """Write what a spec names to export; the metrics are the chain's."""
    export = plan.spec.export
    files = []
    for name, module in modules.items():
        path = folder / f"{name}.onnx"
        export_onnx(
            module,
            path,
            name=f"{plan.spec.name}/{name}",
            licence=export.licence,
            metrics=metrics if name == "chain" else {},
            provenance=provenance,
        )
        files.append(path)
    if export.chain is not None:
        _remove_of_other_weights(int8_path(files[-1]), provenance["weights_sha256"])
    return tuple(files)


def int8_path(chain: Path) -> Path:
    """Return the path of an int8 file beside an exported chain."""
    return chain.with_name(f"{chain.stem}.int8{chain.suffix}")


def _remove_of_other_weights(file: Path, weights: Any) -> None:
    """Remove an int8 file of earlier weights, which would pass for one of the new chain."""
    try:
        manifest = parse_manifest(read_onnx(file).metadata.get(METADATA_KEY), file)
    except ModelFileError:  # no such file, or one that restore_hub didn't make
        return
    if manifest.quantisation is not None and manifest.provenance.get("weights_sha256") != weights:
        file.unlink(missing_ok=True)


def export_run(run: Path, registry: Registry, weights: str | None = None, out: Path | None = None) -> tuple[Path, ...]:
    """Export a finished or stopped run again, such as with the weights of an earlier stage.

    Args:
        run: the run folder.
        registry: what is registered.
        weights: name of a checkpoint in it (`best`, `last`, `stage-1` …); by default the spec's choice.
        out: folder for the files; by default `RUN/export`, or `RUN/export-<weights>` when `weights` is given.

    Raises:
        ExportError: not a run folder, no such checkpoint, nothing to export, or a file that fails its checks.
    """
    resolved, plan = plan_of_run(run, registry)
    checkpoint = checkpoint_of(run, weights or plan.spec.export.weights)
    _require_export(plan)
    folder = _made(out or run / ("export" if weights is None else f"export-{weights}"))
    if plan.problem is not None:
        return export_problem(plan, make_problem(plan), checkpoint, folder, resolved).files
    return export_checkpoint(plan, build_chain(plan), checkpoint, folder, resolved).files


def export_spec(spec: Path, registry: Registry, out: Path, overrides: Sequence[str] = ()) -> tuple[Path, ...]:
    """Export blocks with the weights that their spec names, such as published ones, without training.

    Args:
        spec: the spec's file, or the name of a shipped pipeline.
        registry: what is registered.
        out: folder for the files.
        overrides: `key.path=value`, as `--set` on the command line.

    Raises:
        SpecError: anything wrong in the spec, a block to export without `weights`, or weights that don't fit.
        ExportError: nothing to export, a file that fails its checks, or a folder that can't be written.
    """
    plan = make_plan(read_spec(find_spec(spec), overrides), registry)
    _require_export(plan)
    export = plan.spec.export
    chain = build_chain(plan)
    for block in sorted({*export.blocks, *plan.graph.upstream([export.chain] if export.chain else [])}):
        if plan.spec.blocks[block].weights is None and chain.blocks[block].state_dict():
            raise plan.document.error("export.block-without-weights", "blocks", block, block=block)
    load_block_weights(plan, chain)
    resolved = resolve(plan)
    names = {name: Path(block.weights).name for name, block in plan.spec.blocks.items() if block.weights is not None}
    origin = {"weights_sha256": resolved["weights_sha256"], "weights": names}
    return _export(plan, modules_of(plan, chain), _made(out), {**_provenance(resolved), **origin}, {})


def _require_export(plan: Plan) -> None:
    if not plan.spec.export.blocks and plan.spec.export.chain is None:
        raise ExportError("export.nothing-named", plan.document.path)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError("export.cannot-write", folder, cause=reason_of(error)) from None
    return folder
