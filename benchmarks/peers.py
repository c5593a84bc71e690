"""The same methods on the same problems in other libraries for bilevel optimisation.

The problems are the toy problem of LwCL Eq. 9 and hyper-cleaning of digits by softmax regression, with plain SGD at
both levels, the same number of lower steps and of Hessian products, and warm lower levels. All run on the same torch,
that of the environment that runs this. Each library gets an environment of its own, made on first use, for its other
dependencies; nothing is installed into the project's.

- `step`: one outer step. `ours / it`: below 1 if ours is faster.
- `peak`: tensors alive at once in a step, over the size of omega, counted after each operation.
- `gradient`: |theta's first step - that of ours| / |that of ours|: small if both compute the same. Known differences:
  Betty's finite difference leaves out the lower learning rate; BOAT takes its finite difference at the omega before the
  lower steps.

`outer product` is LwCL Eq. 8 (BOAT's `IGA`), `finite difference` that of DARTS (Betty's `darts`), with one lower step.
`cheapest` is the method meant for one lower step: the outer product of ours and of BOAT, Betty's `darts`.
`neumann` is the same series for all.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena.contest import Contender, interleave, ratio, serve
from arena.results import ROOT, conditions, parser, publish, table

OURS = "restore_hub"
# Adapter in arena/peers, and what to install without dependencies: torch is there.
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "BOAT": ("boat", ("boat-torch==1.1.1", "higher==0.2.1", "matplotlib", "contourpy", "cycler", "kiwisolver")),
    "Betty": ("betty_", ("betty-ml==0.2.1",)),
    "higher": ("higher_", ("higher==0.2.1",)),
    "TorchOpt": ("torchopt_", ("torchopt==0.7.3", "optree", "graphviz")),
}
ABSENT = {
    "hypertorch": "the package of this name on PyPI is another library, for hypergraphs; the one for hypergradients is "
    "not published there"
}
# Lower steps, 0 for --lower.
METHODS = {"outer product": 0, "reverse mode": 0, "cg": 0, "neumann": 0, "finite difference": 1, "cheapest": 1}


def environment(name: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, made on first use; RuntimeError with the reason if that fails."""
    place = folder / name.lower()
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (place / "ready").exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(place), "platbase": str(place)}))
    (packages / "torch_of_the_project.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--python", str(python)] if uv else [sys.executable, "-m", "pip", "--python"]
    install += [] if uv else [str(python), "install"]
    done = subprocess.run(
        [*install, "--quiet", "--no-deps", *PEERS[name][1]], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"does not install: {_last(done.stderr)}")
    (place / "ready").touch()
    return python


def answer(adapter: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a step of a task, and time it, or measure its memory, or return theta's first movement."""
    import torch

    from arena.memory import peak_bytes
    from arena.peers.tasks import TASKS

    torch.manual_seed(0)
    task = TASKS[request["task"]](request["n"])
    step = importlib.import_module(f"arena.peers.{adapter}").make(task, request["method"], request["steps"])
    before = torch.cat([t.detach().flatten().clone() for t in task.theta.parameters()])
    step()
    if request["do"] == "first":
        return {"moved": (torch.cat([t.detach().flatten() for t in task.theta.parameters()]) - before).tolist()}
    if request["do"] == "memory":
        return {"peak": peak_bytes(step) / task.size}
    begun = time.perf_counter()
    for _ in range(request["count"]):
        step()
    return {"seconds": (time.perf_counter() - begun) / request["count"]}


def compare(
    contenders: Mapping[str, Contender], task: str, n: int, method: str, given: argparse.Namespace
) -> list[Any]:
    """Return the rows of one method on one problem, for all libraries that have it."""
    request = {"task": task, "n": n, "method": method, "steps": METHODS[method] or given.lower}
    first: dict[str, list[float]] = {}
    failures = {}
    for name, contender in contenders.items():
        try:
            first[name] = contender.ask(do="first", **request)["moved"]
        except RuntimeError as error:
            if not str(error).startswith(("KeyError", "ValueError: tuple.index")):  # it has no such method
                failures[name] = str(error)
    count = max(1, min(20, int(1e6 / (n + 1000) / request["steps"])))
    seconds = interleave(contenders, given.repeats, {name: {"do": "time", "count": count, **request} for name in first})
    rows = []
    for name in first:
        peak = contenders[name].ask(do="memory", **request)["peak"]
        cells = [f"{1000 * statistics.median(seconds[name]):.3g}", f"{ratio(seconds[OURS], seconds[name]):.2f}"]
        rows.append([f"{method}, {name}", *cells, f"{peak:.1f}", f"{distance(first[name], first[OURS]):.1e}"])
    return rows + [[f"{method}, {name}: fails, {reason}", "-", "-", "-", "-"] for name, reason in failures.items()]


def distance(own: list[float], ours: list[float]) -> float:
    """Return |own - ours| / |ours|."""
    return sum((a - b) ** 2 for a, b in zip(own, ours, strict=True)) ** 0.5 / sum(b * b for b in ours) ** 0.5


def main() -> None:
    """Make the environments, measure, print, write."""
    arguments = parser(__doc__, repeats=9)
    arguments.add_argument("--sizes", default="100,10000,1000000", help="n of the toy problem")
    arguments.add_argument("--samples", type=int, default=500, help="training samples of hyper-cleaning")
    arguments.add_argument("--lower", type=int, default=10, help="lower steps, except for finite differences")
    arguments.add_argument("--peers", default=",".join(PEERS), help="libraries, by comma")
    arguments.add_argument(
        "--environments", type=Path, default=ROOT / "build" / "peers", help="folder for their environments"
    )
    given = arguments.parse_args()
    absent, pythons = dict(ABSENT), {OURS: (Path(sys.executable), "restore_hub_")}
    for name in filter(None, given.peers.split(",")):
        try:
            pythons[name] = (environment(name, given.environments.resolve()), PEERS[name][0])
        except RuntimeError as error:
            absent[name] = str(error)
    with contextlib.ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Contender([python, __file__, "--serve", adapter], given.threads, given.hold))
            for name, (python, adapter) in pythons.items()
        }
        problems = [("toy", int(text)) for text in given.sizes.split(",")] + [("cleaning", given.samples)]
        head = ["method, library", "step, ms", "ours / it", "peak", "gradient"]
        sections = []
        for task, n in problems:
            rows = [row for method in METHODS for row in compare(contenders, task, n, method, given)]
            sections.append(f"## {task}, n = {n}, {given.lower} lower steps\n\n{table(head, rows)}")
    sections.append("\n".join(f"- {name} is not here: {reason}." for name, reason in absent.items()))
    versions = "; ".join(f"{name}: {', '.join(PEERS[name][1])}" for name in pythons if name in PEERS)
    publish("peers", __doc__, sections, given.results, f"{conditions(given)} Peers: {versions}.")


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(lambda request: answer(sys.argv[2], request))
    else:
        main()
