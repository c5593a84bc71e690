"""Real data, where there is any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("RESTORE_HUB_DATA")
    if not folder:
        pytest.skip("RESTORE_HUB_DATA is not set: no published weights and photographs")
    return Path(folder)
