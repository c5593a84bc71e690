"""What the runtime adds to plain onnxruntime, what tiles cost and what int8 gains, in one interleaved run.

The graph is the chain of `pipelines/raw_lowlight.yaml` with its initial weights, since speed doesn't depend on weights.
Unless a row names something else, it is relative to plain onnxruntime as a person would use it: `InferenceSession` with
its defaults and one `run`; for files also rawpy and Pillow; with as many threads, and in a fresh process for memory and
start-up.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rawpy
from PIL import Image

from arena.results import parser, publish, table
from restore_hub.export import deployed_chain, export_onnx
from restore_hub.export.gate import save
from restore_hub.export.int8_graph import to_int8
from restore_hub.machine import usable_cpus
from restore_hub.model.model import Model, probe_feeds
from restore_hub.model.sequence import load
from restore_hub.model.tiled import run
from restore_hub.photo.raw.dng_writer import write_dng
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.plan import build_chain, make_plan
from restore_hub.plugins import default_registry
from restore_hub.runtime.folder import restore_folder
from restore_hub.runtime.restore import restore
from restore_hub.spec import read_spec

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "raw_lowlight.yaml"
Work = Callable[[], Any]

# In processes of their own: each restores one file and prints the most bytes that it held.
PEAK = "from restore_hub.machine import peak_memory; print(peak_memory())"
OURS = "import sys; from restore_hub import restore; restore(*sys.argv[1:4], overwrite=True, tile=0)"
PLAIN = """
import sys, numpy, onnxruntime, rawpy
from PIL import Image
onnxruntime.set_default_logger_severity(3)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
with rawpy.imread(sys.argv[2]) as raw:
    mosaic = raw.raw_image_visible[None, None].astype(numpy.float32) / 65535
