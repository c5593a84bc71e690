"""The end of a run: its best weights as ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore_hub import __version__
from restore_hub.export import deployed_block, deployed_chain, export_onnx
from restore_hub.train.loop import Run
from restore_hub.train.weights import file_hash, load_weights


def publish(run: Run, resolved: Mapping[str, Any]) -> tuple[Path, ...]:
    """Export what the spec names, from the best weights on the holdout split (the last ones without metrics)."""
    export, folder = run.plan.spec.export, run.record.folder
    if not export.blocks and export.chain is None:
        return ()
    weights = folder.checkpoints / ("best.pt" if run.best is not None else "last.pt")
    chain = run.chain.cpu()
    for name, block in chain.blocks.items():
        load_weights(block, name, weights)
    modules = {block: deployed_block(chain, block) for block in export.blocks}
    if export.chain is not None:
        modules["chain"] = deployed_chain(chain, export.chain)
    means = dict(run.latest.means) if run.latest else {}
    provenance = {
        "restore_hub": __version__,
        "spec": resolved["spec"],
        "components": resolved["components"],
        "weights_sha256": file_hash(weights),
        "step": run.step,
    }
    files = []
    for name, module in modules.items():
        path = folder.export / f"{name}.onnx"
        export_onnx(
            module,
            path,
            name=f"{run.plan.spec.name}/{name}",
            licence=export.licence,
            metrics=means if name == "chain" else {},
            provenance=provenance,
        )
        run.record.artifact(path)
        files.append(path)
    return tuple(files)
