"""Hides what C libraries print on their own."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# LibRaw's own lines about a damaged file, which our error explains better.
_LIBRAW = re.compile(rb"^.*: (Unexpected end of file|data corrupted at \d+)\n?", re.MULTILINE)


@contextlib.contextmanager
def quiet_libraw() -> Iterator[None]:
    """Hold back what C libraries write to standard error, and print it at the end without LibRaw's lines.

    What Python writes passes at once. Nothing changes if standard error isn't the process's own.
    """
    if sys.stderr is not sys.__stderr__ or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    kept, ours = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as held, os.fdopen(kept, "w", buffering=1, errors=ours.errors) as through:
        os.dup2(held.fileno(), 2)
        sys.stderr = through
        try:
            yield
        finally:
            sys.stderr = ours
            through.flush()
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, _LIBRAW.sub(b"", held.read()))
