"""Packs an exported file for another program, with a plugin's exporter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from restore_hub.contracts import Exporter
from restore_hub.errors import ExportError, OptionError
from restore_hub.export.written import written
from restore_hub.model.zoo import model_path
from restore_hub.options import check_options
from restore_hub.registry import Registry


def make_exporter(registry: Registry, name: str, settings: Iterable[str] = ()) -> Exporter:
    """Return a registered exporter.

    Args:
        registry: what is registered.
        name: `namespace/name`.
        settings: its options, each as `OPTION=VALUE` with the value in YAML.

    Raises:
        UnknownComponentError: no such exporter. OptionError: an option or a value that it doesn't take.
    """
    component = registry.find("exporter", name)
    target = component.load()
    exporter: Exporter = target(**check_options(component.name, target, dict(map(_setting, settings))))
    return exporter


def pack(source: str | Path, exporter: Exporter, out: Path, *, overwrite: bool = False) -> None:
    """Write what an exporter makes of a file, whole or not at all.

    Args:
        source: the exported ONNX file, or `zoo:NAME`.
        exporter: see `make_exporter`.
        out: the file to write; it ends in the exporter's suffix.
        overwrite: replace an existing `out`.

    Raises:
        ExportError: another suffix, an existing `out`, one that can't be written, or a file that the other program
            can't use. ModelFileError: `source` can't be loaded.
    """
    if out.suffix.lower() != exporter.suffix:
        raise ExportError("export.wrong-suffix", out, suffix=exporter.suffix)
    if out.exists() and not overwrite:
        raise ExportError("export.exists", out)
    content = exporter.pack(model_path(source), out.stem)
    with written(out) as temporary:
        temporary.write_bytes(content)


def _setting(text: str) -> tuple[str, Any]:
    option, equals, value = text.partition("=")
    if not equals:
        raise OptionError("export.bad-setting", text)
    try:
        return option, YAML(typ="safe", pure=True).load(value)
    except YAMLError:
        raise OptionError("export.bad-setting", text) from None
