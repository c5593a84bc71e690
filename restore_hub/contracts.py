"""What each kind of component must provide.

A plugin's class satisfies one of these protocols by its shape: it needs no base class and no import from here, except
for the values it hands over, such as `Port`. The options of a component are the typed keyword arguments of its
constructor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from restore_hub.port import Port as Port
from restore_hub.port import Space as Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from restore_hub.photo.raw.camera_file import RawFile
    from restore_hub.photo.raw.layouts import Layout
    from restore_hub.photo.raw.mosaic import RawImage
    from restore_hub.ragged import Ragged

# Options of a kind of component that come from the training loop rather than the spec.
INJECTED: Mapping[str, frozenset[str]] = {"tracker": frozenset({"folder"})}


@runtime_checkable
class Network(Protocol):
    """A `torch.nn.Module` whose `forward` takes its input ports by position and returns its output ports in order.

    - Pictures of every height and width from 1 up are valid; pad inside `forward` where you must. The same holds for
      volumes.
    - Each sample's output depends on that sample alone, and there are as many outputs as samples, because batches are
      split into parts, groups and processes, and joined across levels. Batch normalisation layers of torch are the one
      exception: they are recognised.
    - Random numbers come from torch's global generators only: a run seeds them, and a checkpoint keeps their state.
      The same holds for losses and solvers.
    - Solvers run copies of a block that hold other tensors in place of its parameters. So `forward` reads parameters
      from its modules, such as `self.conv.weight`, not from views or objects made before; and what it assigns to an
      attribute is gone after the call, unless that is a buffer. `torch.utils.checkpoint` needs `use_reentrant=False`.

    Attributes:
        inputs, outputs: `Port` by name, in the order of `forward`'s arguments and results.
        size_multiple: picture sizes that are multiples of this need no padding; tiles are aligned to it.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    size_multiple: int

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the network.

        Args:
            inputs: one tensor for each of `inputs`.

        Returns:
            one tensor, or a tuple of them if there are several `outputs`.
        """
        ...


class Loss(Protocol):
    """A class whose instances return the sum and the number of a loss's terms, given named tensors.

    Training uses the ratio, sum / count. Keeping the two apart makes it exact for a batch in parts and on several
    processes.

    The names of the tensors are the parameters of `__call__`, or of `forward` if the loss is a `torch.nn.Module`. Write
    each one out: `**inputs` would name none. A module is moved to the run's device, put into evaluation mode and
    frozen; no level trains its weights.
    """

    def __call__(self, **inputs: Any) -> tuple[Tensor, Tensor | int]:
        """Return the sum over all terms, a scalar with gradients, and the number of terms."""
        ...


class PictureMetric(Protocol):
    """Measures one sample, such as a picture against its reference; a split has the mean over its samples.

    The names of the tensors are the parameters of `__call__`, as for a loss; they hold what those of a `Metric` hold.
    A value depends on the arguments alone, never on samples measured before.

    Attributes:
        higher_is_better: which direction is better; this decides on the best checkpoint.
    """

    higher_is_better: bool

    def __call__(self, prediction: NDArray[np.float64], target: NDArray[np.float64]) -> float:
        """Return the value for one sample.

        Args:
            prediction, target: pictures, or any other tensors under any other names.
        """
        ...


class Metric(Protocol):
    """Measures all samples of a split together, such as mAP, mIoU and FID, which are no means over samples.

    The names of the tensors are the parameters of `update`. Each evaluation works on a `copy.deepcopy` of the metric as
    it was made, so there is nothing to reset; keep the state in the instance. If it holds a network, `__deepcopy__` can
    let the copies share that.

    Attributes:
        higher_is_better: which direction is better; this decides on the best checkpoint.
    """

    higher_is_better: bool

    def update(self, **tensors: Any) -> None:
        """Take one sample.

        Args:
            tensors: NumPy arrays without the batch axis. A picture (`Port.is_picture`) comes as (H, W, C), float64 in
                [0, 1], clipped and rounded to 8 bits. Anything else comes as it is, with the axes and the type of its
                port: a class map as int64 (H, W), boxes as (n, 4), a volume as (C, Z, Y, X), a number as an array
                without axes. Write each name out: `**tensors` would name none.
        """
        ...

    def compute(self) -> float:
        """Return the value over all samples so far."""
        ...


class Task(Protocol):
    """A network with the losses that train it and the metrics that judge it, such as a detector.

    In a spec it's a block with `task` in place of `network`. `detect: {task: ..., inputs: ..., targets: ...}` makes
    the block `detect`, an objective `detect.<loss>` for each loss, and a metric `detect.<metric>` for each metric; the
    network's outputs are the tensors `detect.<port>`. Options work as for any component, and may be components.

    Losses and metrics get what their parameters are named after: a target, or an input or output of the network (the
    output where both have the name). Metrics can also name predictions.

    The object is made anew for each network, loss and metric that a run takes from it, so keep no weights in common.

    Attributes:
        targets: `Port` by name of what the losses and metrics compare with. A spec wires each one to a tensor.
        losses: `Loss` by name.
        metrics: optional, `Metric` or `PictureMetric` by name.
    """

    targets: Mapping[str, Port]
    losses: Mapping[str, Loss]

    def network(self) -> Network:
        """Return a new network."""
        ...


class DecodingTask(Task, Protocol):
    """A task that makes predictions of its network's outputs, such as boxes or a map of classes.

    They are the tensors `detect.<prediction>` of a block `detect:decode`, which runs only where something reads them.

    Attributes:
        predictions: `Port` by name.
    """

    predictions: Mapping[str, Port]

    def decode(self, **outputs: Any) -> Mapping[str, Tensor | Ragged]:
        """Return a batch of each of `predictions`; no sample's depends on another's, and there are no weights here.

        Args:
            outputs: of the network, a batch of each that is a parameter by name.
        """
        ...


class Dataset(Protocol):
    """Samples by index, each with the same named arrays.

    Attributes:
        ports: `Port` by name of what `sample` returns. Set it on the class, so that a spec can be checked before there
            is any data. A spec calls these tensors `data.<name>`.
        notes: optional, `Sequence[str]`: what a user should know about the data, such as scenes that are left out.
            `restore-hub check` and `restore-hub run` print them.
    """

    ports: Mapping[str, Port]

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def files(self, index: int) -> Sequence[Path]:
        """Return the files that sample `index` reads. Two splits must not share any."""
        ...

    def sample(self, index: int, rng: np.random.Generator | None) -> dict[str, NDArray[Any]]:
        """Return the arrays of a sample, each with the axes and the type of its port: (C, H, W) for pictures.

        Other arrays than those of `ports` are allowed under names that begin with an underscore; training ignores them.

        Args:
            index: from 0.
            rng: the only source of randomness, for a random crop and flip; without it, return the whole picture.

        Raises:
            UnreadableFileError: a file is damaged or cut off. The sample is left out and counted, unless the split is
                `strict`. Whether a sample can be read must not depend on `rng`.
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


