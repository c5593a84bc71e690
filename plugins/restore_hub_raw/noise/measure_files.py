"""What `data noise` does: measures RAW files one by one and together, or as a burst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_hub.errors import DataError
from restore_hub.photo.raw.mosaic import RawImage
from restore_hub.photo.raw.reader import read_raw
from restore_hub_raw.noise.burst import estimate_from_burst
from restore_hub_raw.noise.estimate import Estimate, estimate_from_image
from restore_hub_raw.noise.noise_file import write_noise_file


@dataclass(frozen=True, slots=True)
class Measurement:
    """The noise of one file or of several together, and the files' content."""

    title: str
    estimate: Estimate
    raws: Sequence[RawImage]

    def write(self, path: Path, files: Sequence[Path]) -> None:
        """Write the noise file, which names the measured files.

        Raises:
            DataError: as `write_noise_file`.
        """
        planes = [plane.model for plane in self.estimate.planes]
        cameras = sorted({raw.camera for raw in self.raws} - {""})
        write_noise_file(path, self.estimate.pooled.model, planes, ", ".join(cameras), [file.name for file in files])


def measure_files(files: Sequence[Path], burst: bool) -> Iterator[Measurement]:
    """Yield the noise of each file, then of all together where there are several; of a burst, one measurement.

    Raises:
        DataError: as `read_raw`, `estimate_from_image` and `estimate_from_burst`, with the file's name.
    """
    raws = [read_raw(file) for file in files]
    if burst:
        estimate = estimate_from_burst(raws, [str(file) for file in files])
        yield Measurement(f"burst of {len(files)} files", estimate, raws)
        return
    for file, raw in zip(files, raws, strict=True):
        try:
            estimate = estimate_from_image(raw)
        except DataError as error:
            raise error.at(file) from error
        yield Measurement(str(file), estimate, [raw])
    if len(raws) > 1:
        yield Measurement(f"all {len(raws)} files together", estimate_from_image(*raws), raws)
