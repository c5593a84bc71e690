"""The card of a trained file, in Markdown: what it does, how to run it, how good it is, and how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from restore_hub.model.manifest import Manifest, TensorInfo
from restore_hub.report.scale import number

_DOES = {
    "raw-to-rgb": "Takes a RAW photograph (Bayer) and gives a finished picture (sRGB).",
    "raw-to-raw": "Takes a RAW photograph (Bayer) and gives its mosaic with less noise.",
    "rgb-to-rgb": "Takes a picture (sRGB) and gives a picture (sRGB).",
    "tensors": "Takes tensors and gives tensors; run it with onnxruntime or `restore_hub.load`.",
}
_CALL = {
    "raw-to-rgb": "photo.dng -o out.png",
    "raw-to-raw": "photo.dng -o out.dng",
    "rgb-to-rgb": "photo.png -o out.png",
}
_LARGE = 24  # megapixels of a large photograph
_NO_WIN = (
    "These figures don't show that the model beats another: that takes paired differences on 8 pictures or more, "
    "beyond two standard errors."
)
_OTHER = (
    "It was trained and measured on the data above only: how it does with other sensors, light or noise is unknown."
)


def model_card(facts: Mapping[str, Any], manifest: Manifest, in_zoo: bool, pictures: Sequence[str]) -> str:
    """Return the card.

    Args:
        facts: what `metrics.json` holds, see `restore_hub.report.zoo_entry.entry_facts`.
        manifest: of the file.
        in_zoo: whether `zoo:NAME` finds the entry.
        pictures: names of the files of pictures.
    """
    author = facts["author"]
    parts = [
        f"# {facts['name']}",
        _DOES[manifest.kind] + (f" {author['about'].strip()}" if author["about"] else ""),
        "All figures here come from the exported file and the folder of its run.",
        *_running(facts, manifest, in_zoo),
        *_size(facts, manifest),
        *_measured(facts["metrics"]),
        *_shown(pictures),
        *_training(facts),
        "## Limits",
        *([author["limits"].strip()] if author["limits"] else []),
        _OTHER,
        *_made(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _running(facts: Mapping[str, Any], manifest: Manifest, in_zoo: bool) -> Iterator[str]:
    source = f"zoo:{facts['name']}" if in_zoo else "model.onnx"
    yield "## Run it"
    needed = "".join(f" --input {tensor.name}=NUMBER" for tensor in manifest.numbers if tensor.default is None)
    lines = [f"restore-hub restore {source} {_CALL[manifest.kind]}{needed}"] if manifest.kind in _CALL else []
    yield "\n".join(["```sh", *lines, f"restore-hub verify {source}", "```"])
    tensors = [*(("input", tensor) for tensor in manifest.inputs), *(("output", tensor) for tensor in manifest.outputs)]
    yield _table(["", "name", "type", "shape", "default", "meaning"], [_tensor(*tensor) for tensor in tensors])


def _tensor(role: str, tensor: TensorInfo) -> list[str]:
    shape = " x ".join(map(str, tensor.shape))
    default = "required" if tensor.default is None else " ".join(f"{value:g}" for value in tensor.default)
    span = f", {tensor.low:g} to {tensor.high:g}" if tensor.low is not None and tensor.high is not None else ""
    return [
        role,
        f"`{tensor.name}`",
        tensor.dtype,
        shape,
        default if role == "input" else "",
        (tensor.meaning or tensor.space) + span,
    ]


def _size(facts: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    parameters = manifest.provenance.get("parameters")
    lines = [
        f"- licence: {manifest.licence}",
        f"- size: {facts['model']['bytes'] / 1e6:.2f} MB" + (f", {parameters:,} parameters" if parameters else ""),
        f"- {manifest.tiling.describe()}",
    ]
    if manifest.memory is not None:
        base, pixel = manifest.memory.base, manifest.memory.per_pixel
        large = (base + _LARGE * 1e6 * pixel) / 2**30
        lines.append(
            f"- memory on the CPU: {base / 2**20:.0f} MiB plus {pixel:.0f} bytes per pixel, or {large:.1f} GiB for "
            f"{_LARGE} megapixels in one piece"
        )
    lines.append(f"- differs from PyTorch by at most {manifest.parity:.2g}; ONNX opset {manifest.opset}")
    lines += [f"- {line}" for line in manifest.int8_notes()]
    yield "## The file"
    yield "\n".join(lines)


def _measured(metrics: Mapping[str, Any]) -> Iterator[str]:
    yield "## Metrics"
    if not metrics["mean"]:
        yield "Nothing was measured."
        return
    names = list(metrics["mean"])
    rows = [[picture, *(_value(values, name) for name in names)] for picture, values in metrics["each"].items()]
    count = f"all {metrics['pictures'] or ''}".rstrip()
    yield _table(
        ["held-out picture", *names], [*rows, [f"**{count}**", *(_value(metrics["mean"], name) for name in names)]]
    )
    chosen = " The holdout chose the weights, so these values are optimistic." if metrics["chosen_by_holdout"] else ""
    yield f"{metrics['rule']} {_NO_WIN}{chosen}"
    yield "\n".join(f"- {name}: {recipe}" for name, recipe in metrics["recipes"].items())


def _shown(pictures: Sequence[str]) -> Iterator[str]:
    if pictures:
        yield "## Pictures"
        yield (
            "Held-out pictures. From left to right: the input as the network gets it (RAW with white balance and gain "
            "applied), the result, the reference."
        )
        yield from (f"![{PurePath(name).stem}]({name})" for name in pictures)


def _training(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training"
    splits = facts["data"].items()
    rows = [
        [name, s["dataset"], _known(s["samples"]), str(s["left_out"]), _options(s["options"])] for name, s in splits
    ]
    yield _table(["split", "dataset", "samples", "left out", "options"], rows)
    yield "\n".join(f"- {name}: {(s['source'] or 'no source or licence is stated.').strip()}" for name, s in splits)
    stages = [
        [
            str(i),
            s["solver"],
            str(s["steps"]),
            "–" if s["seconds"] is None else f"{s['seconds']:.0f}",
            _known(s["gradients"]),
        ]
        for i, s in enumerate(facts["training"]["stages"], 1)
    ]
    yield _table(["stage", "solver", "steps", "seconds", "gradients"], stages)
    training = facts["training"]
    yield f"Precision {training['precision']}, seed {training['seed']}. The rest is in [spec.yaml](spec.yaml)."


def _made(facts: Mapping[str, Any]) -> Iterator[str]:
    made = facts["made"]
    yield "## How it was made"
    yield f"```sh\n{_command(str(made['command']))}\n```"
    versions = [f"{name} {version}" for name, version in (made["packages"] or {}).items() if version]
    lines = [
        f"- revision: {made['revision'] or 'not a git checkout'}",
        f"- versions: Python {made['python']}, {', '.join(versions)}; threads: {made['threads']}",
        f"- SHA-256 of model.onnx: `{facts['model']['sha256']}`",
    ]
    yield "\n".join(lines)


def _command(recorded: str) -> str:
    """Return a command as a person types it; the recorded one begins with the path of a script."""
    script, *rest = shlex.split(recorded) or [""]
    ours = PurePath(script).name in ("restore-hub", "__main__.py")
    return shlex.join(["restore-hub", *rest] if ours else ["python", script, *rest])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _value(values: Mapping[str, float], name: str) -> str:
    return number(float(values[name])) if name in values else "–"


def _options(options: Mapping[str, Any]) -> str:
    """Return options in one line; those with options of their own, such as transforms, by name only."""
    texts = {key: ", ".join(value) if isinstance(value, Mapping) else str(value) for key, value in options.items()}
    return "; ".join(f"{key} {text}" for key, text in texts.items())


def _known(count: int | None) -> str:
    return "–" if count is None else str(count)
