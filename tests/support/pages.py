"""Pages of documentation as tests: their blocks of code run in order, in one folder a page.

Blocks of `sh` and `python` run. Those that begin with `# file: NAME` are written to that file before the others run.
`console` shows a command that isn't run here, `text` what a command prints, `toml` a plugin's messages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support import DOCS, ROOT

PAGES = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md")))]
RUN = ("sh", "python")
WRITTEN = ("python", "yaml")
SHOWN = ("console", "text", "js", "toml")
_MAKE = re.compile(r"(make [\w-]+\n)+")  # too long to run here; what each target runs has tests of its own
_FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.M)


@dataclass(frozen=True)
class Block:
    """One block of code of a page; `file` is the name that it is written to."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        named = re.match(r"# file: (\S+)\n", self.text) if self.language in WRITTEN else None
        return named[1] if named else ""

    @property
    def runs(self) -> bool:
        return self.language in RUN and not self.file and not _MAKE.fullmatch(self.text)


def text_of(page: str) -> str:
    """Return a page's text; `page` is its path in the checkout."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """Return a page's blocks of code in their order."""
    text = text_of(page)
    return [Block(page, text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in _FENCE.finditer(text)]


@dataclass
class Walk:
    """A reader who follows one page in a folder; what has run once isn't run again.

    `smaller` replaces texts of the page, such as numbers of steps.
    A worker of pytest that gets only a later block runs the ones before it first.
    """

    page: str
    folder: Path
    smaller: Mapping[str, str] = field(default_factory=dict)
    printed: dict[Block, str] = field(default_factory=dict)
    failed: Block | None = None

    def __post_init__(self) -> None:
        for large in self.smaller:
            assert large in text_of(self.page), f"{self.page}: no {large!r}"
        for block in blocks_of(self.page):
            if block.file:
                (self.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / block.file).write_text(self.shrunk(block), encoding="utf-8")

    def shrunk(self, block: Block) -> str:
        """Return a block's text with the small numbers in place of the large ones."""
        text = block.text
        for large, small in self.smaller.items():
            text = text.replace(large, small)
        return text

    def upto(self, last: Block) -> str:
        """Run the blocks up to one; return what that one printed."""
        for block in (block for block in blocks_of(self.page) if block.runs and block.line <= last.line):
            assert self.failed is None or self.failed == last, f"{self.failed} failed before this block"
            if block not in self.printed:
                self.failed = block
                self.printed[block] = run(self.folder, block.language, self.shrunk(block))
                self.failed = None
        return self.printed[last]


def run(folder: Path, language: str, text: str) -> str:
    """Run a block as a reader would, in `folder`; return what it prints."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), environment.get("PYTHONPATH"))))
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout
