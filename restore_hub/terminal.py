"""Where progress goes: a bar if standard error is a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys

SECONDS_BETWEEN_LINES = 15.0
_NARROWEST_BAR = 20


def has_bar() -> bool:
    """Say whether standard error is a terminal wide enough for a bar."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns >= _NARROWEST_BAR
    except (OSError, ValueError):  # not a terminal, or a closed or captured stream
        return False
