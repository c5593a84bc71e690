"""What connects with the world outside: cameras, servers, other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from restore_hub.photo.raw.camera_file import RawFile
    from restore_hub.photo.raw.layouts import Layout
    from restore_hub.photo.raw.mosaic import RawImage


class Reader(Protocol):
    """Reads RAW files of one sensor layout (Bayer, X-Trans, monochrome, ...) into the Bayer mosaic that models take.

    It is made without arguments. Of several readers that take a layout, the first by name reads the file. It runs where
    photographs are restored too, so it never imports torch. `restore_hub.photo.raw.bayer.Bayer` is an example.
    """

    def takes(self, layout: Layout) -> bool:
        """Say whether this reader reads a layout, such as `Layout(3, ("RG", "GB"))` or, of a monochrome one, `(1, ())`.

        Anything else than its own layout must be refused, also layouts that nobody has thought of yet.
        """
        ...

    def read(self, file: RawFile) -> RawImage:
        """Return the mosaic of an open file, with red, green and blue on the sites of a 2x2 Bayer tile.

        A monochrome sensor's values serve as all colours; a layout of larger tiles is interpolated or binned. The
        fields that don't depend on the layout are `file.facts()`; levels, white balance and colour matrix are up to the
        reader.

        Raises:
            UnreadableFileError: the file is damaged; training may leave it out. DataError: anything else.
        """
        ...


class Scalar(NamedTuple):
    """One value of a run, with its step counted over all stages and its time in seconds since 1970."""

    name: str
    value: float
    step: int
    time: float


class Tracker(Protocol):
    """Records runs somewhere, such as on a server.

    Training waits for `check` only. A thread calls the other methods, and if one raises, calls `start` and then that
    method again until it returns. So a method may find a part of its work already done.

    Attributes:
        store: name of the place, without passwords. A run remembers for each `store` what was sent there.
    """

    store: str

    def check(self) -> None:
        """Check what waiting won't mend, such as a missing package or a malformed address; contact no server.

        Raises:
            RestoreHubError: runs can't be recorded this way; training doesn't begin.
        """
        ...

    def start(self, name: str, tags: Mapping[str, str], run: str = "") -> str:
        """Open a run, or continue the one with id `run`; return its id, a new one if the store lost that run."""
        ...

    def params(self, params: Mapping[str, Any]) -> None:
        """Record the resolved spec, nested plain values."""
        ...

    def log(self, scalars: Sequence[Scalar]) -> None:
        """Record at most 1000 scalars, in the order of their steps; all or none."""
        ...

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Record a picture, (H, W, 3)."""
        ...

    def artifact(self, path: Path, *, model: bool = False) -> None:
        """Record a file; `model` marks the ONNX file that is the result of the run."""
        ...

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Close the run; return one line that says where to see it."""
        ...


class Exporter(Protocol):
    """Packs an exported ONNX file for another program: `restore-hub export FILE.onnx --to NAME -o OUT`.

    It needs no PyTorch. Options are the typed keyword arguments of the constructor.

    Attributes:
        suffix: how the other program's files end, in lower case, such as `.dtmodel`.
    """

    suffix: str

    def pack(self, source: Path, name: str) -> bytes:
        """Return the content of the file for the other program; the same input gives the same bytes.

        Args:
            source: an exported ONNX file.
            name: what to call the model there: the output file's name without its suffix.

        Raises:
            ExportError: the other program can't use this kind of file. ModelFileError: `source` can't be loaded.
        """
        ...
