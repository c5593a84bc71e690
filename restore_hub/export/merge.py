"""Merges exported files that run one after the other into one file; it needs onnx and no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

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
    _check_defaults(sequence.models)
    output = _output(sequence)
    graph = compose(
        in_one_opset([onnx.load(str(path)) for path in paths], paths), sequence.takes, sequence.inputs, output
    )
    manifest = Manifest(
        name=sequence.name,
        kind=sequence.kind,
        inputs=sequence.inputs,
        outputs=[output],
        size_multiple=math.lcm(*(model.manifest.size_multiple for model in sequence.models)),
        opset=next(entry.version for entry in graph.opset_import if entry.domain == ""),
        parity=0.0,
        # On another machine, int8 may differ by more than float32 does.
        probe=make_probe(sequence.inputs, sequence, max(model.manifest.probe.tolerance for model in sequence.models)),
        licence=_licence(sequence.models),
        provenance={"restore_hub": __version__, "merged": [_provenance(model) for model in sequence.models]},
    )
    return publish(graph, manifest, out, sequence, "its parts", lambda model: _tiling(sequence.models, model))


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


def _check_defaults(models: Sequence[Model]) -> None:
    """Refuse files with different defaults for a mosaic's levels: the whole has one default for each input."""
    first, defaults = models[0], {info.name: info.default for info in models[0].manifest.inputs}
    for model in models[1:]:
        for info in model.manifest.inputs if model.manifest.kind.startswith("raw-") else []:
            if info.default is not None and defaults.get(info.name) != info.default:
                raise ExportError(
                    "export.defaults-differ",
                    model.path,
                    input=info.name,
                    default=info.default,
                    other=first.path,
                    expected=defaults.get(info.name),
                )


def _output(sequence: ModelSequence) -> TensorInfo:
    """Return the last file's output, under a name that no input has."""
    output, taken = sequence.output, {info.name for info in sequence.inputs}
    while output.name in taken:
        output = output.model_copy(update={"name": f"{output.name}_out"})
    return output


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