class LevelPair(Protocol):
    """What a solver sees: two energies and two sets of variables, coupled through x = couple(batch).

    x depends on `theta` alone. Solvers work on x detached from its graph, and send a single combined cotangent back
    through `couple`. The simplest `couple` returns `theta` itself. A batch is whatever the energies read; in training,
    it is a `restore_hub.batch.Batch`. See `restore_hub.bilevel`.

    Attributes:
        theta, omega: upper and lower variables, live leaf tensors in a fixed order.
        theta_names, omega_names: their names, for error messages.
        reduction: optional, a `restore_hub.bilevel.Reduction` if several processes share each batch. The energies are
            then those of the whole batch, computed with its `summed` and `spread`.
        couple_both: optional method, (batch, batch) -> (x, x): the coupling of two batches in one pass.
        both: optional method, (x, omega, batch) -> (F_lower, F_upper): both energies at one point, with what they
            share computed once.
        settle: optional method, (x, batch) -> None: called before each lower step, to move what lies below omega.
    """

    theta: tuple[Tensor, ...]
    omega: tuple[Tensor, ...]
    theta_names: tuple[str, ...]
    omega_names: tuple[str, ...]

    def couple(self, batch: Any) -> tuple[Tensor, ...]:
        """Return the coupling tensors x(theta) for a batch, with their graph."""
        ...

    def upper(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any) -> Tensor:
        """Return F_upper, a scalar."""
        ...

    def lower(self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any) -> Tensor:
        """Return F_lower, a scalar."""
        ...


@runtime_checkable
class GroupedPair(LevelPair, Protocol):
    """A pair whose lower energy is a sum over groups, F_lower = sum_j F_j, as a solver's option `groups` needs it."""

    def lower_groups(
        self, x: tuple[Tensor, ...], omega: tuple[Tensor, ...], batch: Any, groups: int | Literal["sample"]
    ) -> Any:
        """Return the gradients of each F_j by x and omega, as `restore_hub.bilevel.Rows`.

        `restore_hub.bilevel.rows_by_vmap` and `rows_by_parts` compute them.

        Args:
            x, omega: the point, leaf tensors.
            batch: the lower batch.
            groups: `sample` for one group per sample, or the number of groups to divide the batch into.

        Raises:
            BilevelError: the batch can't be divided into these groups.
        """
        ...


