"""The rules of stages and their levels: what a hypergradient needs in order to exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from restore_hub.contracts import Solver
from restore_hub.errors import nearest
from restore_hub.spec.models import LEVEL_NAMES, Level, Spec, Stage, weights_of
from restore_hub.spec.reader import Document
from restore_hub.spec.stages import level_place

HOLDOUT = "holdout"
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the levels of a spec may name.

    Attributes:
        blocks, objectives, splits: the names.
        reach: returns the blocks of these that a level's objective depends on.
        renewed: those of the blocks whose variables are made anew for each batch.
    """

    blocks: Collection[str]
    objectives: Collection[str]
    splits: Collection[str]
    reach: Callable[[Level], frozenset[str]]
    renewed: Collection[str] = ()


def check_stages(
    document: Document, spec: Spec, scope: Scope, solvers: Mapping[int, Sequence[type[Solver]]]
) -> list[str]:
    """Check every stage against its solvers, one for each pair of levels; return remarks that a person should read.

    Raises:
        SpecError: an unknown name, a block in two levels, levels that share data by accident, training on the
            holdout split, or an energy without the dependence that the solver's response needs.
    """
    remarks: list[str] = []
    for index, stage in enumerate(spec.stages):
        places = [level_place(document, index, number) for number in range(len(stage.levels))]
        for level, place in zip(stage.levels, places, strict=True):
            _check_names(document, scope, level, place)
            if not isinstance(level.data, str) and (spec.problem is not None or len(stage.levels) > 1):
                raise document.error("spec.several-splits", *place, "data")
            _check_renewed(document, scope, stage, level, place)
        _check_blocks(document, stage, places)
        for number, level in enumerate(stage.levels):
            # The response trains an upper block that only the lower objective depends on, such as sample weights.
            below = stage.levels[number + 1] if number + 1 < len(stage.levels) else None
            responding = below if below and solvers[index][number].responds else None
            _check_idle(document, scope, level, responding, places[number])
        for upper, lower in pairwise(range(len(stage.levels))):
            _check_data(document, stage, upper, places)
            remarks += _check_coupling(document, scope, stage, (upper, lower), solvers[index][upper], places)
        remarks += _dropped(document, index, stage)
    return remarks


def check_solvers(document: Document, index: int, stage: Stage, solvers: Sequence[type[Solver]]) -> None:
    """Check that the solvers of a stage take as many levels as they get.

    Raises:
        SpecError: one doesn't, or the last level has one.
    """
    places = [level_place(document, index, number) for number in range(len(stage.levels))]
    last = len(stage.levels) - 1
    if last and stage.levels[last].solver is not None:
        raise document.error("spec.unused-solver", *places[last], "solver")
    for number, solver in enumerate(solvers):
        if solver.levels == min(len(stage.levels), 2):
            continue
        own = number and stage.levels[number].solver is not None
        place = (*places[number], "solver") if own else ("stages", index, "solver")
        expected = "`upper` and `lower` levels" if solver.levels == 2 else "one level: blocks, objective, data"
        own_solver = stage.levels[number].solver if own else None
        name = own_solver.component if own_solver else stage.solver
        raise document.error("spec.solver-levels", *place, solver=name, expected=expected)


def _dropped(document: Document, index: int, stage: Stage) -> list[str]:
    """Say which terms of the gradient three levels and more leave out."""
    if len(stage.levels) < 3:
        return []
    return [
        f"{document.at('stages', index)}: each level is differentiated through the next one only; how the levels below "
        "that one would follow is left out of its gradient"
    ]


def _check_names(document: Document, scope: Scope, level: Level, place: Place) -> None:
    for position, block in enumerate(level.blocks):
        _check_known(document, block, scope.blocks, "block", *place, "blocks", position)
    for name in weights_of(level.objective):
        keys = () if isinstance(level.objective, str) else (name,)
        _check_known(document, name, scope.objectives, "objective", *place, "objective", *keys)
    for position, split in enumerate(level.splits):
        at = (*place, "data") if isinstance(level.data, str) else (*place, "data", position)
        _check_known(document, split, scope.splits, "split", *at)
        if split == HOLDOUT:
            raise document.error("spec.holdout-trains", *at)


