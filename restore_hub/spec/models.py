"""The spec language as strict pydantic models. Keys that a model does not name are options of the component."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

CHAIN = "chain"  # the exported chain is the file chain.onnx, beside <block>.onnx


def _distinct(names: list[str]) -> list[str]:
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise ValueError(f"{twice[0]!r} is named twice; name it once")
    return names


def _not_reserved(name: str) -> str:
    if name.lower() == CHAIN:  # some file systems do not tell upper case from lower case
        raise ValueError(f"no block is called {name!r}, since {CHAIN}.onnx is the exported chain; choose another name")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]
BlockName = Annotated[Name, AfterValidator(_not_reserved)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Distinct = Annotated[list[str], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
Blocks = Annotated[Distinct, Field(min_length=1)]
Weights = str | Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)]
Optimizer = Literal["adam", "sgd"]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bf16"]
Warmup = Annotated[int, Field(ge=0)]


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

    dataset: str = Field(description="name of the dataset component")
    batch_size: Count = Field(default=1, description="samples in a batch; the holdout is measured picture by picture")
    source: str | None = Field(
        default=None, description="where the files come from and their licence, for the card of what is trained"
    )
    strict: bool = Field(
        default=False, description="end the run at a file that cannot be read, instead of leaving its sample out"
    )


class Block(WithOptions):
    """One network in the chain."""

    network: str = Field(description="name of the network component")
    inputs: dict[str, str] = Field(description="the network's input ports, each with the tensor that it reads")
    outputs: Annotated[list[str], Field(min_length=1)] = Field(
        description="names for the tensors that the network makes, in the order of its output ports"
    )
    weights: str | None = Field(
        default=None, description="file of weights to start from: a checkpoint of a run, or a published one"
    )


class Objective(WithOptions):
    """One loss over named tensors."""

    loss: str = Field(description="name of the loss component")
    inputs: dict[str, str] = Field(description="the loss's arguments, each with the tensor that it reads")


class MetricUse(WithOptions):
    """One metric over named tensors."""

    metric: str = Field(description="name of the metric component")
    inputs: dict[str, str] = Field(
        default_factory=dict,
        description="the metric's arguments, each with its tensor; empty compares `export.chain` with `data.rgb`",
    )


class TrackerUse(WithOptions):
    """Where the run is recorded."""

    tracker: str = Field(description="name of the tracker component")


class ProblemUse(WithOptions):
    """A problem that brings its own variables, energies and data."""

    problem: str = Field(description="name of the problem component")


class Level(Strict):
    """Blocks that step together on an objective: a name, or names with weights.

    In a spec with `problem` the names are those of the problem's groups of variables, energies and splits.
    """

    blocks: Blocks = Field(description="blocks that train here, each named once")
    objective: Weights = Field(description="name of an objective, or several with finite weights: their weighted sum")
    data: str = Field(description="split that the batches come from; never `holdout`")
    lr: Positive = Field(default=1e-4, description="learning rate")
    optimizer: Optimizer = Field(default="adam", description="how the blocks step")
    clip: Positive | None = Field(default=None, description="largest norm of the gradient")
    warmup: Warmup = Field(default=0, description="outer steps over which `lr` is reached")
    schedule: Schedule = Field(default="constant", description="how the learning rate falls over the stage")
    accumulate: Count = Field(default=1, description="batches of the split that make up one, run one at a time")


class LowerLevel(Level):
    """The lower level: `steps` for each upper step, on fresh batches or all on one."""

    steps: Count = Field(default=1, description="lower steps for each upper step")
    batches: Literal["fresh", "one"] = Field(
        default="fresh", description="`fresh`: a new batch for each lower step; `one`: the same batch for all of them"
    )
    restart: Literal["warm", "cold"] = Field(
        default="warm",
        description="where the lower steps of an outer step begin: `warm`: where the last ended; `cold`: at the "
        "stage's start",
    )


class Stage(WithOptions):
    """One solver for a number of outer steps or minutes: either one level written flat, or `upper` and `lower`."""

    solver: str = Field(description="name of the solver component")
    steps: Count | None = Field(default=None, description="outer steps; either this or `minutes`")
    minutes: Positive | None = Field(default=None, description="minutes of wall clock; either this or `steps`")
    patience: Count | None = Field(
        default=None, description="measurements without a better first metric after which the stage ends"
    )
    share_batch: bool = Field(
        default=False, description="one batch for both levels, on purpose; only beside `upper` and `lower`"
    )
    upper: Level | None = Field(default=None, description="the upper level of a bilevel stage")
    lower: LowerLevel | None = Field(default=None, description="the lower level of a bilevel stage")
    blocks: Blocks | None = Field(default=None, description="flat stage: blocks that train here, each named once")
    objective: Weights | None = Field(
        default=None, description="flat stage: name of an objective, or several with finite weights"
    )
    data: str | None = Field(default=None, description="flat stage: split that the batches come from")
    lr: Positive = Field(default=1e-4, description="flat stage: learning rate")
    optimizer: Optimizer = Field(default="adam", description="flat stage: how the blocks step")
    clip: Positive | None = Field(default=None, description="flat stage: largest norm of the gradient")
    warmup: Warmup = Field(default=0, description="flat stage: outer steps over which `lr` is reached")
    schedule: Schedule = Field(default="constant", description="flat stage: how the learning rate falls")
    accumulate: Count = Field(default=1, description="flat stage: batches of the split that make up one")

    @model_validator(mode="after")
    def _one_form(self) -> Stage:
        given = [key for key in Level.model_fields if key in self.model_fields_set and getattr(self, key) is not None]
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either `steps` or `minutes`")
        if self.upper is None and self.lower is None:
            missing = [key for key in ("blocks", "objective", "data") if key not in given]
            if missing:
                raise ValueError(f"a stage of one level needs {', '.join(missing)} (or give `upper` and `lower`)")
            if self.share_batch:
                raise ValueError("`share_batch` needs `upper` and `lower`; a stage of one level has nothing to share")
        elif self.upper is None or self.lower is None:
            raise ValueError("give both `upper` and `lower`, or neither")
        elif given:
            raise ValueError(f"{', '.join(given)} belongs inside `upper` or `lower`")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, values_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the flat form's keys out of a bilevel stage, so that what is written can be read again."""
        values: dict[str, Any] = values_of(self)
        return {key: value for key, value in values.items() if self.upper is None or key not in Level.model_fields}

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
                clip=self.clip,
                warmup=self.warmup,
                schedule=self.schedule,
                accumulate=self.accumulate,
            )
        ]


