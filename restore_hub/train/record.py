"""One place that values, pictures and files go through on their way to the run folder and the tracker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_hub.contracts import Tracker
from restore_hub.runtime.images import write_picture
from restore_hub.train.folder import RunFolder


class Record:
    """Writes to the run folder, and to the tracker where there is one."""

    def __init__(self, folder: RunFolder, tracker: Tracker | None) -> None:
        self.folder = folder
        self._tracker = tracker
        self._open = False

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open the tracker's run."""
        if self._tracker:
            self._tracker.start(name, params, tags)
            self._open = True

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars at a step, counted over all stages."""
        self.folder.append_metrics(step, values)
        if self._tracker:
            self._tracker.log(values, step)

    def left_out(self, split: str, files: Sequence[Path], reason: str) -> None:
        """Append a sample that was left out to `left_out.jsonl` in the run folder."""
        line = {"split": split, "files": [str(file) for file in files], "reason": reason}
        with (self.folder.path / "left_out.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Record a picture (H, W, 3)."""
        write_picture(self.folder.pictures / f"{name}.png", image.astype(np.float32) / 255.0)
        if self._tracker:
            self._tracker.picture(name, image, step)

    def artifact(self, path: Path) -> None:
        """Record a file that already lies in the run folder."""
        if self._tracker:
            self._tracker.artifact(path)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Close the tracker's run, if it was opened; return where it can be seen."""
        return self._tracker.finish(status) if self._tracker and self._open else ""
