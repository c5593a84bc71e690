"""`restore-hub inspect FILE.onnx`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON.")
def command(model: Path, as_json: bool) -> None:
    """Show the manifest of MODEL and run its test vector."""
    from restore_hub.runtime import load

    loaded = load(model)
    manifest = loaded.manifest
    if as_json:
        click.echo(manifest.model_dump_json(indent=2, exclude_none=True))
        return
    click.echo(f"{manifest.name}  ({manifest.kind}, opset {manifest.opset}, licence {manifest.licence})")
    for title, tensors in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        click.echo(title)
        for tensor in tensors:
            default = f" = {tensor.default}" if tensor.default is not None else ""
            shape = " x ".join(map(str, tensor.shape))
            click.echo(f"  {tensor.name:<10} {tensor.dtype} {shape}{default}  {tensor.meaning or tensor.space}")
    for name, value in manifest.metrics.items():
        click.echo(f"holdout {name} {value:.4g}")
    click.echo(f"differs from PyTorch by at most {manifest.parity:.2g}")
    click.echo(f"test vector: differs by {loaded.verify():.2g} (at most {manifest.probe.tolerance:g}): ok")
