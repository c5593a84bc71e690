"""Several exported files to one that gives what they give one after the other, without PyTorch's modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from restore_hub import __version__
from restore_hub.errors import ExportError
from restore_hub.export.compose import aligned, compose
from restore_hub.export.gate import make_probe, publish
from restore_hub.export.tiling import try_tiling
from restore_hub.files import file_hash
from restore_hub.model.locate import locate
from restore_hub.model.manifest import Manifest, TensorInfo, Tiling
from restore_hub.model.model import Model
from restore_hub.model.sequence import ModelSequence, as_sequence


def merge(source: str | Path, out: str | Path, *, overwrite: bool = False) -> Manifest:
    """Merge exported files into one, and check it against them at several sizes and all CFA phases.

    Metrics are left out, since none was measured of the whole.

    Args:
        source: files with a `+` in between, as `restore` takes them.
        out: the ONNX file to write; it appears only when it passed.
        overwrite: replace an existing one, though never one of the files to be merged.

    Returns:
        The manifest of the new file.

    Raises:
        ModelFileError: a file cannot be loaded, or one does not give what the next one takes. ExportError: fewer than
            two files, of operator sets that do not go together, a name that is taken, or a result that differs.
    """
    paths, out = locate(source), Path(out)
    if len(paths) < 2:
        raise ExportError(f"{source} is one file, and merging takes two or more: give them as a.onnx+b.onnx")
    _check_out(out, paths, overwrite)
    chain = as_sequence(source)
    _check_defaults(chain.models)
    output = _output(chain)
    graph = compose(aligned([onnx.load(str(path)) for path in paths], paths), chain.takes, chain.inputs, output)
    manifest = Manifest(
        name=chain.name,
        kind=chain.kind,
        inputs=chain.inputs,
        outputs=[output],
        size_multiple=math.lcm(*(model.manifest.size_multiple for model in chain.models)),
        opset=next(entry.version for entry in graph.opset_import if entry.domain == ""),
        parity=0.0,
        # What a part in int8 gives may differ on another machine by more than float32 does.
        probe=make_probe(chain.inputs, chain, max(model.manifest.probe.tolerance for model in chain.models)),
        licence=_licence(chain.models),
        provenance={"restore_hub": __version__, "merged": [_provenance(model) for model in chain.models]},
    )
    try:
        return publish(graph, manifest, out, chain, "its parts", lambda model: _tiling(chain.models, model))
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}; mend that and merge again") from error


def _check_out(out: Path, paths: Sequence[Path], overwrite: bool) -> None:
    if out.suffix.lower() != ".onnx":
        raise ExportError(f"{out}: an exported file ends in .onnx; write {out.with_suffix('.onnx').name}")
    try:
        if not out.exists():
            return
        same = [path for path in paths if path.exists() and out.samefile(path)]
    except OSError as error:  # a name too long, say
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    if same:
        raise ExportError(f"{out} is one of the files to be merged; choose another name for the result")
    if out.is_dir() or not overwrite:
        raise ExportError(f"{out} exists already; choose another name, or pass --overwrite to replace a file")


def _check_defaults(models: Sequence[Model]) -> None:
    """Refuse mosaics that mean two things when levels are left out: the whole has one default for each."""
    first, defaults = models[0], {info.name: info.default for info in models[0].manifest.inputs}
    for model in models[1:]:
        for info in model.manifest.inputs if model.manifest.kind.startswith("raw-") else []:
            if info.default is not None and defaults.get(info.name) != info.default:
                raise ExportError(
                    f"{model.path} takes {info.name!r} to be {info.default} where it is left out, and {first.path} "
                    f"has {defaults.get(info.name)}; export both with one version of restore_hub"
                )


def _output(chain: ModelSequence) -> TensorInfo:
    """Return what the last file gives, under a name that no input has."""
    output, taken = chain.output, {info.name for info in chain.inputs}
    while output.name in taken:
        output = output.model_copy(update={"name": f"{output.name}_out"})
    return output


def _licence(models: Sequence[Model]) -> str:
    """Return the licence of all, or each with its file where they differ."""
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
    """Return how the merged file may be cut: margins of exact parts add up; what is seen decides."""
    parts = [model.manifest.tiling for model in models]
    if any(part.kind == "none" for part in parts):
        return Tiling(kind="none")
    exact = all(part.kind == "exact" for part in parts)
    align = math.lcm(*(part.align for part in parts))
    margin = (sum if exact else max)(part.margin for part in parts)
    return try_tiling(merged, -(-margin // align) * align, align, bounded=exact)
