"""What progress needs to know of standard error: how wide a bar may be, and how often a line is enough."""

from __future__ import annotations

import os
import sys

SECONDS_BETWEEN_LINES = 15.0
_NARROWEST_BAR = 20


def has_bar() -> bool:
    """Say whether standard error is a terminal that is wide enough for a bar."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns >= _NARROWEST_BAR
    except (OSError, ValueError):  # no terminal; a closed or captured stream
        return False
