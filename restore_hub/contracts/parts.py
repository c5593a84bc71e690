"""What a pipeline is made of: networks, losses, metrics, tasks and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from restore_hub.port import Port

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from restore_hub.ragged import Ragged


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
      attribute is gone after the call, unless that is a buffer. Lists and dictionaries in attributes are shared with
      the copies, so keep nothing there for later calls that depends on weights. Hooks on parameters are refused.
      `torch.utils.checkpoint` needs `use_reentrant=False`.

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
        """Return the sum over all terms, a scalar with gradients, and the number of terms.

        Without terms, such as boxes in pictures that have none, return a sum of 0 and the number 0.
        """
        ...


class SampleMetric(Protocol):
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
    """Measures all samples of a split together, such as mAP, mIoU and FID, which aren't means over samples.

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
        metrics: optional, `Metric` or `SampleMetric` by name.
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
