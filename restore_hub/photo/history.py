"""What was done to a photograph, written into the EXIF of the result.

It is JSON in UserComment, which the EXIF standard provides for comments, and which readers find in PNG, TIFF, JPEG and
DNG alike. ImageDescription, the title that a person or a camera gave, stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from restore_hub.photo.exif import user_comment, with_user_comment
from restore_hub.photo.tiff import Directory, encode_tiff

_ROOM = 2**16 - 9  # bytes of EXIF in a JPEG: a segment without its length and `Exif`


def with_record(exif: Directory, record: Mapping[str, Any]) -> tuple[Directory, tuple[str, ...]]:
    """Return EXIF with a record, and notes: one where JPEG's 64 KiB have no room for it.

    The record keeps the photograph's own comment as `comment`, and an earlier record as `before`.
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