def _check_renewed(document: Document, scope: Scope, stage: Stage, level: Level, place: Place) -> None:
    """Variables made from a batch belong to a lower level, and the upper one judges them on that same batch."""
    renewed = [block for block in level.blocks if block in scope.renewed]
    if renewed and level.restart != "batch":
        raise document.error("spec.renewed-block", *place, "blocks", block=renewed[0])
    if level.restart != "batch":
        return
    kept = [block for block in level.blocks if block not in scope.renewed]
    if kept:
        raise document.error("spec.not-renewed", *place, "restart", block=kept[0])
    if not stage.share_batch or level.accumulate > 1:
        raise document.error("spec.renewed-share-batch", *place, "restart")


def _check_known(document: Document, name: str, known: Iterable[str], kind: str, *place: str | int) -> None:
    names = list(known)
    if name not in names:
        mend = nearest(name, names)
        raise document.error("spec.unknown-name", *place, kind=kind, name=name, known=", ".join(names), mend=mend)


def _check_idle(document: Document, scope: Scope, level: Level, responding: Level | None, place: Place) -> None:
    reached = scope.reach(level)
    if responding and not reached.issuperset(level.blocks):
        reached |= scope.reach(responding)
    idle = [block for block in level.blocks if block not in reached]
    if idle:
        raise document.error("spec.idle-block", *place, "blocks", block=idle[0])


def _check_blocks(document: Document, stage: Stage, places: Sequence[Place]) -> None:
    for number, level in enumerate(stage.levels):
        above = {block for other in stage.levels[:number] for block in other.blocks}
        shared = [block for block in level.blocks if block in above]
        if shared:
            raise document.error("spec.block-in-two-levels", *places[number][:2], block=shared[0])


def _check_data(document: Document, stage: Stage, number: int, places: Sequence[Place]) -> None:
    upper, lower, place = stage.levels[number], stage.levels[number + 1], places[0][:2]
    if not stage.share_batch:
        if upper.data == lower.data:
            raise document.error("spec.levels-share-data", *places[number], "data", split=upper.splits[0])
        return
    if upper.data != lower.data:
        raise document.error("spec.share-splits", *place, "share_batch")
    if upper.accumulate != lower.accumulate:
        facts: dict[str, Any] = {"upper": upper.accumulate, "lower": lower.accumulate}
        raise document.error("spec.share-accumulate", *place, "share_batch", **facts)
    if lower.batches == "fresh" and lower.steps > 1:
        raise document.error("spec.share-fresh", *places[number + 1])


def _check_coupling(
    document: Document,
    scope: Scope,
    stage: Stage,
    pair: tuple[int, int],
    solver: type[Solver],
    places: Sequence[Place],
) -> list[str]:
    """Require that each level's objective depends on the other's blocks, where the solver computes a response."""
    names = LEVEL_NAMES if len(stage.levels) == 2 else [f"level {number + 1}" for number in range(len(stage.levels))]
    own = stage.levels[pair[0]].solver
    name = own.component if own else stage.solver
    for number, other in ((pair[1], pair[0]), (pair[0], pair[1])):
        if scope.reach(stage.levels[number]).intersection(stage.levels[other].blocks):
            continue
        blocks = ", ".join(stage.levels[other].blocks)
        if solver.responds:
            facts = {"level": names[number], "other": names[other], "blocks": blocks, "solver": name}
            raise document.error("spec.dead-response", *places[number], "objective", **facts)
        return [
            f"{document.at(*places[0][:2])}: the {names[number]} objective depends on none of the {names[other]} "
            f"blocks ({blocks}), so there is no response term; {name!r} doesn't need one"
        ]
    return []
