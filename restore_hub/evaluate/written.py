"""What an evaluation leaves on disk: a table of every value, and the restored pictures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from restore_hub.errors import DataError, reason_of
from restore_hub.evaluate.candidate import Candidate
from restore_hub.evaluate.job import Evaluation, Job
from restore_hub.evaluate.predictor import Arrays
from restore_hub.evaluate.views import for_people
from restore_hub.files import write_file
from restore_hub.photo.picture_writer import write_picture

COLUMNS = ("candidate", "sample", "file", "metric", "value")


def check_places(sheet: Path | None, pictures: Path | None) -> None:
    """Refuse places that can't be written, before minutes of work.

    Raises:
        DataError: no folder for the table, or a folder of pictures that has files.
    """
    if sheet is not None and not sheet.parent.is_dir():
        raise DataError("evaluate.csv-folder", sheet, folder=sheet.parent)
    if pictures is not None and pictures.exists() and (not pictures.is_dir() or any(pictures.iterdir())):
        raise DataError("evaluate.pictures-exist", pictures)


def write_csv(found: Evaluation, path: Path) -> None:
    """Write a row for each candidate, sample and metric; metrics of all samples together have none.

    Raises:
        DataError: it can't be written.
    """
    text = io.StringIO(newline="")
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(COLUMNS)
    for candidate, scores in found.scores.items():
        for key, values in scores.each.items():
            name, files = found.samples[key]
            sheet.writerows((candidate, name, next(iter(files), ""), metric, v) for metric, v in values.items())
    write_file(path, text.getvalue().encode())


def picture_writer(job: Job, folder: Path) -> Callable[[Candidate, int, Arrays], None]:
    """Return a function that writes what a candidate makes of a sample as `folder/<sample>.png`.

    Several candidates have a folder each. Only candidates that make pictures of their own are written.

    Raises:
        DataError: what a candidate makes can't be shown, or a picture can't be written.
    """
    makers = [candidate.name for candidate in job.candidates if candidate.makes]
    places = {name: folder / _folder_name(name, makers) for name in makers}

    def write(candidate: Candidate, index: int, tensors: Arrays) -> None:
        port = candidate.predictor.ports.get(candidate.output)
        if not candidate.makes or candidate.output not in tensors or port is None:
            return
        picture = for_people(tensors[candidate.output], port)
        if picture is None:
            raise DataError("evaluate.no-picture", candidate.name, port=port.describe())
        path = places[candidate.name] / f"{job.names[index]}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError("files.cannot-write", path, cause=reason_of(error)) from error
        write_picture(path, picture / 255)

    return write


def _folder_name(name: str, makers: list[str]) -> str:
    """Return the name of a candidate's folder; nothing if it is the only one."""
    if len(makers) == 1:
        return ""
    plain = {maker: re.sub(r"[^\w.-]+", "_", maker).strip("._") for maker in makers}
    same = list(plain.values()).count(plain[name]) > 1
    return f"{makers.index(name) + 1}-{plain[name]}" if same else plain[name]
