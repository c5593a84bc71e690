"""Reads damaged copies of a file and reports on standard output; run as a script, because a crash would end pytest.

python mutate.py FILE raw|render|picture cut|change COUNT SEED
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from restore_hub.errors import DataError
from restore_hub.photo.pictures import read_picture
from restore_hub.photo.raw.reader import read_raw, render_raw

SPANS = (64, 1024, 8192, 2**30)  # headers are hit more often than pixels


def damaged(data: bytes, way: str, seed: tuple[int, int]) -> bytes:
    """Return a copy that is cut off, or has 1 to 20 bytes changed."""
    rng = np.random.default_rng(seed)
    if way == "cut":
        return data[: int(rng.integers(len(data)))]
    copy = bytearray(data)
    span = min(len(data), SPANS[int(rng.integers(len(SPANS)))])
    for place in rng.integers(0, span, int(rng.integers(1, 21))):
        copy[place] = int(rng.choice([0, 255, int(rng.integers(256)), copy[place] ^ 1 << int(rng.integers(8))]))
    return bytes(copy)


def main(source: Path, reader: str, way: str, count: int, first: int) -> None:
    """Print how many copies were read and refused, what else was raised, and the growth of memory in MiB.

    Damaged is `source`; of a sidecar, the file that it describes is read.
    """
    read = {"raw": read_raw, "render": render_raw, "picture": read_picture}[reader]
    wanted = source.with_suffix("") if source.suffix == ".yaml" else source
    data, refused, escaped = source.read_bytes(), 0, []
    read(wanted)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        for whole in (wanted, wanted.with_name(wanted.name + ".yaml")):
            if whole.exists():
                shutil.copyfile(whole, Path(folder) / whole.name)
        for seed in range(count):
            (Path(folder) / source.name).write_bytes(damaged(data, way, (first, seed)))
            try:
                read(Path(folder) / wanted.name)
            except DataError as error:
                refused += 1
                if len(str(error).splitlines()) != 1 or wanted.name not in str(error):
                    escaped.append(f"{seed}: no clear line: {error}")
            except Exception as error:
                escaped.append(f"{seed}: {type(error).__name__}: {error}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(json.dumps({"refused": refused, "escaped": escaped[:20], "grown_mib": grown}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
