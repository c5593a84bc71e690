"""What trains: levels as a solver sees them, solvers, and problems of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from restore_hub.port import Port

if TYPE_CHECKING:
    from torch import Tensor, nn

    from restore_hub.ragged import Ragged


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
        couple_lower: optional method, (batch) -> x: `couple` for a batch of the lower level, if that differs, as where
            upper blocks keep statistics of their own level's batches.
        couple_both: optional method, (lower batch, upper batch) -> (x, x): the coupling of both in one pass.
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
