"""What each kind of component promises. Plugins satisfy these by shape, without importing a base class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from restore_hub.photo.raw.camera_file import RawFile
    from restore_hub.photo.raw.layouts import Layout
    from restore_hub.photo.raw.mosaic import RawImage

Space = Literal["raw", "linear", "srgb", "map"]

# Options that the training loop gives a component of a kind, not the spec.
INJECTED: Mapping[str, frozenset[str]] = {"tracker": frozenset({"folder"})}


@dataclass(frozen=True, slots=True)
class Port:
    """One named tensor of shape (N, channels, scale * H, scale * W), where H x W is the picture's size.

    Attributes:
        channels: number of channels; `None` where it differs between training and evaluation, as for the
            intermediate stages that a loss reads. Such a port is never exported.
        space: `raw` (packed camera planes R, Gr, Gb, B), `linear` or `srgb` RGB, or `map` for anything else.
        low, high: nominal value range. Values may leave it slightly (noise below black, say).
        scale: the tensor's height and width over the picture's; packed RAW planes have 0.5.
    """

    channels: int | None
    space: Space = "srgb"
    low: float = 0.0
    high: float = 1.0
    scale: float = 1.0


@runtime_checkable
class Network(Protocol):
    """A `torch.nn.Module` whose `forward` takes its input ports by name and returns its output ports in order.

    It draws random numbers from torch's global generators alone, which a run seeds and a checkpoint keeps; so do losses
    and solvers.

    What it makes of a sample depends on that sample alone, and its outputs have as many samples as its inputs: batches
    are cut into parts, groups and processes, and those of two levels run as one. Layers of torch's batch normalisation
    are the exception, which is recognised.

    `forward` accepts every height and width from 1 up and pads inside where it must; it returns one tensor,
    or a tuple when there are several outputs. Options are the typed keyword arguments of the constructor.

    A sample of a batch gives what it gives in any other batch, but where layers of `torch.nn` normalise by the batch:
    batches are cut into parts and put together as memory and speed ask for it.

    Attributes:
        inputs, outputs: name to `Port`, in the order of `forward`'s arguments and results.
        size_multiple: sizes (of the picture) that need no padding; tiles are aligned to it.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    size_multiple: int

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the block on tensors laid out as `inputs` says."""
        ...


class Loss(Protocol):
    """Called with named tensors; returns (sum, count), so that ratios survive accumulation and ranks.

    The energy is `sum / count`. Names of the tensors are the parameters of `__call__`, or of `forward` where the loss
    is a PyTorch module; each is written out, since `**inputs` would name none. A module is moved to the device of the
    run, put into evaluation mode and frozen: its weights are those of no level.
    """

    def __call__(self, **inputs: Tensor) -> tuple[Tensor, Tensor | int]:
        """Return the sum over all terms (a scalar that carries gradients) and the number of terms."""
        ...


class Metric(Protocol):
    """Compares one picture with its reference: float64 arrays (H, W, C) in [0, 1], already rounded to 8 bits.

    C is 3 for pictures and 4 for packed RAW planes.

    Attributes:
        higher_is_better: direction, for choosing the best checkpoint.
    """

    higher_is_better: bool

    def __call__(self, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
        """Return the metric of one picture."""
        ...


class Dataset(Protocol):
    """Map-style data. Randomness comes from the generator handed in, never from a global one.

    Attributes:
        ports: name to `Port` of what `sample` returns, on the class, so that a spec is checked before there is
            any data; a spec calls them `data.<name>`.
        notes: optional, `Sequence[str]`: what a person should know of the data, such as scenes that are left out.
            `restore-hub check` and a run print them, and a run records them.
    """

    ports: Mapping[str, Port]

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def files(self, index: int) -> Sequence[Path]:
        """Return the files that sample `index` reads; splits may not share any."""
        ...

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[np.float32]]:
        """Return arrays (C, H, W). With `rng`, a random crop and flip; without, the whole picture.

        A dataset may also add arrays that are no port under keys that begin with an underscore.

        Raises:
            UnreadableFileError: a file is damaged or cut off. The sample is then left out and counted, unless the
                split is `strict`; whether an index can be read must not depend on `rng`.
            DataError: anything else; it ends the run.
        """
        ...


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
    """One value of a run: its name, its step over all stages, and when it was recorded, in seconds since 1970."""

    name: str
    value: float
    step: int
    time: float


class Tracker(Protocol):
    """Where a run is recorded. The loop knows no tracker by name.

    Its methods are called from one thread that training does not wait for. One that raises is called again, after
    `start`, until it returns: it may find that part of its work is done. None but `check` runs while training waits.

    Attributes:
        store: names the place, without passwords; what a run has sent is remembered for each `store`.
    """

    store: str

    def check(self) -> None:
        """Raise what no waiting mends, such as a missing package or an address of no known kind; ask no server.

        Raises:
            RestoreHubError: the run cannot be recorded so, and does not begin.
        """
        ...

    def start(self, name: str, tags: Mapping[str, str], run: str = "") -> str:
        """Open a run, or go on with the one of id `run`; return the id, another one where the store lost that run."""
        ...

    def params(self, params: Mapping[str, Any]) -> None:
        """Record the whole resolved spec, nested plain values."""
        ...

    def log(self, scalars: Sequence[Scalar]) -> None:
        """Record at most 1000 scalars, all or none, ordered by step."""
        ...

    def picture(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Record one picture (H, W, 3) uint8."""
        ...

    def artifact(self, path: Path, *, model: bool = False) -> None:
        """Record a file; with `model`, it is the ONNX file that the run was for."""
        ...

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> str:
        """Close the run, and return one line that says where it can be seen."""
        ...


