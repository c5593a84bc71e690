"""`restore-hub inspect FILE`: an exported model, several in sequence, or a RAW photograph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore_hub.cli.native import quiet_libraw
from restore_hub.cli.options import FilePath, device_option, reader_option
from restore_hub.cli.units import printable, size

if TYPE_CHECKING:
    from restore_hub.model.manifest import TensorInfo
    from restore_hub.model.model import Model


@click.command()
@click.argument("file", type=FilePath())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@device_option
@reader_option
@quiet_libraw()
def command(file: Path, as_json: bool, device: str) -> None:
    """Show what FILE is: the manifest of an exported model, with its test vector run, or the facts of a RAW file.

    zoo:NAME is a model of the zoo. For models with a + in between, it shows each one and whether they fit together; the
    exit code is 1 if they don't.
    """
    if file.suffix.lower() == ".onnx" or "zoo:" in str(file):
        _inspect_models(file, as_json, device)
    else:
        _inspect_raw(file, as_json)


def _inspect_models(source: Path, as_json: bool, device: str) -> None:
    from restore_hub.model.locate import locate
    from restore_hub.model.model import load
    from restore_hub.model.sequence import misfit

    models = [load(path, device=device) for path in locate(source)]
    wrong = misfit(models)
    if as_json:
        shown = [model.manifest.model_dump(mode="json", exclude_none=True) for model in models]
        click.echo(json.dumps(shown[0] if len(shown) == 1 else {"fit": not wrong, "models": shown}, indent=2))
    else:
        for model in models:
            _show(model)
        if len(models) > 1:
            click.echo(printable(wrong or f"fit: {source} runs in sequence"))
    if wrong:
        click.get_current_context().exit(1)


def _show(loaded: Model) -> None:
    manifest = loaded.manifest
    about = f"{manifest.name}  ({manifest.kind}, opset {manifest.opset}, licence {manifest.licence})"
    click.echo(printable(about))
    width = max(10, *(len(tensor.name) for tensor in (*manifest.inputs, *manifest.outputs)))
    for title, tensors in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        click.echo(title)
        for tensor in tensors:
            default = f" = {tensor.default}" if tensor.default is not None else ""
            meaning = tensor.meaning or _range(tensor) or tensor.space
            line = f"  {tensor.name:<{width}} {tensor.dtype} {tensor.sizes}{default}  {meaning}"
            click.echo(printable(line))
    for name, value in manifest.metrics.items():
        click.echo(f"holdout {printable(name)} {value:.4g}")
    for line in manifest.int8_notes():
        click.echo(printable(line))
    click.echo(manifest.tiling.describe())
    if manifest.memory is not None:
        memory = manifest.memory
        click.echo(f"memory on the CPU: {size(memory.base)} and {memory.per_pixel:.0f} bytes a pixel")
    origin = "its parts" if "merged" in manifest.provenance else "PyTorch"
    click.echo(f"differs from {origin} by at most {manifest.parity:.2g}")
    click.echo(f"test vector: differs by {loaded.verify():.2g} (at most {manifest.probe.tolerance:g}): ok")


def _range(tensor: TensorInfo) -> str:
    """Return the range of a number that states one."""
    stated = tensor.is_number and tensor.low is not None and tensor.high is not None
    return f"a number, {tensor.low:g} to {tensor.high:g}" if stated else ""


def _inspect_raw(file: Path, as_json: bool) -> None:
    facts = _raw_facts(file)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"{file.name}  (RAW, {facts['camera'] or 'camera not stated'})")
    height, width = facts["size"]
    (rows, columns), (top, left) = facts["sensor"], facts["origin"]
    border = f" of {columns} x {rows}, from row {top} and column {left}" if [rows, columns] != [height, width] else ""
    lines = {
        "size": f"{width} x {height}{border}",
        "pattern": facts["pattern"],
        **{name: _four(facts[name]) for name in ("black", "white")},
        "white balance": f"{_four(facts['balance'])} ({facts['balance_source']})",
        "exposure": f"{facts['exposure_time']:.4g} s" if facts["exposure_time"] else "not stated",
        "gain": f"{facts['gain']:.4g}, {facts['gain_rule']}",
        "orientation": facts["orientation"],
        "clipped": f"{facts['clipped']:.2%} of the sites",
        "hot pixels": facts["hot_pixels"],
    }
    if facts["noise"]:
        lines["stated noise"] = ", ".join(f"{shot:.3g} x + {read:.3g}" for shot, read in facts["noise"])
    for name, value in lines.items():
        click.echo(f"  {name:<14} {value}")
    for note in facts["notes"]:
        click.echo(f"note: {note}")


def _raw_facts(file: Path) -> dict[str, Any]:
    """Return the facts of a RAW file as plain values; lists of four are in the order R, Gr, Gb, B."""
    from restore_hub.photo.raw.hot_pixels import repair_hot_pixels
    from restore_hub.photo.raw.mosaic import PHASES, exposure_gain
    from restore_hub.photo.raw.reader import read_raw

    raw = read_raw(file)
    gain, rule = exposure_gain(raw)
    return {
        "camera": raw.camera,
        "size": list(raw.mosaic.shape),
        "sensor": list(raw.sensor),
        "origin": list(raw.origin),
        "pattern": next(name for name, phase in PHASES.items() if phase == raw.phase),
        **{name: getattr(raw, name).tolist() for name in ("black", "white", "balance")},
        "balance_source": raw.balance_source,
        "exposure_time": raw.exposure_time,
        "gain": gain,
        "gain_rule": rule,
        "orientation": raw.orientation,
        "clipped": raw.clipped(),
        "hot_pixels": repair_hot_pixels(raw).hot_pixels,
        "noise": None if raw.noise is None else raw.noise.tolist(),
        "notes": list(raw.notes),
    }


def _four(values: list[float]) -> str:
    """Return the four numbers, or one if all are equal."""
    return " ".join(f"{value:.5g}" for value in (values if len(set(values)) > 1 else values[:1]))
