"""Finds the pipelines that come with the package, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import SpecError, nearest

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_pipelines() -> dict[str, Path]:
    """Return the shipped pipelines by name."""
    for folder in (_PACKAGE / "_shipped" / "pipelines", _PACKAGE.parent / "pipelines"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_spec(spec: Path) -> Path:
    """Return the file of a spec: the path itself, or the shipped pipeline of that name.

    Raises:
        SpecError: neither exists.
    """
    if spec.exists():
        return spec
    known = shipped_pipelines()
    if str(spec) in known:
        return known[str(spec)]
    raise SpecError("spec.unknown-spec", spec, known=", ".join(known), mend=nearest(str(spec), known))