class LevelPair(Protocol):
    """Two energies and two sets of variables, coupled through `x = couple(batch)`, a function of `theta` alone.

    Every solver works on `x` detached, and sends one combined cotangent back through `couple`; for a problem
    without a chain, `couple` returns `theta` itself. See `restore_hub.bilevel`.

    Attributes:
        theta, omega: upper and lower variables, live leaf tensors in a fixed order.
        theta_names, omega_names: their names, for error messages.
        reduction: optional, `restore_hub.bilevel.Reduction` where several processes share each batch; energies are then
            those of the whole batch, made with its `summed` and `spread`.
        couple_both: optional, a method of two batches that returns x of each, made in one pass.
        both: optional, a method of (x, omega, batch) that returns F_lower and F_upper with what they have in common
            computed once; for solvers that need both at one point.
    """

    theta: tuple[Tensor, ...]
    omega: tuple[Tensor, ...]
    theta_names: tuple[str, ...]
    omega_names: tuple[str, ...]

    def couple(self, batch: Any) -> tuple[Tensor, ...]:
        """Return the coupling tensors x(theta) on a batch, with their graph."""
        ...

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any) -> Tensor:
        """Return F_upper, a scalar."""
        ...

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any) -> Tensor:
        """Return F_lower, a scalar."""
        ...


@runtime_checkable
class GroupedPair(LevelPair, Protocol):
    """A problem whose lower energy is a sum over groups, F_lower = sum_j F_j: what `groups` of a solver needs."""

    def lower_groups(
        self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any, groups: int | Literal["sample"]
    ) -> Any:
        """Return each F_j's derivatives by x and omega, which are leaves: `restore_hub.bilevel.Rows`.

        `restore_hub.bilevel.rows_by_vmap` and `rows_by_parts` compute them.

        Args:
            x, omega: the point.
            batch: the lower batch.
            groups: one group for each sample of the batch, or a number of parts that it is cut into.

        Raises:
            BilevelError: the batch cannot be cut so.
        """
        ...


