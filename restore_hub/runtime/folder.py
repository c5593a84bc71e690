"""Restores all photographs of a folder; a later call continues work that was stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from restore_hub.errors import DataError, RestoreHubError, reason_of
from restore_hub.files import file_hash
from restore_hub.model.model import Model
from restore_hub.model.sequence import ModelSequence, as_sequence
from restore_hub.photo.decoders import quiet_decoders
from restore_hub.photo.kind import PICTURE_SUFFIXES, find_sidecar
from restore_hub.photo.picture_writer import check_format
from restore_hub.photo.raw.white_balance import Balance
from restore_hub.runtime.find_photos import find_photos, result_names
from restore_hub.runtime.folder_result import RestoredFolder, Result
from restore_hub.runtime.journal import Journal, open_journal
from restore_hub.runtime.restore import restore_to_bytes
from restore_hub.runtime.restore_options import RestoreOptions, check_output, is_dng, takes_raw

Format: TypeAlias = Literal["png", "tif", "jpg", "dng"]
Report: TypeAlias = Callable[[Result | None, int], None]


def restore_folder(
    model: str | Path | Model | ModelSequence,
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
    inputs: Mapping[str, float] | None = None,
    report: Report | None = None,
) -> RestoredFolder:
    """Run one exported file, or several one after the other, on every photograph in a folder that it takes.

    Sub-folders are included. A result has its photograph's name with another suffix, in the same sub-folder of `out`.
    One photograph that fails doesn't stop the others. A later call skips a result that is there, as it was written,
    from the same model, photograph, sidecar, options and version; it makes everything else again, including results
    that were changed since.

    Args:
        model, gain, balance, bits, device, tile, inputs: as for `restore`.
        folder: where the photographs are.
        out: folder of the results, created if needed.
        format: of the results; by default `png`, and `dng` if the model denoises mosaics.
        jobs: photographs at once, in threads that share the model, its computing threads and the free memory.
        overwrite: replace files in `out` that no earlier call made.
        report: called with what became of a photograph and the number of photographs: first with `None`, then for each.

    Raises:
        DataError: no photographs, two with the same result, invalid options, or results that can't be written; what
            was done before stays.
        ModelFileError: as `restore`.
    """
    folder, out = Path(folder), Path(out)
    options = RestoreOptions(gain, balance, bits, tile, dict(inputs or {}))
    if jobs < 1:
        raise DataError("restore.bad-jobs", "jobs", got=jobs)
    loaded = as_sequence(model, device)
    raw = takes_raw(loaded)
    if out.suffix.lower() in PICTURE_SUFFIXES and not out.is_dir():
        raise DataError("restore.folder-to-file", out)
    suffix = f".{format or ('dng' if loaded.kind == 'raw-to-raw' else 'png')}"
    _check(options, loaded, out / f"NAME{suffix}")
    names = result_names(find_photos(folder, out, raw=raw), suffix)
    started = time.monotonic()
    # For all threads at once, because what each reader does to keep quiet isn't thread-safe.
    with open_journal(out) as journal, quiet_decoders():
        job = _FolderJob(loaded, folder, out, options, overwrite, journal, 1 / min(jobs, len(names)))
        results = sorted(_in_threads(job, names, jobs, report), key=lambda result: result.photo)
    return RestoredFolder(out, tuple(results), time.monotonic() - started, journal.notes)


@dataclass(frozen=True, slots=True)
class _FolderJob:
    """What all photographs of a call share."""

    model: ModelSequence
    folder: Path
    out: Path
    options: RestoreOptions
    overwrite: bool
    journal: Journal
    share: float

    def restore(self, photo: Path, name: Path) -> Result:
        """Restore one photograph, unless it's done.

        Raises:
            DataError: the result can't be written; any other failure is in the result.
        """
        source, out = self.folder / photo, self.out / name
        try:
            origin, entry = self.origin(source), self.journal.entry(name)
            if entry is not None and self.journal.holds(name, origin):
                return Result(photo, name, "skipped", facts=entry["facts"])
            if entry is not None and not self.overwrite:
                self.refuse_other(out, Path(entry["facts"]["photo"]), photo)
            inputs = [source, *(part.path for part in self.model.models)]
            check_output(out, self.overwrite or entry is not None, inputs)
            restored, data = restore_to_bytes(self.model, source, out, self.options, self.share)
        except Exception as error:  # whatever goes wrong with one photograph must not end a night's work
            return Result(photo, name, "failed", _reason(error, source), getattr(error, "code", ""))
        facts = {
            "photo": str(self.folder.resolve() / photo),
            "height": restored.height,
            "width": restored.width,
            "notes": list(restored.notes),
            "record": restored.record,
        }
        self.journal.publish(name, data, hashlib.sha256(data).hexdigest(), origin, facts)
        return Result(photo, name, "done", facts=facts)

    def refuse_other(self, out: Path, before: Path, photo: Path) -> None:
        """Refuse to replace the result of another photograph of the same name, unless that photograph moved here."""
        if before != self.folder.resolve() / photo and before.exists():
            raise DataError("restore.other-photograph", out, other=before)

    def origin(self, source: Path) -> Mapping[str, Any]:
        """Return everything that a result depends on, as JSON gives it back."""
        hashes = [part.graph.sha256 for part in self.model.models]
        sidecar = find_sidecar(source)
        facts = {
            "restore_hub": version("restore-hub"),
            "model": hashes[0] if len(hashes) == 1 else hashes,
            "photo": _hash(source),
            "sidecar": sidecar and _hash(sidecar),
            **asdict(self.options),
        }
        return dict(json.loads(json.dumps(facts)))


def _check(options: RestoreOptions, model: ModelSequence, out: Path) -> None:
    """Refuse what would fail for every photograph."""
    bits = options.bits_of(out)
    options.check_model(model, out)
    if not is_dng(out):
        check_format(out, bits)


def _in_threads(job: _FolderJob, names: Mapping[Path, Path], jobs: int, report: Report | None) -> list[Result]:
    """Return all results. Whatever stops this, Ctrl-C too, lets photographs in progress finish first."""
    results = []
    if report is not None:
        report(None, len(names))
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in as_completed([pool.submit(job.restore, photo, name) for photo, name in names.items()]):
                results.append(future.result())
                if report is not None:
                    report(results[-1], len(names))
        finally:
            pool.shutdown(cancel_futures=True)
    return results


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise DataError("photo.cannot-open", path, cause=reason_of(error)) from error


def _reason(error: Exception, source: Path) -> str:
    """Return what went wrong in one line, without the photograph's name before it."""
    if isinstance(error, RestoreHubError):
        return str(error).removeprefix(f"{source}: ")
    return "not enough memory" if isinstance(error, MemoryError) else reason_of(error)
