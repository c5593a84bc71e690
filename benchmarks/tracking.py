"""The cost of tracking a value, relative to MLflow's own calls on the same kind of store, in one interleaved run.

Figures are milliseconds for each value, on SQLite in a temporary folder: in a training step (a line in
`metrics.jsonl`), in the tracker's thread (`log_batch`, 1000 values in a call), and with MLflow's calls per step and per
value.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from arena.results import parser, publish, table
from restore_hub.contracts import Scalar
from restore_hub.plugins import default_registry
from restore_hub.train.recording.folder import RunFolder
from restore_hub.train.recording.recorder import Recorder

NAMES = [f"value/{number}" for number in range(10)]  # about what a bilevel step logs


def contenders(folder: Path, steps: int) -> dict[str, Callable[[], None]]:
    """Return what each contender does with `steps` steps of ten values."""
    tracker = default_registry().find("tracker", "mlflow/tracking").load()(folder=folder)
    tracker.check()
    run = tracker.start("ours", {})
    client = tracker._client
    (folder / "run").mkdir()
    recorder = Recorder(RunFolder(folder / "run"), None)

    def recorded() -> None:
        for step in range(steps):
            recorder.values(step, dict.fromkeys(NAMES, 0.5))

    def sent() -> None:
        scalars = [Scalar(name, 0.5, step, time.time()) for step in range(steps) for name in NAMES]
        for first in range(0, len(scalars), 1000):
            tracker.log(scalars[first : first + 1000])

    def each_step() -> None:
        from mlflow.entities import Metric

        for step in range(steps):
            now = round(time.time() * 1000)
            client.log_batch(run, metrics=[Metric(name, 0.5, now, step) for name in NAMES], synchronous=True)

    def each_value() -> None:
        for step in range(steps):
            for name in NAMES:
                client.log_metric(run, name, 0.5, step=step, synchronous=True)

    return {
        "restore_hub, in the training loop": recorded,
        "restore_hub, in the tracker's thread": sent,
        "mlflow, one call a step": each_step,
        "mlflow, one call a value": each_value,
    }


def main() -> None:
    """Time all contenders in turn; medians, and ratios to MLflow's call a value."""
    made = parser(__doc__, repeats=5)
    made.add_argument("--steps", type=int, default=100, help="steps of ten values in each repeat")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contend = contenders(Path(folder), arguments.steps)
        each: dict[str, list[float]] = {name: [] for name in contend}
        for repeat in range(arguments.repeats + 1):
            for name, work in contend.items():
                begun = time.perf_counter()
                work()
                if repeat:  # the first one warms up
                    each[name].append(1000 * (time.perf_counter() - begun) / (arguments.steps * len(NAMES)))
    slowest = each["mlflow, one call a value"]
    rows = []
    for name, times in each.items():
        ratio = statistics.median(a / b for a, b in zip(times, slowest, strict=True))
        rows.append([name, f"{statistics.median(times):.3f}", f"{ratio:.3f}"])
    text = table(["", "ms a value", "/ one call a value"], rows)
    rounds = f"One process; {arguments.steps} steps of {len(NAMES)} values in each of {arguments.repeats} rounds."
    publish("tracking", __doc__, [text], arguments.results, rounds)


if __name__ == "__main__":
    main()
