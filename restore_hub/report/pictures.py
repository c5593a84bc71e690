"""Pictures inside the page, small enough, and a viewer that lays one over another."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from restore_hub.photo.pictures import read_picture
from restore_hub.report.html import Node, element, note

BUDGET = 7_000_000  # bytes of JPEG on one page; base64 takes a third more
SIZES = ((1024, 90), (720, 86), (512, 82), (320, 76))  # longest side, JPEG quality
ROLES = ("input", "output", "reference")
STRIP, GAP = 400, 4  # pixels: width of each picture of a strip, and between two

Group = Mapping[str, Path]  # what a picture is, to its file


def grouped(folder: Path) -> dict[str, Group]:
    """Return the pictures of a run: `<index>-<stem>-<role>.png` by index and stem, in the order of their indices.

    A picture without a role is a group of its own.
    """
    groups: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.png"), key=lambda path: (_index(path.stem), path.stem)):
        stem, _, role = path.stem.rpartition("-")
        known = stem and role in ROLES
        groups.setdefault(stem if known else path.stem, {})[role if known else "picture"] = path
    return {name: {r: group[r] for r in (*ROLES, "picture") if r in group} for name, group in groups.items()}


def viewers(groups: Mapping[str, Group]) -> list[Node]:
    """Return a viewer for each group, with pictures scaled down until all fit the budget.

    Args:
        groups: by name, pictures by label; a viewer first shows its first two.
    """
    paths = [path for group in groups.values() for path in group.values()]
    encoded: dict[Path, tuple[bytes, int, int] | None] = {}
    for side, quality in SIZES:
        encoded = {path: _jpeg(path, side, quality) for path in paths}
        if sum(len(found[0]) for found in encoded.values() if found) <= BUDGET:
            break
    nodes, used, missing = [], 0, 0
    for name, group in groups.items():
        found = {label: encoded[path] for label, path in group.items()}
        size = sum(len(one[0]) for one in found.values() if one)
        if used + size > BUDGET:
            missing += 1
            continue
        used += size
        nodes.append(_viewer(name, found))
    if missing:
        nodes.append(note(f"{missing} more are in the run's folder, left out here to keep this page small."))
    return nodes


def strip(group: Group) -> bytes:
    """Return the pictures of a group side by side as JPEG, each at most `STRIP` pixels wide.

    Raises:
        DataError: one can't be read.
    """
    small = []
    for path in group.values():
        pixels = np.rint(read_picture(path).pixels * 255).astype(np.uint8)
        image = Image.fromarray(pixels)
        image.thumbnail((STRIP, STRIP), Image.Resampling.LANCZOS)
        small.append(image)
    width = sum(image.width + GAP for image in small) - GAP
    sheet = Image.new("RGB", (width, max(image.height for image in small)), "white")
    left = 0
    for image in small:
        sheet.paste(image, (left, 0))
        left += image.width + GAP
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _jpeg(path: Path, side: int, quality: int) -> tuple[bytes, int, int] | None:
    """Return a picture as JPEG with its width and height; `None` if it can't be read."""
    try:
        with Image.open(path) as image:
            reduced = image.convert("RGB")
            reduced.thumbnail((side, side), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    reduced.save(buffer, "JPEG", quality=quality, subsampling=0 if side > 512 else 2)
    return buffer.getvalue(), reduced.width, reduced.height


def _viewer(name: str, found: Mapping[str, tuple[bytes, int, int] | None]) -> Node:
    frames = [_frame(name, label, picture) for label, picture in found.items() if picture]
    damaged = [label for label, picture in found.items() if not picture]
    labels = [label for label, picture in found.items() if picture]
    controls = None
    if len(frames) > 1:
        controls = element(
            "div",
            {"class": "controls"},
            _choice("left", labels, labels[0]),
            element("input", {"type": "range", "min": "0", "max": "100", "value": "50", "aria-label": "Divide at"}),
            _choice("right", labels, labels[1]),
        )
    return element(
        "figure",
        {"class": "viewer"},
        element("h3", {}, name),
        element("div", {"class": "frames"}, *frames),
        controls,
        note(f"These pictures can't be read: {', '.join(damaged)}.") if damaged else None,
    )


def _frame(name: str, label: str, picture: tuple[bytes, int, int]) -> Node:
    data, width, height = picture
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    size = {"width": str(width), "height": str(height)}
    image = element("img", {"alt": f"{name}, {label}", "src": source, **size})
    return element("figure", {"class": "frame", "data-label": label}, image, element("figcaption", {}, label))


def _choice(side: str, labels: Sequence[str], chosen: str) -> Node:
    options = [
        element("option", {"value": label, **({"selected": "selected"} if label == chosen else {})}, label)
        for label in labels
    ]
    return element("select", {"class": side, "aria-label": f"Picture on the {side}"}, *options)


def _index(stem: str) -> int:
    head = stem.partition("-")[0]
    return int(head) if head.isdecimal() else 0
