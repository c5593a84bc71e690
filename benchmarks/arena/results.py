"""Results as Markdown, with the command and the machine that made them."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def parser(doc: str | None, repeats: int, solvers: Iterable[str] = ()) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks share, with `--solvers` if there is a choice."""
    made = argparse.ArgumentParser(description=doc, formatter_class=_Help)
    made.add_argument("--repeats", type=int, default=repeats, help="measured rounds; medians are printed")
    made.add_argument("--threads", type=int, default=1, help="torch threads for each contender")
    made.add_argument("--hold", action="store_true", help="let the allocator keep freed memory (glibc)")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder that the table is written to")
    if solvers:
        known = list(dict.fromkeys(solvers))
        made.add_argument("--solvers", type=lambda text: _some(text, known), default=",".join(known), help="by comma")
    return made


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the description as written, and every default."""


def _some(text: str, known: Sequence[str]) -> str:
    """Return comma-separated names; ArgumentTypeError for an unknown one."""
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(known)}")
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns after the first are right-aligned."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(name: str, doc: str | None, sections: Sequence[str], folder: Path, conditions: str) -> None:
    """Print the sections, and write them to `NAME.md` with the command, the machine, the versions and the date.

    Args:
        name: the benchmark's.
        doc: its docstring.
        sections: Markdown.
        folder: created if missing.
        conditions: threads, allocator, repeats.
    """
    body = "\n\n".join(sections)
    print(body)
    command = shlex.join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
    facts = [
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, revision {_revision()}.",
        f"Machine: {_processor()}, {os.cpu_count()} processors, {_memory()}, load {os.getloadavg()[0]:.1f} at the end.",
        f"{platform.python_implementation()} {platform.python_version()}, torch {version('torch')}, "
        f"{platform.system()} {platform.release()}. {conditions}",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    text = f"# {name}\n\n{(doc or '').strip()}\n\n" + "\n".join(f"- {fact}" for fact in facts) + f"\n\n{body}\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def conditions(given: argparse.Namespace) -> str:
    """Return the conditions of the measurement as text."""
    allocator = "keeping freed memory" if given.hold else "unchanged"
    set_by_hand = {key: value for key, value in os.environ.items() if key.startswith(("MALLOC_", "LD_PRELOAD"))}
    by_hand = f" ({', '.join(f'{key}={value}' for key, value in set_by_hand.items())})" if set_by_hand else ""
    return (
        f"Each contender in a process of its own with {given.threads} thread{'s' if given.threads > 1 else ''}, asked "
        f"in turn; medians of {given.repeats} rounds; glibc's allocator {allocator}{by_hand}."
    )


def _revision() -> str:
    done = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
