"""The folder of a run: what lies where, written so that no file is ever half there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import filelock
import torch

from restore_hub.errors import DataError, TrainingError

JOURNALS = ("metrics.jsonl", "holdout.jsonl", "left_out.jsonl")
SHOWN, WIDTH = 5, 60  # of the differences between two specs, and characters of a value
RECORDED_PACKAGES = ("restore-hub", "torch", "numpy", "onnx", "onnxruntime", "onnxscript", "rawpy", "mlflow")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths inside the folder of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Weights: `stage-N.pt` of each stage's end, `last.pt`, and `best.pt` where there are metrics.

        Of an unfinished run, `state.pt` holds all that it needs to go on.
        """
        return self.path / "checkpoints"

    @property
    def export(self) -> Path:
        """ONNX files."""
        return self.path / "export"

    @property
    def pictures(self) -> Path:
        """Holdout pictures, `<index>-<stem>-input`, `-output` and `-reference`."""
        return self.path / "pictures"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from running in this folder.

        Raises:
            TrainingError: another one does, or the folder cannot be written.
        """
        lock = filelock.FileLock(self.path / ".run.lock")
        with writing(self.path):
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                raise TrainingError(f"another process is running in {self.path}; wait for it, or stop it") from None
        try:
            yield
        finally:
            lock.release()

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file whole or not at all."""
        return self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file whole or not at all.

        Raises:
            TrainingError: it cannot be written; an older file is left as it was.
        """
        path = self.path / name
        with writing(path), _whole(path) as file:
            file.write(text.encode())
        return path

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Append one line of JSON to a file that only grows.

        Raises:
            TrainingError: it cannot be written.
        """
        path = self.path / name
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def save_weights(self, name: str, blocks: torch.nn.ModuleDict, about: Mapping[str, Any]) -> Path:
        """Save the state of every block, with plain facts about it, whole or not at all."""
        state = {block: module.state_dict() for block, module in blocks.items()}
        return self.save(name, {"blocks": state, "about": dict(about)})

    def save(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write `checkpoints/<name>.pt` whole or not at all.

        Raises:
            TrainingError: it cannot be written; an older file is left as it was.
        """
        path = self.checkpoints / f"{name}.pt"
        with writing(path), _whole(path) as file:
            torch.save(dict(content), file)
        return path

    def journals(self) -> dict[str, int]:
        """Return how long the files that only grow are; so much of them is on the disk by then."""
        lengths = {}
        for name in JOURNALS:
            if (self.path / name).exists():
                with writing(self.path / name), (self.path / name).open("ab") as file:
                    os.fsync(file.fileno())
                    lengths[name] = file.tell()
        return lengths

    def rewind(self, journals: Mapping[str, int]) -> None:
        """Cut the files that only grow to earlier lengths; one without a length goes.

        `events.jsonl` keeps its lines, because the tracker may have had them; one that is half written goes.

        Raises:
            TrainingError: they cannot be written.
        """
        with writing(self.path):
            for name in JOURNALS:
                path = self.path / name
                if name in journals:
                    os.truncate(path, journals[name])
                else:
                    path.unlink(missing_ok=True)
            events = self.path / "events.jsonl"
            if events.exists():
                os.truncate(events, events.read_bytes().rfind(b"\n") + 1)

    def read_status(self) -> str:
        """Return how the run stands: `RUNNING` (or stopped without a word), `FINISHED`, `FAILED` or `KILLED`."""
        try:
            return str(json.loads((self.path / "status.json").read_text(encoding="utf-8"))["status"])
        except (OSError, ValueError, KeyError, TypeError):
            return "RUNNING"

    def write_status(self, status: str) -> None:
        """Write how the run stands to `status.json`."""
        self.write_json("status.json", {"status": status})


class OtherFolder(RunFolder):
    """The folder of a run as all of its processes but the first have it: they write nothing."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Leave the lock to the first process."""
        yield

    def write_text(self, name: str, text: str) -> Path:  # noqa: ARG002
        """Write nothing."""
        return self.path / name

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """Write nothing."""

    def save(self, name: str, content: Mapping[str, Any]) -> Path:  # noqa: ARG002
        """Write nothing."""
        return self.checkpoints / f"{name}.pt"

    def journals(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def rewind(self, journals: Mapping[str, int]) -> None:
        """Cut nothing."""


def create_run_folder(runs: Path, name: str, at: Path | None = None) -> RunFolder:
    """Make `runs/<name>-<date>-<time>` (or `at`) with its subfolders.

    Raises:
        TrainingError: the folder cannot be written, or `at` exists and is not empty.
    """
    path = at or _free(runs / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if at is not None and at.exists() and (not at.is_dir() or any(at.iterdir())):
        raise TrainingError(f"{at} exists already and is not an empty folder; give another --out, or --resume")
    return _prepared(path)


def find_unfinished(runs: Path, name: str, resolved: Mapping[str, Any], at: Path | None) -> RunFolder | None:
    """Return the run to go on with: `at`, else the unfinished one in `runs` of the same resolved spec that ran last.

    `None` where there is none yet.

    Raises:
        TrainingError: `at` is no run, is finished, or is of another spec (the text names the keys that differ).
    """
    resolved = json.loads(json.dumps(resolved))  # as it is saved: tuples are lists
    if at is None:
        found = [RunFolder(path) for path in runs.glob(f"{name}-*") if (path / "spec.json").is_file()]
        fit = [f for f in found if f.read_status() != "FINISHED" and not _differences(_saved(f.path), resolved)]
        return _prepared(max(fit, key=lambda f: _order(f.path)).path) if fit else None
    if not at.exists():
        return None
    if not [path for path in at.rglob("*") if path.is_file() and path.name[0] != "." and path.name != "log.txt"]:
        return _prepared(at)  # ended before it wrote anything of worth
    differences = _differences(_saved(at), resolved)
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise TrainingError(
            f"{at} is a run of another spec: {', '.join(differences[:SHOWN])}{more}; run it as it was, or begin anew "
            "with another --out"
        )
    if RunFolder(at).read_status() == "FINISHED":
        raise TrainingError(f"{at} is finished, so there is nothing to go on with; begin anew with another --out")
    return _prepared(at)


def _prepared(path: Path) -> RunFolder:
    """Make a folder ready for a process that runs there, the last one among its neighbours."""
    folder = RunFolder(path)
    parts = (folder.path, folder.checkpoints, folder.export, folder.pictures)
    try:
        for part in parts:
            part.mkdir(parents=True, exist_ok=True)
        last = max((_order(other.parent) for other in path.parent.glob("*/.order")), default=0)
        with _whole(path / ".order") as file:
            file.write(b"%d\n" % (last + 1))
    except OSError as error:
        for part in reversed(parts):
            with contextlib.suppress(OSError):  # those that hold something stay
                part.rmdir()
        reason = error.strerror or error
        raise TrainingError(
            f"the run folder {path} cannot be written: {reason}; mend that, or choose --runs DIR or --out DIR"
        ) from None
    return folder


def _order(path: Path) -> int:
    """Return how late a run last began or was gone on with, counted: clocks jump; 0 where nothing says."""
    try:
        return int((path / ".order").read_bytes())
    except (OSError, ValueError):
        return 0


def _saved(path: Path) -> Any:
    try:
        return json.loads((path / "spec.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} is not the folder of a run: it has no readable spec.json") from error


def _differences(saved: Any, resolved: Mapping[str, Any]) -> list[str]:
    """Return `key.path old -> new` of each value in which two resolved specs differ; their source may."""
    one, other = ({key: value for key, value in spec.items() if key != "source"} for spec in (saved, resolved))
    return list(_between(one, other, ""))


def _between(one: Any, other: Any, path: str) -> Iterator[str]:
    if one == other:
        return
    tables = [_table(value) for value in (one, other)]
    if tables[0] is None or tables[1] is None:
        yield f"{path.removeprefix('spec.')} {_short(one)} -> {_short(other)}"
        return
    for key in {**tables[0], **tables[1]}:
        yield from _between(tables[0].get(key), tables[1].get(key), f"{path}.{key}" if path else str(key))


def _table(value: Any) -> Mapping[Any, Any] | None:
    """Return what has keys of its own: a mapping, or a list of mappings by position."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return dict(enumerate(value))
    return value if isinstance(value, Mapping) else None


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def environment() -> dict[str, Any]:
    """Return what a result depends on beside the spec: versions, machine, threads, revision."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
        "revision": _revision(),
        "command": shlex.join(sys.argv),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Return the git revision of the current folder, if it is a checkout."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _free(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what cannot be written, why, and how to go on.

    Raises:
        TrainingError: an error of the system, or one that stands for it.
    """
    try:
        yield
    except (OSError, RuntimeError, DataError) as error:
        # On a full disk torch's writer raises a RuntimeError of its own while it handles the system's.
        cause = error if isinstance(error, OSError) else error.__context__
        known = isinstance(cause, OSError) and cause.strerror
        reason = known or " ".join(str(error).split())[:200]
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "make room on that disk" if full else "mend that"
        raise TrainingError(
            f"{path} cannot be written: {reason}; what was saved before it is whole: {mend} and go on with --resume"
        ) from error


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears whole or not at all, and is on the disk by then; an older one is left till then."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that became read-only keeps it; the next try overwrites it
            temporary.unlink(missing_ok=True)
        raise