class Export(Strict):
    """What becomes ONNX: single blocks, and the chain that ends in a named tensor; the licence is written into them.

    The weights `last` are those at the end, `best` those with the best first metric on the holdout split, whose
    metrics then flatter.
    """

    blocks: Distinct = Field(default_factory=list, description="blocks that become `<block>.onnx`, each named once")
    chain: str | None = Field(default=None, description="tensor that the exported `chain.onnx` ends in")
    licence: str | None = Field(default=None, description="licence to write into the files")
    about: str | None = Field(default=None, description="what the chain is for, for its card")
    limits: str | None = Field(default=None, description="what it is not for, or does badly, for its card")
    weights: Literal["last", "best"] = Field(
        default="last",
        description="`last`: the weights at the end; `best`: those with the best first metric on `holdout`, whose "
        "metrics then flatter",
    )


CHAIN_KEYS = ("data", "blocks", "objectives")


class Spec(Strict):
    """A whole pipeline. docs/spec.md describes the language."""

    model_config = ConfigDict(
        **Strict.model_config,
        json_schema_extra={"oneOf": [{"required": ["blocks"]}, {"required": ["problem"]}]},
    )

    spec: Literal[1] = Field(default=1, description="version of the spec language")
    name: Name = Field(description="name of the pipeline")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="seed of all randomness of the run")
    plugins: list[str] = Field(default_factory=list, description="plugins that must be loaded, by name")
    problem: ProblemUse | None = Field(
        default=None, description="a problem that is no chain of blocks, instead of `data`, `blocks` and `objectives`"
    )
    data: dict[Name, Split] = Field(
        default_factory=dict, description="the splits by name; `holdout` is reserved for measuring"
    )
    blocks: dict[BlockName, Block] = Field(
        default_factory=dict, description="the networks by name; `chain` is reserved"
    )
    objectives: dict[Name, Objective] = Field(default_factory=dict, description="the losses by name")
    stages: list[Stage] = Field(
        default_factory=list, description="what trains, one after another; none where every block has its `weights`"
    )
    precision: Precision = Field(
        default="float32",
        description="of the networks while they train; `bf16`: autocast to bfloat16, with weights, losses and finite "
        "differences in float32",
    )
    metrics: Distinct | dict[Name, MetricUse] = Field(
        default_factory=list,
        description="metrics on `holdout`: a list compares `export.chain` with `data.rgb`, a mapping names the "
        "tensors; with `problem` a list of the problem's own",
    )
    validate_every: Count | None = Field(
        default=None, description="outer steps between measurements; each stage's end is always measured"
    )
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        default=60.0, description="seconds between checkpoints that `--resume` goes on from; 0: after every step"
    )
    export: Export = Field(default_factory=Export, description="what becomes ONNX")
    tracker: TrackerUse | None = Field(default=None, description="where the run is recorded besides its folder")

    @model_validator(mode="after")
    def _chain_or_problem(self) -> Spec:
        given = [key for key in CHAIN_KEYS if key in self.model_fields_set]
        if self.problem is None:
            missing = [key for key in CHAIN_KEYS if not getattr(self, key) and (self.stages or key == "blocks")]
            if missing:
                raise ValueError(f"needs the key `{missing[0]}` (or `problem`, in place of {', '.join(CHAIN_KEYS)})")
            return self
        if given:
            raise ValueError(f"`problem` brings its own data, blocks and objectives; leave `{given[0]}` out")
        if self.export.blocks or self.export.chain is not None:
            raise ValueError("a problem has no chain to export; leave `export` out")
        if not isinstance(self.metrics, list):
            raise ValueError("with `problem`, `metrics` is a list of the problem's own names")
        return self

    @model_validator(mode="after")
    def _patience_needs_measurements(self) -> Spec:
        if any(stage.patience for stage in self.stages) and not (self.metrics and self.validate_every):
            raise ValueError("`patience` of a stage needs `metrics` and `validate_every`")
        return self


def weights_of(objective: Weights) -> dict[str, float]:
    """Return an objective as names with weights; a bare name has weight 1."""
    return {objective: 1.0} if isinstance(objective, str) else dict(objective)