picture = session.run(None, {"mosaic": mosaic})[0][0].transpose(1, 2, 0)
Image.fromarray((picture.clip(0, 1) * 255).round().astype(numpy.uint8)).save(sys.argv[3])
"""


def exported(folder: Path) -> tuple[Model, Model]:
    """Export the shipped chain with fresh weights, and in int8, calibrated on noise."""
    plan = make_plan(read_spec(PIPELINE), default_registry())
    module = deployed_chain(build_chain(plan), str(plan.spec.export.chain))
    path, small = folder / "chain.onnx", folder / "chain.int8.onnx"
    manifest = export_onnx(module, path, name="benchmark", licence=None, metrics={}, provenance={})
    quantised = to_int8(path, iter([probe_feeds(manifest.inputs, 0, 256, 256)]))
    save(quantised.model, manifest, small)
    return load(path), load(small)


def photograph(path: Path, side: int) -> Path:
    """Write a square RAW file of noise, which no writer compresses well: the worst case."""
    levels = np.random.default_rng(0).integers(0, 65536, (side, side)).astype(np.uint16)
    ones = np.ones(4, np.float32)
    write_dng(path, RawImage(levels, (0, 0), 0 * ones, 65535 * ones, ones, "camera", baseline_exposure=1.0))
    return path


def interleaved(work: Mapping[str, Work], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each contender, all in turn `repeats` times after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, call in work.items():
            begun = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - begun)
    return times


def row(name: str, these: list[float], those: list[float], amount: float = 1.0, per_second: bool = False) -> list[str]:
    """Return a row of the table: both medians, as rates where asked for, and the median of the ratios of times."""
    ratio = statistics.median(a / b for a, b in zip(these, those, strict=True))
    cells = [statistics.median(values) for values in (these, those)]
    cells = [amount / cell if per_second else amount * cell for cell in cells]
    shown = (f"{cell:.0f}" if cell >= 100 else f"{cell:.3g}" for cell in cells)
    return [name, *shown, f"{ratio:.3f}"]


def graphs(model: Model, int8: Model, side: int, repeats: int) -> list[list[str]]:
    """Compare one picture in memory: our call, plain onnxruntime, tiles, and int8."""
    feeds = probe_feeds(model.manifest.inputs, 0, side, side)
    session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    times = interleaved(
        {
            "plain": lambda: session.run(None, feeds),
            "ours": lambda: run(model, feeds, 0),
            "tiles": lambda: run(model, feeds, side // 2),
            "int8": lambda: run(int8, feeds, 0),
        },
        repeats,
    )
    pixels = side * side / 1e6
    return [
        row(f"one picture of {side}x{side}, MP/s", times["ours"], times["plain"], pixels, per_second=True),
        row("the same in four tiles, over whole, MP/s", times["tiles"], times["ours"], pixels, per_second=True),
        row("the same in int8, over float32, MP/s", times["int8"], times["ours"], pixels, per_second=True),
    ]


def files(model: Model, folder: Path, side: int, repeats: int) -> list[list[str]]:
    """Compare file to file in one process: RAW to PNG, hot pixels, EXIF and colour profile on our side only."""
    photo = photograph(folder / "photos" / "a.dng", side)
    photograph(folder / "photos" / "b.dng", side)
    session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])

    def plain() -> None:
        with rawpy.imread(str(photo)) as raw:
            mosaic = raw.raw_image_visible[None, None].astype(np.float32) / 65535
        picture = session.run(None, {"mosaic": mosaic})[0][0].transpose(1, 2, 0)
        Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8)).save(folder / "plain.png")

    def both(jobs: int) -> Work:
        return lambda: restore_folder(model, photo.parent, fresh(folder), jobs=jobs)

    ours = {"ours": lambda: restore(model, photo, folder / "ours.png", overwrite=True)}
    times = interleaved({"plain": plain, **ours, "jobs 1": both(1), "jobs 2": both(2)}, repeats)
    return [
        row(f"RAW to PNG, {side}x{side}, files/min", times["ours"], times["plain"], 60, per_second=True),
        row("a folder, two at once over one, files/min", times["jobs 2"], times["jobs 1"], 120, per_second=True),
    ]


def processes(model: Model, folder: Path, side: int, repeats: int) -> list[list[str]]:
    """Compare fresh processes: time from start to a tiny picture, and memory of a picture over that of a tiny one."""
    tiny, large = photograph(folder / "tiny.dng", 32), photograph(folder / "large.dng", side)
    commands = {
        (who, photo): [sys.executable, "-c", f"{code}\n{PEAK}", str(model.path), str(photo), str(folder / f"{who}.png")]
        for who, code in (("ours", OURS), ("plain", PLAIN))
        for photo in (tiny, large)
    }
    peaks: dict[tuple[str, Path], float] = {}

    def start(key: tuple[str, Path]) -> Work:
        def call() -> None:
            done = subprocess.run(commands[key], capture_output=True, text=True, check=True)
            peaks[key] = float(done.stdout.split()[-1])

        return call

    times = interleaved({who: start((who, tiny)) for who in ("ours", "plain")}, repeats)
    for who in ("ours", "plain"):
        start((who, large))()
    pixels = (side * side - 32 * 32) / 1e6
    memory = [[(peaks[who, large] - peaks[who, tiny]) / 2**20 / pixels] for who in ("ours", "plain")]
    return [
        row("cold start to a tiny picture written, s", times["ours"], times["plain"]),
        row(f"memory at {side}x{side}, MiB a megapixel", *memory),
    ]


def fresh(folder: Path) -> Path:
    """Return a folder that is not there yet."""
    return Path(tempfile.mkdtemp(dir=folder)) / "out"


def main() -> None:
    """Write the table."""
    asked = parser(__doc__, repeats=7)
    asked.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048], help="of the pictures")
    arguments = asked.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "photos").mkdir()
        model, int8 = exported(folder)
        onnxruntime.set_default_logger_severity(3)  # plain sessions warn that inputs with defaults are not constant
        rows = [line for side in arguments.sides for line in graphs(model, int8, side, arguments.repeats)]
        rows += files(model, folder, arguments.sides[-1], arguments.repeats)
        rows += processes(model, folder, arguments.sides[-1], arguments.repeats)
    text = table(["", "this", "over that", "ratio of times"], rows)
    cpus, version = usable_cpus(), onnxruntime.__version__
    conditions = f"{cpus} CPUs for both, onnxruntime {version}, medians of {arguments.repeats}."
    publish("runtime", __doc__, [text], arguments.results, conditions)


if __name__ == "__main__":
    main()
