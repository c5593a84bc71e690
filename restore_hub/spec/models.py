"""The spec language as strict pydantic models. Keys that a model does not name are options of the component."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Weights = str | dict[str, float]


class Strict(BaseModel):
    """Refuses unknown keys and converts nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WithOptions(BaseModel):
    """A component by name, with its options beside the keys that the spec language reserves."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the component: all keys that the language does not reserve."""
        return dict(self.model_extra or {})


class Split(WithOptions):
    """One split of the data."""

    dataset: str
    batch_size: Count = 1


class Block(WithOptions):
    """One network in the chain; `weights` is a file of published or earlier weights."""

    network: str
    inputs: dict[str, str]
    outputs: Annotated[list[str], Field(min_length=1)]
    weights: str | None = None


class Objective(WithOptions):
    """One loss over named tensors."""

    loss: str
    inputs: dict[str, str]


class MetricUse(WithOptions):
    """One metric over named tensors."""

    metric: str
    inputs: dict[str, str] = Field(default_factory=dict)


class TrackerUse(WithOptions):
    """Where the run is recorded."""

    tracker: str


class Level(Strict):
    """Blocks that step together on an objective: a name, or names with weights."""

    blocks: Annotated[list[str], Field(min_length=1)]
    objective: Weights
    data: str
    lr: Positive = 1e-4
    optimizer: Literal["adam", "sgd"] = "adam"


class LowerLevel(Level):
    """The lower level: `steps` for each upper step, on fresh batches or all on one."""

    steps: Count = 1
    batches: Literal["fresh", "one"] = "fresh"


class Stage(WithOptions):
    """One solver for a number of outer steps or minutes: either one level written flat, or `upper` and `lower`."""

    solver: str
    steps: Count | None = None
    minutes: Positive | None = None
    share_batch: bool = False
    upper: Level | None = None
    lower: LowerLevel | None = None
    blocks: list[str] | None = None
    objective: Weights | None = None
    data: str | None = None
    lr: Positive = 1e-4
    optimizer: Literal["adam", "sgd"] = "adam"

    @model_validator(mode="after")
    def _one_form(self) -> Stage:
        flat = [key for key in ("blocks", "objective", "data") if getattr(self, key) is not None]
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either `steps` or `minutes`")
        if self.upper is None and self.lower is None:
            missing = [key for key in ("blocks", "objective", "data") if key not in flat]
            if missing:
                raise ValueError(f"a stage of one level needs {', '.join(missing)} (or give `upper` and `lower`)")
        elif self.upper is None or self.lower is None:
            raise ValueError("give both `upper` and `lower`, or neither")
        elif flat:
            raise ValueError(f"{', '.join(flat)} belongs inside `upper` or `lower`")
        return self

    @property
    def levels(self) -> list[Level]:
        """The levels, upper first; a stage written flat has one."""
        if self.upper is not None and self.lower is not None:
            return [self.upper, self.lower]
        assert self.blocks is not None
        assert self.objective is not None
        assert self.data is not None
        return [
            Level(
                blocks=self.blocks,
                objective=self.objective,
                data=self.data,
                lr=self.lr,
                optimizer=self.optimizer,
            )
        ]


class Export(Strict):
    """What becomes ONNX: single blocks, and the chain that ends in a named tensor; the licence is written into them."""

    blocks: list[str] = Field(default_factory=list)
    chain: str | None = None
    licence: str | None = None


class Spec(Strict):
    """A whole pipeline. See the documentation of the spec language in README.md."""

    spec: Literal[1] = 1
    name: Name
    seed: Annotated[int, Field(ge=0)] = 0
    plugins: list[str] = Field(default_factory=list)
    data: dict[Name, Split]
    blocks: dict[Name, Block]
    objectives: dict[Name, Objective]
    stages: Annotated[list[Stage], Field(min_length=1)]
    metrics: list[str] | dict[Name, MetricUse] = Field(default_factory=list)
    validate_every: Count | None = None
    export: Export = Field(default_factory=Export)
    tracker: TrackerUse | None = None


def weights_of(objective: Weights) -> dict[str, float]:
    """Return an objective as names with weights; a bare name has weight 1."""
    return {objective: 1.0} if isinstance(objective, str) else dict(objective)