class Problem(Protocol):
    """What the levels of a spec are made of where there is no chain of blocks: variables, energies, data, metrics.

    It never says which level is which: a stage does, by naming blocks, an energy and a split for each level. Options
    are the typed keyword arguments of the constructor.

    The values that variables begin with are drawn from torch's global generators, which a run seeds; data never is.

    Attributes:
        blocks: groups of variables by name, `torch.nn.ModuleDict`. Checkpoints hold their state.
        energies: by name, pure functions of (variables by block and name, batch) that return (sum, count) like a
            `Loss`, so that those of the parts of a batch add up; made of what `torch.func.vmap` takes, without
            branches on values.
        splits: by name, the number of samples; no two share any.
        metrics: by name, whether higher is better; on the class.
        notes: optional, `Sequence[str]`: what a person should know of the data.
    """

    blocks: nn.ModuleDict
    energies: Mapping[
        str, Callable[[Mapping[str, Mapping[str, Tensor]], Mapping[str, Tensor]], tuple[Tensor, Tensor | int]]
    ]
    splits: Mapping[str, int]
    metrics: Mapping[str, bool]

    def batch(self, split: str, seed: int, index: int) -> Mapping[str, Tensor]:
        """Return batch number `index` of a stream over a split, a function of the arguments alone.

        Args:
            split: one of `splits`.
            seed: of the stream; streams of different seeds are independent.
            index: from 0.

        Returns:
            tensors with the samples along the first axis, on the CPU.
        """
        ...

    def measure(self) -> Mapping[str, float]:
        """Return all metrics at the live variables, on data that trains nothing."""
        ...


class SingleLevel(Protocol):
    """One energy and one set of variables, for solvers with `levels = 1`.

    Attributes:
        variables: live leaf tensors in a fixed order.
        names: their names, for error messages.
    """

    variables: tuple[Tensor, ...]
    names: tuple[str, ...]

    def energy(self, batch: Any) -> Tensor:
        """Return F at the live variables, a scalar with its graph."""
        ...


@dataclass(frozen=True, slots=True)
class Batches:
    """What one outer step reads: the upper batch, and the lower batches in the order of the lower steps.

    The upper batch may be the very same object as the last lower one (`share_batch`); then the coupling runs
    once for both. `joint` has one level: it reads `lower[0]`, and `upper` is `None`.

    Attributes:
        upper: the upper level's batch.
        lower: one batch for each lower step, or one that serves all of them.
        steps: number of lower steps.
    """

    upper: Any
    lower: Sequence[Any]
    steps: int = 1


class Solver(Protocol):
    """Advances a bilevel problem by one outer step. All that changes is in the state it made.

    Attributes:
        levels: 1 for `joint`, which steps all variables on one energy; 2 for the others.
        responds: whether the hypergradient has a response term, so that `check` can demand one.
        parallel: optional, on the class: that several processes, each with a part of the batch and a problem whose
            gradients by omega are summed, take the step of one. Norms over x are those of the problem's `reduction`.
    """

    levels: int
    responds: bool

    def init(self, pair: Any, optimizers: Sequence[Any], /) -> Any:
        """Return the solver's state for a `LevelPair` and one torch optimizer per level (upper first).

        A solver of one level gets a `SingleLevel` in place of the pair.

        The state has `state_dict()`, which returns plain containers of tensors and numbers, and `load_state_dict`, so
        that a resumed run gives the same bits. A state that carries more of the lower level than the optimizer also has
        `restart()`, which drops that; it is called after a cold restart has reset omega.
        """
        ...

    def step(self, pair: Any, state: Any, batches: Batches, /) -> tuple[Any, dict[str, Tensor | float]]:
        """Take one outer step; return the state and the values to log: numbers, or tensors of one number each."""
        ...

    def evaluations(self, lower_steps: int) -> int:
        """Return how many energy gradients one outer step takes (forward and backward passes).

        Raises:
            BilevelError: the solver cannot take that many lower steps.
        """
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
