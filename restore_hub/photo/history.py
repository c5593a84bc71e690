"""What was done to a photograph, written into the EXIF of the result.

It stands as JSON in UserComment, the place that the EXIF standard has for comments beside the title, and that the same
readers find in PNG, TIFF, JPEG and DNG. ImageDescription is the title that a person or a camera gave; it stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restore_hub.errors import DataError
from restore_hub.photo.exif import user_comment, with_user_comment
from restore_hub.photo.tiff import Directory, encode_tiff

_ROOM = 2**16 - 9  # bytes of EXIF in a JPEG: a segment without its length and `Exif`


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}") from error


def with_record(exif: Directory, record: Mapping[str, Any]) -> tuple[Directory, tuple[str, ...]]:
    """Return EXIF with a record, and notes: one where JPEG's 64 KiB have no room for it.

    The photograph's own comment goes on as `comment` in the record, and an earlier record as `before`.
    """
    full = with_user_comment(exif, json.dumps({**record, **_earlier(user_comment(exif))}))
    if len(encode_tiff(full)) > _ROOM:
        return exif, ("EXIF is full: what was done is not written into it",)
    return full, ()


def _earlier(comment: str) -> dict[str, Any]:
    if not comment:
        return {}
    try:
        earlier = json.loads(comment)
    except (ValueError, RecursionError):
        return {"comment": comment}
    ours = isinstance(earlier, dict) and "restore_hub" in earlier
    return {"before": earlier} if ours else {"comment": comment}