class Problem(Protocol):
    """Variables, energies, data and metrics to train on when the model isn't a chain of blocks.

    A problem doesn't say which level is which. A stage of the spec does: it names blocks, an energy and a split for
    each level.

    Its data either stand in the spec, under `data`, or are its own. One with data of its own has `splits`, `batch`,
    `metrics` and `measure`. One that trains on registered data sets has none of these. If the spec measures it, it has
    `outputs` and `restore`, from which registered metrics and the pictures of the report are made.

    Draw the initial values of variables from torch's global generators, which a run seeds. Don't draw data from them.

    Attributes:
        blocks: groups of variables by name; checkpoints hold their state. One that is a `Network` can be exported.
        energies: by name, functions of the variables (by block and name) and of a batch (tensors by name, as `batch`
            returns them). Like a `Loss`, an energy returns (sum, count), and those of a batch's samples add up to those
            of the batch. Energies change nothing, and don't branch on values, so that `torch.func.vmap` can run them.
        splits: number of samples by name; splits share no samples.
        metrics: by name, whether higher is better; set it on the class.
        outputs: `Port` by name of what `restore` returns.
        notes: optional, `Sequence[str]`: what a user should know about the data.
        initial: optional, by the name of a further block, a function of a batch that returns the block's variables by
            name, of any sizes. Such a block is made anew for each batch in a lower level with `restart: batch`, such as
            the pictures of plug-and-play restoration; checkpoints don't hold it.
    """

    blocks: nn.ModuleDict
    energies: Mapping[
        str, Callable[[Mapping[str, Mapping[str, Tensor]], Mapping[str, Any]], tuple[Tensor, Tensor | int]]
    ]
    splits: Mapping[str, int]
    metrics: Mapping[str, bool]

    def batch(self, split: str, seed: int, index: int) -> Mapping[str, Tensor | Ragged]:
        """Return a batch of a stream over a split, which depends on the arguments alone.

        Args:
            split: one of `splits`.
            seed: of the stream; streams with different seeds are independent.
            index: number of the batch, from 0.

        Returns:
            a plain mapping of tensors and ragged values by name, on the CPU, with the samples along the first axis.
            Training wraps it in a `restore_hub.batch.Batch` to split it; your energies get the mapping.
        """
        ...

    def measure(self) -> Mapping[str, float]:
        """Return the values of all `metrics` for the current variables, on data that no level trains on."""
        ...

    outputs: Mapping[str, Port]

    def restore(self, batch: Mapping[str, Any]) -> Mapping[str, Tensor | Ragged]:
        """Return the `outputs` for a batch of one whole sample, whose references it doesn't use.

        It is called without gradients; where it solves for a picture, it turns them on itself.
        """
        ...


class SingleLevel(Protocol):
    """What a solver with `levels = 1` sees: one energy and one set of variables.

    Attributes:
        variables: live leaf tensors in a fixed order.
        names: their names, for error messages.
    """

    variables: tuple[Tensor, ...]
    names: tuple[str, ...]

    def energy(self, batch: Any) -> Tensor:
        """Return F for the current variables, a scalar with its graph."""
        ...


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one outer step.

    With `share_batch`, `upper` is the same object as the last of `lower`, and the coupling runs once for both. A solver
    of one level reads `lower[0]`; `upper` is then `None`.

    Attributes:
        upper: the upper level's batch.
        lower: one batch for each lower step, in order, or a single one for all of them.
        steps: number of lower steps.
    """

    upper: Any
    lower: Sequence[Any]
    steps: int = 1


class Solver(Protocol):
    """Takes outer steps. All that changes between steps is in the state that it made.

    Attributes:
        levels: 2 for a solver of a `LevelPair`, 1 for one that steps all variables on one energy (`SingleLevel`).
        responds: whether the hypergradient has a response term, which `check` then requires of the stage.
        parallel: optional, on the class: True if several processes, each with its share of the batch, take the same
            step as one process. Gradients by omega are summed over the processes already; norms over x need the pair's
            `reduction`.
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
        """Return the number of energy gradients (forward and backward passes) in one outer step.

        Raises:
            BilevelError: the solver can't take that many lower steps.
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
