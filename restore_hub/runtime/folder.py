"""All photographs of a folder through an exported file; work that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from restore_hub.errors import DataError, RestoreHubError, reason_of
from restore_hub.files import file_hash
from restore_hub.model.model import Model
from restore_hub.model.sequence import Chained, chained
from restore_hub.photo.decoders import quiet_decoders
from restore_hub.photo.kind import find_sidecar
from restore_hub.photo.picture_writer import check_format
from restore_hub.photo.raw.white_balance import Balance
from restore_hub.runtime.find_photos import find_photos, result_names
from restore_hub.runtime.journal import Journal, open_journal
from restore_hub.runtime.restore import developed
from restore_hub.runtime.restore_options import Wishes, check_out, is_dng, takes_raw

Format: TypeAlias = Literal["png", "tif", "jpg", "dng"]
Report: TypeAlias = "Callable[[Result | None, int], None]"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one photograph.

    Attributes:
        photo: its name, relative to the folder.
        out: name of the result, relative to the folder of results.
        state: `done`; `skipped`, because the result was there, from the same and unchanged; or `failed`.
        reason: why it failed.
        facts: of a result, `height`, `width`, `notes` and `record` as of `Restored`.
    """

    photo: Path
    out: Path
    state: Literal["done", "skipped", "failed"]
    reason: str = ""
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RestoredFolder:
    """What became of a folder.

    Attributes:
        path: the folder of results.
        results: one for each photograph, in order.
        seconds: what it took.
        notes: lines for people about the folder of results.
    """

    path: Path
    results: tuple[Result, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    def of(self, *states: str) -> list[Result]:
        """Return the results in one of some states."""
        return [result for result in self.results if result.state in states]

    @property
    def speed(self) -> float:
        """Megapixels a second that were restored, of all the time that the call took."""
        sizes: list[int] = [r.facts["height"] * r.facts["width"] for r in self.of("done") if r.facts]
        return sum(sizes) / 1e6 / max(self.seconds, 1e-9)


def restore_folder(
    model: str | Path | Model | Chained,
    folder: str | Path,
    out: str | Path,
    *,
    gain: float | None = None,
    balance: Balance | None = None,
    bits: int | None = None,
    format: Format | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    device: str | None = None,
    tile: int | None = None,
    report: Report | None = None,
) -> RestoredFolder:
    """Run one exported file, or several one after the other, on every photograph of a folder that it takes.

    Sub-folders count. A result has its photograph's name with another suffix, and lies in the same sub-folder of
    `out`. One photograph that cannot be restored does not stop the others. A later call skips what is done: a result
    that is there, as it was written, from the same files, photograph, sidecar, wishes and version. All else is made
    anew, also a result that was changed since.

    Args:
        model, gain, balance, bits, device, tile: as of `restore`.
        folder: where the photographs are.
        out: folder of the results, made if it is not there.
        format: of the results; without it `png`, and `dng` for a model that denoises mosaics.
        jobs: photographs at once, in threads that share the model, its threads of computation and the free memory.
        overwrite: replace files in `out` that no earlier call made.
        report: called with the number of photographs and what became of one: first with `None`, then of each.

    Raises:
        DataError: no photographs, two that would have one result, wishes that make no sense, or results that cannot
            be written: what was done before stays. ModelFileError: as `restore`.
    """
    folder, out = Path(folder), Path(out)
    wishes = Wishes(gain, balance, bits, tile)
    if jobs < 1:
        raise DataError(f"{jobs} photographs at once are too few; at least 1")
    loaded = chained(model, device)
    raw = takes_raw(loaded)
    suffix = f".{format or ('dng' if loaded.kind == 'raw-to-raw' else 'png')}"
    _check(wishes, loaded, out / f"NAME{suffix}")
    names = result_names(find_photos(folder, out, raw=raw), suffix)
    started = time.monotonic()
    # Quiet for all threads, because each photograph's own way to be so knows none.
    with open_journal(out) as journal, quiet_decoders():
        hashes = [file_hash(part.path) for part in loaded.models]
        batch = _Batch(loaded, hashes, folder, out, wishes, overwrite, journal, 1 / min(jobs, len(names)))
        results = sorted(_in_threads(batch, names, jobs, report), key=lambda result: result.photo)
    return RestoredFolder(out, tuple(results), time.monotonic() - started, journal.notes)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What all photographs of a call share."""

    loaded: Chained
    hashes: Sequence[str]
    folder: Path
    out: Path
    wishes: Wishes
    overwrite: bool
    journal: Journal
    share: float

    def result(self, photo: Path, name: Path) -> Result:
        """Restore one photograph, unless it is done.

        Raises:
            DataError: the result cannot be written; all else that goes wrong is in what is returned.
        """
        source, out = self.folder / photo, self.out / name
        try:
            made_from, line = self.made_from(source), self.journal.line(name)
            if line is not None and self.journal.holds(name, made_from):
                return Result(photo, name, "skipped", facts=line["facts"])
            if line is not None and not self.overwrite:
                self.refuse_other(out, Path(line["facts"]["photo"]), photo)
            check_out(out, self.overwrite or line is not None, [source, *(m.path for m in self.loaded.models)])
            restored, data = developed(self.loaded, self.hashes, source, out, self.wishes, self.share)
        except Exception as error:  # a photograph nobody foresaw must not end a night's work
            return Result(photo, name, "failed", _reason(error, source))
        facts = {
            "photo": str(self.folder.resolve() / photo),
            "height": restored.height,
            "width": restored.width,
            "notes": list(restored.notes),
            "record": restored.record,
        }
        self.journal.publish(name, data, hashlib.sha256(data).hexdigest(), made_from, facts)
        return Result(photo, name, "done", facts=facts)

    def refuse_other(self, out: Path, before: Path, photo: Path) -> None:
        """Refuse to replace what was made from another photograph of the same name, unless that one moved here."""
        if before != self.folder.resolve() / photo and before.exists():
            raise DataError(f"{out} was made from {before}; choose another folder for the results, or pass --overwrite")

    def made_from(self, source: Path) -> Mapping[str, Any]:
        """Return all that a result depends on, as it is read back from JSON."""
        sidecar = find_sidecar(source)
        try:
            hashes = {"photo": file_hash(source), "sidecar": sidecar and file_hash(sidecar)}
        except OSError as error:
            raise DataError("photo.cannot-open", error.filename or source, cause=reason_of(error)) from error
        facts = {
            "restore_hub": version("restore-hub"),
            "model": self.hashes[0] if len(self.hashes) == 1 else self.hashes,
            **hashes,
            **asdict(self.wishes),
        }
        return dict(json.loads(json.dumps(facts)))


def _check(wishes: Wishes, loaded: Chained, out: Path) -> None:
    """Refuse what would fail for every photograph."""
    bits = wishes.bits_of(out)
    wishes.check_model(loaded, out)
    if not is_dng(out):
        check_format(out, bits)


def _in_threads(batch: _Batch, names: Mapping[Path, Path], jobs: int, report: Report | None) -> list[Result]:
    """Return all results. Whatever stops this, Ctrl-C too, lets the photographs at work end first."""
    results = []
    if report is not None:
        report(None, len(names))
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in as_completed([pool.submit(batch.result, photo, name) for photo, name in names.items()]):
                results.append(future.result())
                if report is not None:
                    report(results[-1], len(names))
        except DataError as error:
            raise DataError(f"{error}; what is done stays: mend that, and the same call goes on") from error
        finally:
            pool.shutdown(cancel_futures=True)
    return results


def _reason(error: Exception, source: Path) -> str:
    """Return what went wrong in one line, without the file's name before it."""
    if isinstance(error, RestoreHubError):
        return str(error).removeprefix(f"{source}: ")
    if isinstance(error, MemoryError):
        return "not enough memory"
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
