"""Times, sizes and names, formatted for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return three digits and a fitting unit: `0.0612 s`, `2.04 min`, `13.2 h`."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds)} s"


def size(count: float) -> str:
    """Return three digits and a fitting unit: `41.6 MiB`."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    place = 0
    while count >= 1000 and place < len(units) - 1:
        count, place = count / 1024, place + 1
    return f"{_three(count)} {units[place]}"


def printable(text: str) -> str:
    """Return a text in one line that no terminal takes for a command: escape what can't be printed."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _three(value: float) -> str:
    """Return a number with three digits and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
