"""Merges exported files that run one after the other into one file; it needs onnx and no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from restore_hub import __version__
from restore_hub.errors import ExportError, reason_of
from restore_hub.export.compose import compose, in_one_opset
from restore_hub.export.gate import make_probe, publish
from restore_hub.export.tile_check import try_tiling
from restore_hub.files import file_hash
from restore_hub.model.locate import locate
from restore_hub.model.manifest import Manifest, TensorInfo, Tiling
from restore_hub.model.model import Model
from restore_hub.model.sequence import ModelSequence, as_sequence


def merge(source: str | Path, out: str | Path, *, overwrite: bool = False) -> Manifest:
    """Merge exported files into one, and check it against them at several sizes and all CFA phases.

    The new file has no metrics, since none was measured on it.

    Args:
        source: files joined by `+`, as `restore` takes them.
        out: the ONNX file to write; it appears only when it passed.
        overwrite: replace an existing one, but never one of the files to merge.

    Returns:
        The manifest of the new file.

    Raises:
        ModelFileError: a file can't be loaded, or doesn't give what the next one takes. ExportError: fewer than two
            files, operator sets that don't go together, a name that is taken, or a result that differs.
    """
    paths, out = locate(source), Path(out)
    if len(paths) < 2:
        raise ExportError("export.nothing-to-merge", source)
    _check_out(out, paths, overwrite)
    sequence = as_sequence(source)
    _check_defaults(sequence)
    outputs = _outputs(sequence)
    graphs = in_one_opset([onnx.load(str(path)) for path in paths], paths)
    graph = compose(graphs, sequence.takes, sequence.inputs, outputs, sequence.shared)

    def reference(feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        return dict(zip((output.name for output in outputs), sequence.outputs(feeds).values(), strict=True))

    manifest = Manifest(
        name=sequence.name,
        kind=sequence.kind,
        inputs=sequence.inputs,
        outputs=outputs,
        size_multiple=math.lcm(*(model.manifest.size_multiple for model in sequence.models)),
        opset=next(entry.version for entry in graph.opset_import if entry.domain == ""),
        parity=0.0,
        # On another machine, int8 may differ by more than float32 does.
        probe=make_probe(sequence.inputs, reference, max(model.manifest.probe.tolerance for model in sequence.models)),
        licence=_licence(sequence.models),
        provenance={"restore_hub": __version__, "merged": [_provenance(model) for model in sequence.models]},
    )
    return publish(graph, manifest, out, reference, "its parts", lambda model: _tiling(sequence.models, model))


def _check_out(out: Path, paths: Sequence[Path], overwrite: bool) -> None:
    if out.suffix.lower() != ".onnx":
        raise ExportError("export.wrong-suffix", out, suffix=".onnx")
    try:
        if not out.exists():
            return
        same = [path for path in paths if path.exists() and out.samefile(path)]
    except OSError as error:  # a name too long, say
        raise ExportError("export.cannot-write", out, cause=reason_of(error)) from error
    if same:
        raise ExportError("export.is-a-source", out)
    if out.is_dir() or not overwrite:
        raise ExportError("export.exists", out)


def _check_defaults(sequence: ModelSequence) -> None:
    """Refuse files with different defaults for an input that they share: the whole has one default for each."""
    first: dict[str, tuple[Path, TensorInfo]] = {}
    for model, shared in zip(sequence.models, sequence.shared, strict=True):
        for info in model.manifest.inputs:
            path, before = (
                first.setdefault(info.name, (model.path, info)) if info.name in shared else (model.path, info)
            )
            if before.default != info.default:
                raise ExportError(
                    "export.defaults-differ",
                    model.path,
                    input=info.name,
                    default="required" if info.default is None else info.default,
                    other=path,
                    expected="required" if before.default is None else before.default,
                )


def _outputs(sequence: ModelSequence) -> list[TensorInfo]:
    """Return the last file's outputs, under names that no input has."""
    taken, found = {info.name for info in sequence.inputs}, list[TensorInfo]()
    for output in sequence.models[-1].manifest.outputs:
        name = output.name
        while name in taken:
            name = f"{name}_out"
        taken.add(name)
        found.append(output.model_copy(update={"name": name}))
    return found


def _licence(models: Sequence[Model]) -> str:
    """Return the one licence of all files, or each licence with its file's name."""
    stated = {model.manifest.licence for model in models}
    if len(stated) == 1:
        return stated.pop()
    return "; ".join(f"{model.manifest.licence} ({model.manifest.name})" for model in models)


def _provenance(model: Model) -> dict[str, Any]:
    manifest = model.manifest
    facts = {"name": manifest.name, "sha256": file_hash(model.path), "kind": manifest.kind, "licence": manifest.licence}
    int8 = {} if manifest.quantisation is None else {"quantisation": manifest.quantisation.model_dump(mode="json")}
    return {**facts, **int8, "provenance": dict(manifest.provenance)}


def _tiling(models: Sequence[Model], merged: Model) -> Tiling:
    """Return how the merged file may be cut: margins of exact parts add up, and a trial decides."""
    parts = [model.manifest.tiling for model in models]
    if any(part.kind == "none" for part in parts):
        return Tiling(kind="none")
    exact = all(part.kind == "exact" for part in parts)
    align = math.lcm(*(part.align for part in parts))
    margin = (sum if exact else max)(part.margin for part in parts)
    return try_tiling(merged, -(-margin // align) * align, align, bounded=exact)
