"""The rules of stages and their levels: what a hypergradient needs in order to exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from restore_hub.contracts import Solver
from restore_hub.errors import nearest
from restore_hub.spec.models import Level, Spec, Stage, weights_of
from restore_hub.spec.reader import Document

HOLDOUT = "holdout"
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the levels of a spec may name.

    Attributes:
        blocks, objectives, splits: the names.
        reach: returns the blocks of these that a level's objective depends on.
    """

    blocks: Collection[str]
    objectives: Collection[str]
    splits: Collection[str]
    reach: Callable[[Level], frozenset[str]]


def check_stages(document: Document, spec: Spec, scope: Scope, solvers: Mapping[int, type[Solver]]) -> list[str]:
    """Check every stage against its solver (by stage index); return remarks that a person should read.

    Raises:
        SpecError: an unknown name, a block in two levels, levels that share data by accident, training on the
            holdout split, or an energy without the dependence that the solver's response needs.
    """
    remarks: list[str] = []
    for index, stage in enumerate(spec.stages):
        place: Place = ("stages", index)
        solver = solvers[index]
        if len(stage.levels) != solver.levels:
            expected = "`upper` and `lower` levels" if solver.levels == 2 else "one level: blocks, objective, data"
            raise document.error("spec.solver-levels", *place, "solver", solver=stage.solver, expected=expected)
        places = [(*place, *keys) for keys in stage.level_keys]
        for level, level_place in zip(stage.levels, places, strict=True):
            _check_names(document, scope, level, level_place)
        for number, level in enumerate(stage.levels):
            # The response trains an upper block that only the lower objective depends on, such as sample weights.
            responding = stage.levels[number + 1] if solver.responds and number + 1 < len(stage.levels) else None
            _check_idle(document, scope, level, responding, places[number])
        if len(stage.levels) == 2:
            _check_data(document, stage, place)
            remarks += _check_coupling(document, scope, stage, solver, place)
    return remarks


def _check_names(document: Document, scope: Scope, level: Level, place: Place) -> None:
    for position, block in enumerate(level.blocks):
        _check_known(document, block, scope.blocks, "block", *place, "blocks", position)
    for name in weights_of(level.objective):
        keys = () if isinstance(level.objective, str) else (name,)
        _check_known(document, name, scope.objectives, "objective", *place, "objective", *keys)
    _check_known(document, level.data, scope.splits, "split", *place, "data")
    if level.data == HOLDOUT:
        raise document.error("spec.holdout-trains", *place, "data")


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


def _check_data(document: Document, stage: Stage, place: Place) -> None:
    upper, lower = stage.levels
    shared = [block for block in upper.blocks if block in lower.blocks]
    if shared:
        raise document.error("spec.block-in-both-levels", *place, block=shared[0])
    if not stage.share_batch:
        if upper.data == lower.data:
            raise document.error("spec.levels-share-data", *place, "upper", "data", split=upper.data)
        return
    if upper.data != lower.data:
        raise document.error("spec.share-splits", *place, "share_batch")
    if upper.accumulate != lower.accumulate:
        facts: dict[str, Any] = {"upper": upper.accumulate, "lower": lower.accumulate}
        raise document.error("spec.share-accumulate", *place, "share_batch", **facts)
    if lower.batches == "fresh" and lower.steps > 1:
        raise document.error("spec.share-fresh", *place, "lower")


def _check_coupling(document: Document, scope: Scope, stage: Stage, solver: type[Solver], place: Place) -> list[str]:
    """Require that each level's objective depends on the other's blocks, where the solver computes a response."""
    upper, lower = stage.levels
    for name, level, other_name, other in (("lower", lower, "upper", upper), ("upper", upper, "lower", lower)):
        if scope.reach(level).intersection(other.blocks):
            continue
        blocks = ", ".join(other.blocks)
        if solver.responds:
            facts = {"level": name, "other": other_name, "blocks": blocks, "solver": stage.solver}
            raise document.error("spec.dead-response", *place, name, "objective", **facts)
        return [
            f"{document.at(*place)}: the {name} objective depends on none of the {other_name} blocks ({blocks}), "
            f"so there is no response term; {stage.solver!r} doesn't need one"
        ]
    return []
