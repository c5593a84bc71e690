"""Progress of a folder: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from restore_hub.terminal import SECONDS_BETWEEN_LINES, has_bar

if TYPE_CHECKING:
    from restore_hub.runtime.folder_result import Result


class Progress:
    """Shows photographs, megapixels per second and the time left; a context manager."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._started = self._last_line = time.monotonic()
        self._count = {"done": 0, "skipped": 0, "failed": 0}
        self._pixels = 0
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, result: Result | None, total: int) -> None:
        """Show that one of `total` photographs is finished; `None` shows that work begins."""
        if self._bar is None and has_bar():
            from tqdm import tqdm

            form = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=total, desc=self._label, bar_format=form)
        if result is None:
            return
        self._count[result.state] += 1
        if result.state == "done" and result.facts:
            self._pixels += result.facts["height"] * result.facts["width"]
        finished, now = sum(self._count.values()), time.monotonic()
        speed = f"{self._pixels / 1e6 / max(now - self._started, 1e-9):.3g} MP/s"
        counts = ", ".join(f"{count} {state}" for state, count in self._count.items() if count)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{speed}  {counts}", refresh=False)
            self._bar.update()
        elif now - self._last_line >= SECONDS_BETWEEN_LINES or finished == total:
            self._last_line = now
            left = (now - self._started) * (total - finished) / finished
            line = f"{self._label}: {finished}/{total} photographs, {speed}, {left:.0f} s left  {counts}"
            print(line, file=sys.stderr, flush=True)
