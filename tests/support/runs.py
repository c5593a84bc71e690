"""Real runs of the small pipeline, made once for all tests, or stopped; a tracker in memory; a small disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from restore_hub import run
from restore_hub.batch import Batch
from restore_hub.contracts import Scalar
from restore_hub.plan import Chain, Plan, build_chain
from restore_hub.plan.objectives import Objectives
from restore_hub.train import checkpoint, loop
from restore_hub.train.problems.chain import TrainableChain
from restore_hub.train.problems.chain_pair import ChainPair
from restore_hub.train.run import Result
from support import LOWLIGHT

SMALL = (
    "blocks.generate.width=2",
    "blocks.generate.depth=1",
    "blocks.enhance.width=4",
    "data.train.crop=16",
    "data.upper.crop=16",
    "tracker=",
    "stages.0.steps=3",
    "stages.1.steps=2",
    "stages.1.lower.steps=2",
)
_SEEN = "inputs: {prediction: enhanced, target: data.rgb}"
NO_EXPORT = ("export={}", f"metrics={{psnr: {{metric: psnr, {_SEEN}}}, ssim: {{metric: ssim, {_SEEN}}}}}")


@pytest.fixture(scope="session")
def small(pairs: Path) -> list[str]:
    """Return overrides for a run of a second, which exports nothing: that would take most of the time."""
    return [*SMALL, *NO_EXPORT, *(f"data.{split}.root={pairs / split}" for split in ("train", "upper", "holdout"))]


@pytest.fixture(scope="session")
def finished(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return the result of the shipped pipeline, run small; it exports its blocks and its chain."""
    overrides = [*small, "export={blocks: [generate, enhance], chain: enhanced}"]
    return run(LOWLIGHT, overrides=overrides, out=tmp_path_factory.mktemp("run") / "r")


@pytest.fixture(scope="session")
def frequent(small: list[str]) -> list[str]:
    """Return overrides for one that saves its state after every step and measures in between."""
    return [*small, "checkpoint_seconds=0", "validate_every=2"]


