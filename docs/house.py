"""Draw the rooms of `restore_hub`, layer by layer, from what imports what.

    python docs/house.py        # writes docs/images/house.svg

A room is a package or module directly in `restore_hub/`. It stands one layer above the highest room that it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "restore_hub"
OUT = Path(__file__).with_name("images") / "house.svg"
HIDDEN = {"__init__", "__main__", "messages"}
COLOURS = {True: ("#fbeede", "#b9772f"), False: ("#e4f1e8", "#3d8257")}  # whether a room imports torch
WIDTH, MARGIN, GAP, BOX, ROW = 960, 20, 10, 46, 60
LEGEND = ((False, "runs without PyTorch"), (True, "imports PyTorch"))


def rooms() -> list[str]:
    """Return the names of all rooms."""
    found = {path.stem for path in CORE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    return sorted(found - HIDDEN)


def imports(room: str) -> Iterator[str]:
    """Yield the modules that a room imports, also inside functions, but for those that only type checkers see."""
    folder = CORE / room
    for path in [folder.with_suffix(".py")] if not folder.is_dir() else sorted(folder.rglob("*.py")):
        yield from _imports(ast.parse(path.read_text(encoding="utf-8")))


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def below(room: str) -> set[str]:
    """Return the rooms that a room imports."""
    parts = [module.split(".") for module in imports(room)]
    return {part[1] for part in parts if part[0] == "restore_hub" and len(part) > 1} & set(rooms()) - {room}


@cache
def layer(room: str) -> int:
    """Return a room's layer, 0 for what imports no other."""
    return 1 + max((layer(other) for other in below(room)), default=-1)


def layers() -> list[list[str]]:
    """Return the rooms of each layer, the top one first."""
    top = max(map(layer, rooms()))
    return [[room for room in rooms() if layer(room) == level] for level in range(top, -1, -1)]


def svg() -> str:
    """Return the picture."""
    plugins = sorted(path.name.removeprefix("restore_hub_") for path in (ROOT / "plugins").glob("restore_hub_*/"))
    rows = layers()
    height = 2 * MARGIN + (len(rows) + 1) * ROW + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="Helvetica, Arial, sans-serif" text-anchor="middle">',
        "<title>The rooms of restore_hub: each imports only from rooms below it</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_box(
            MARGIN, MARGIN, WIDTH - 2 * MARGIN, "plugins/", f"restore_hub_*: {', '.join(plugins)}", "#eee7f5", "#7a55a3"
        ),
    ]
    for i, row in enumerate(rows, start=1):
        left = (WIDTH - sum(widths := _widths(row)) - (len(row) - 1) * GAP) / 2
        for room, width in zip(row, widths, strict=True):
            fill, line = COLOURS[any(module.split(".")[0] == "torch" for module in imports(room))]
            lines += _box(left, MARGIN + i * ROW, width, *_words(room), fill, line)
            left += width + GAP
    for k, (torch, text) in enumerate(LEGEND):
        x, y = MARGIN + 190 * k, height - MARGIN - 14
        lines.append(
            f'<rect x="{x}" y="{y}" width="16" height="14" fill="{COLOURS[torch][0]}" stroke="{COLOURS[torch][1]}"/>'
        )
        lines.append(f'<text x="{x + 22}" y="{y + 12}" font-size="13" text-anchor="start" fill="#444">{text}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _widths(row: list[str]) -> list[float]:
    """Return the widths of the boxes of a row, by the lengths of their names."""
    lengths = [len(_words(room)[0]) + 3 for room in row]
    space = WIDTH - 2 * MARGIN - (len(row) - 1) * GAP
    return [min(space * length / sum(lengths), 300) for length in lengths]


def _words(room: str) -> tuple[str, str]:
    """Return a room's name and the packages in it."""
    folder = CORE / room
    if not folder.is_dir():
        return f"{room}.py", ""
    inside = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    return f"{room}/", ", ".join(f"{name}/" for name in inside)


def _box(x: float, y: float, width: float, name: str, more: str, fill: str, line: str) -> list[str]:
    middle = x + width / 2
    first = y + BOX / 2 + (-3 if more else 5)
    return [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}" rx="6" fill="{fill}" stroke="{line}"/>',
        f'<text x="{middle:.0f}" y="{first:.0f}" font-size="13" font-weight="bold" fill="#222">{escape(name)}</text>',
        *(
            [f'<text x="{middle:.0f}" y="{first + 18:.0f}" font-size="12" fill="#444">{escape(more)}</text>']
            if more
            else []
        ),
    ]


def main() -> None:
    """Write the picture."""
    OUT.write_text(svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
