"""The rules of bilevel stages: what a hypergradient needs in order to exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from restore_hub.contracts import Solver
from restore_hub.errors import SpecError, did_you_mean
from restore_hub.spec.models import Level, Spec, Stage, weights_of
from restore_hub.spec.reader import Document

HOLDOUT = "holdout"


@dataclass(frozen=True, slots=True)
class Ground:
    """What the levels of a spec may name.

    Attributes:
        blocks, objectives, splits: the names.
        reach: the blocks that a level's objective depends on, of those above.
    """

    blocks: Collection[str]
    objectives: Collection[str]
    splits: Collection[str]
    reach: Callable[[Level], frozenset[str]]


def check_stages(document: Document, spec: Spec, ground: Ground, solvers: Mapping[int, type[Solver]]) -> list[str]:
    """Check every stage against its solver (by stage index); return remarks that a person should read.

    Raises:
        SpecError: a dangling name, a block in two levels, levels that share data unasked, training on the
            holdout split, or an energy without the dependence that the solver's response needs.
    """
    remarks: list[str] = []
    for index, stage in enumerate(spec.stages):
        place = ("stages", index)
        solver = solvers[index]
        if len(stage.levels) != solver.levels:
            wanted = "`upper` and `lower` levels" if solver.levels == 2 else "one level: blocks, objective, data"
            raise document.error(f"the solver {stage.solver!r} takes {wanted}", *place, "solver")
        keys = [(*place, "upper"), (*place, "lower")] if stage.upper else [place]
        for level, level_place in zip(stage.levels, keys, strict=True):
            _check_names(document, ground, level, level_place)
        for level, level_place in zip(stage.levels, keys, strict=True):
            # The response trains an upper block that only the lower objective depends on, such as sample weights.
            answering = stage.lower if solver.responds and level is stage.upper else None
            _check_idle(document, ground, level, answering, level_place)
        if stage.upper and stage.lower:
            remarks += _check_coupling(document, ground, stage, solver, place)
    return remarks


def _check_names(document: Document, ground: Ground, level: Level, place: tuple[str | int, ...]) -> None:
    for position, block in enumerate(level.blocks):
        _known(document, block, ground.blocks, "block", *place, "blocks", position)
    for name in weights_of(level.objective):
        where = (*place, "objective") if isinstance(level.objective, str) else (*place, "objective", name)
        _known(document, name, ground.objectives, "objective", *where)
    _known(document, level.data, ground.splits, "split", *place, "data")
    if level.data == HOLDOUT:
        raise document.error("the holdout split measures and never trains; name another split", *place, "data")


def _check_idle(
    document: Document, ground: Ground, level: Level, answering: Level | None, place: tuple[str | int, ...]
) -> None:
    reached = ground.reach(level)
    if answering and not reached.issuperset(level.blocks):
        reached |= ground.reach(answering)
    idle = [block for block in level.blocks if block not in reached]
    if idle:
        raise document.error(
            f"the objective does not depend on block {idle[0]!r}, so nothing would train it", *place, "blocks"
        )


def _check_coupling(
    document: Document,
    ground: Ground,
    stage: Stage,
    solver: type[Solver],
    place: tuple[str | int, ...],
) -> list[str]:
    assert stage.upper is not None
    assert stage.lower is not None
    upper, lower = stage.upper, stage.lower
    both = [block for block in upper.blocks if block in lower.blocks]
    if both:
        raise document.error(f"block {both[0]!r} is in both levels; each block belongs to one", *place)
    if upper.data == lower.data and not stage.share_batch:
        raise document.error(
            f"both levels train on the split {upper.data!r}; give them different ones, or set `share_batch: true` "
            "to use one batch at both levels on purpose",
            *place,
            "upper",
            "data",
        )
    if stage.share_batch and upper.data != lower.data:
        raise document.error("`share_batch` needs the same split at both levels", *place, "share_batch")
    if stage.share_batch and upper.accumulate != lower.accumulate:
        raise document.error(
            f"`share_batch` needs the same `accumulate` at both levels, not {upper.accumulate} and {lower.accumulate}",
            *place,
            "share_batch",
        )
    if stage.share_batch and lower.batches == "fresh" and lower.steps > 1:
        raise document.error("`share_batch` means one batch for the whole step; add `batches: one`", *place, "lower")
    lower_sees_upper = bool(ground.reach(lower) & set(upper.blocks))
    upper_sees_lower = bool(ground.reach(upper) & set(lower.blocks))
    missing = (
        f"the lower objective depends on none of the upper blocks ({', '.join(upper.blocks)})"
        if not lower_sees_upper
        else f"the upper objective depends on none of the lower blocks ({', '.join(lower.blocks)})"
        if not upper_sees_lower
        else ""
    )
    if missing and solver.responds:
        raise document.error(
            f"{missing}, so the lower level's response to the upper one is zero and {stage.solver!r} has nothing "
            "to compute; change the objective, or use the solver `alternating`",
            *place,
            "upper" if lower_sees_upper else "lower",
            "objective",
        )
    if missing:
        return [f"{document.at(*place)}: {missing}: no response term exists; {stage.solver!r} loses nothing by that"]
    return []


def _known(document: Document, name: str, known: Iterable[str], what: str, *place: str | int) -> None:
    names = list(known)
    if name not in names:
        hint = did_you_mean(name, names) or f"; known: {', '.join(names)}"
        error: SpecError = document.error(f"unknown {what} {name!r}{hint}", *place)
        raise error