@pytest.fixture(scope="session")
def whole(frequent: list[str], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return what the run `frequent` gives when it is left alone."""
    return run(LOWLIGHT, overrides=frequent, out=tmp_path_factory.mktemp("whole") / "r")


@pytest.fixture(scope="session")
def same() -> Callable[[Path, Path], None]:
    """Return a function that compares all that two such runs leave, but for times."""

    def compare(one: Path, other: Path) -> None:
        for name in ("last", "best", "stage-1", "stage-2"):
            left, right = (torch.load(folder / "checkpoints" / f"{name}.pt") for folder in (one, other))
            assert left["about"] == right["about"]
            for block, weights in left["blocks"].items():
                for key, tensor in weights.items():
                    assert torch.equal(tensor, right["blocks"][block][key]), (name, block, key)
        assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
        for path in sorted((one / "pictures").iterdir()):
            assert path.read_bytes() == (other / "pictures" / path.name).read_bytes()

    return compare


TWO_LEVELS = {
    "alternating": 2,
    "tbgl": 1,
    "ibgl": 2,
    "lwcl": 1,
    "rhg": 2,
    "truncated-rhg": 6,
    "bda": 2,
    "cg": 2,
    "neumann": 2,
    "f2sa": 2,
}


@pytest.fixture(params=TWO_LEVELS.items(), ids=lambda item: f"{item[0]}-{item[1]}")
def two_level_solver(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Return each solver of two levels, and how many lower steps a step of it takes."""
    found: tuple[str, int] = request.param
    return found


class Stopped(BaseException):
    """What ends a run here: nothing in the run may catch it, as nothing catches SIGKILL."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that runs the shipped pipeline until it has saved its state so many times."""

    def begin(saves: int, **given: Any) -> None:
        made = 0

        def save(*arguments: Any) -> None:
            nonlocal made
            checkpoint.save_state(*arguments)
            made += 1
            if made == saves:
                raise Stopped

        with monkeypatch.context() as patched:
            patched.setattr(loop, "save_state", save)
            with pytest.raises(Stopped):
                run(LOWLIGHT, **given)

    return begin


class FakeTracker:
    """A tracker in memory. `before` is called with a method's name first, and may raise or wait."""

    store = "fake"

    def __init__(self) -> None:
        self.before: Callable[[str], object] = str
        self.calls: list[str] = []
        self.scalars: list[Scalar] = []
        self.pictures: list[tuple[str, int, int]] = []
        self.artifacts: list[tuple[str, bool]] = []
        self.status = ""

    def _called(self, method: str) -> None:
        self.before(method)
        self.calls.append(method)

    def check(self) -> None:
        self._called("check")

    def start(self, name: str, tags: Mapping[str, str], run: str = "") -> str:
        self._called("start")
        self.name, self.tags, self.status = name, dict(tags), "RUNNING"
        return run or "run 1"

    def params(self, params: Mapping[str, Any]) -> None:
        self._called("params")

    def log(self, scalars: Sequence[Scalar]) -> None:
        assert 0 < len(scalars) <= 1000
        self._called("log")
        self.scalars += scalars

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        self._called("picture")
        self.pictures.append((name, int(image[0, 0, 0]), step))

    def artifact(self, path: Path, *, model: bool = False) -> None:
        self._called("artifact")
        self.artifacts.append((path.name, model))

    def finish(self, status: str) -> str:
        self._called("finish")
        self.status = status
        return "seen there"


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()


class Disk:
    """A small disk in memory, mounted in namespaces of its own; it goes with the process that holds them.

    Attributes:
        path: its folder, for processes in these namespaces.
        seen: the same folder, for others.
        namespaces: files that stand for them.
    """

    def __init__(self, place: Path, size: int) -> None:
        how = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        begin = f'mount -t tmpfs -o size={size} disk "$0" && echo mounted && exec cat'
        try:
            self._holder = subprocess.Popen(
                ["unshare", *how, "--mount", "sh", "-c", begin, place],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError:
            pytest.skip("no disk can be mounted here: there is no unshare")
        said = self._holder.stdout.readline() if self._holder.stdout else ""
        if said != "mounted\n":
            self._holder.communicate()
            pytest.skip(f"no disk can be mounted here: {said.strip()}")
        self.path, self.seen = place, Path(f"/proc/{self._holder.pid}/root{place}")
        kinds = ("user", "mnt") if how else ("mnt",)
        self.namespaces = [f"/proc/{self._holder.pid}/ns/{kind}" for kind in kinds]

    def remount(self, options: str) -> None:
        """Change how much it holds: `size=BYTES`, `nr_inodes=NUMBER`."""
        self._do("mount", "-o", f"remount,{options}", self.path)

    def read_only(self) -> None:
        """Let nobody write any more, also who has files open, which `remount,ro` would wait for."""
        self._do("mount", "--bind", self.path, self.path)
        self._do("mount", "-o", "remount,bind,ro", self.path)

    def writable(self) -> None:
        """Take `read_only` back."""
        self._do("umount", self.path)

    def clear(self) -> None:
        """Remove all that is on it."""
        for path in self.seen.iterdir():
            shutil.rmtree(path)

    def _do(self, *command: str | Path) -> None:
        into = [f"--{name}={file}" for name, file in zip(("mount", "user"), self.namespaces[::-1], strict=False)]
        subprocess.run(["nsenter", *into, *command], check=True)

    def close(self) -> None:
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return a disk of 64 MiB, made smaller or read-only by a test; skip where none can be mounted."""
    (tmp_path / "disk").mkdir()
    made = Disk(tmp_path / "disk", 64 << 20)
    try:
        yield made
    finally:
        made.close()


COMMAND = """
import ctypes, os, sys
for namespace in namespaces:
    if ctypes.CDLL(None, use_errno=True).setns(os.open(namespace, os.O_RDONLY), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)
os.chdir(folder)
os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
import torch
torch.set_num_threads(1)
from restore_hub.cli import main
main(arguments)
"""


@pytest.fixture(scope="session")
def processes() -> Any:
    """Return where processes come from that have PyTorch imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["restore_hub.train.run", "restore_hub.cli.run"])
    return context


@pytest.fixture
def start(processes: Any, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that starts `restore-hub` in a process of its own, which says all in `tmp_path/NAME.txt`.

    Its current folder is `tmp_path`; it sees a disk that is given.
    """

    def begin(name: str, *arguments: str | Path, on: Disk | None = None) -> Any:
        given = {
            "namespaces": on.namespaces if on else [],
            "folder": str(tmp_path),
            "said": str(tmp_path / f"{name}.txt"),
            "arguments": [str(argument) for argument in arguments],
        }
        process = processes.Process(target=exec, args=(COMMAND, given), daemon=True)  # a hung one ends with the tests
        process.start()
        return process

    return begin


@pytest.fixture
def call(start: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that runs `restore-hub` to its end; it returns the exit status and what was said."""

    def whole(name: str, *arguments: str | Path, on: Disk | None = None) -> tuple[int, str]:
        process = start(name, *arguments, on=on)
        process.join()
        return process.exitcode, (tmp_path / f"{name}.txt").read_text()

    return whole


@pytest.fixture
def plain_plan(make: Callable[..., Plan]) -> Plan:
    """Return the small pipeline without batch normalisation, whose running statistics tell two evaluations apart."""
    return make(
        "blocks.enhance={network: retinex/cascade, width: 4, inputs: {image: rgb}, outputs: [enhanced, stages]}",
        "stages.1.lower.objective={fidelity: 1, retinex: 0.5}",
    )


@pytest.fixture
def drawn() -> Callable[[int], Batch]:
    """Return a function that draws a batch of two samples, in float64."""

    def draw(seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        raw = torch.rand(2, 4, 8, 8, generator=generator, dtype=torch.float64)
        rgb = torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)
        return Batch({"raw": raw, "rgb": rgb})

    return draw


@pytest.fixture
def built() -> Callable[..., tuple[Chain, ChainPair]]:
    """Return a function that makes a plan's chain, in float64, and the problem of one of its stages."""

    def build(plan: Plan, index: int = 1) -> tuple[Chain, ChainPair]:
        torch.manual_seed(3)
        chain = build_chain(plan).double()
        losses = {name: part.make() for name, part in plan.losses.items()}
        objectives = Objectives(losses, {name: part.inputs for name, part in plan.losses.items()})
        return chain, TrainableChain(plan, chain, objectives, {}, {}).of_stage(plan.spec.stages[index])

    return build
