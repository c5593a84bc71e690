"""Photographs of real cameras, in the folder that RESTORE_HUB_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("RESTORE_HUB_DATA", ""))
real = pytest.mark.skipif("RESTORE_HUB_DATA" not in os.environ, reason="RESTORE_HUB_DATA is not set")
