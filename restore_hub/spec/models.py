"""The spec language as strict pydantic models. Keys that a model does not name are options of the component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from restore_hub.errors import nearest
from restore_hub.nested import Nested, WithOptions, nested_model
from restore_hub.spec.inputs import Inputs, ReadsInputs

CHAIN = "chain"  # the exported chain is the file chain.onnx, beside <block>.onnx
AT = "at"  # the key of a finding's context that holds where in the value it is
LEVEL_NAMES: tuple[Literal["upper", "lower"], ...] = ("upper", "lower")


def _refusal(code: str, *keys: str | int, **facts: Any) -> PydanticCustomError:
    """Return what makes pydantic report the finding `code`, a row of the table of messages, at a key of the value."""
    return PydanticCustomError(code, code, {**facts, AT: keys})


def _distinct(names: list[str]) -> list[str]:
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise _refusal("spec.named-twice", len(names) - 1 - names[::-1].index(twice[0]), name=twice[0])
    return names


def _not_reserved(name: str) -> str:
    if name.lower() == CHAIN:  # some file systems don't distinguish upper and lower case
        raise _refusal("spec.reserved-block", name=name)
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]
BlockName = Annotated[Name, AfterValidator(_not_reserved)]
MetricName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_./-]*$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Distinct = Annotated[list[str], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
Names = Annotated[Distinct, Field(min_length=1)]
Weights = str | Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)]
Optimizer = Literal["adam", "adamw", "sgd"]
Unit = Annotated[float, Field(ge=0, lt=1)]
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["float32", "bf16"]
Warmup = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Refuses unknown keys and converts nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Split(WithOptions):
    """One split of the data."""

    dataset: str = Field(description="name of the dataset component")
    batch_size: Count = Field(default=1, description="samples in a batch; the holdout is measured picture by picture")
    source: str | None = Field(
        default=None, description="where the files come from and their licence, for the card of what is trained"
    )
    strict: bool = Field(
        default=False, description="end the run at a file that can't be read, instead of leaving its sample out"
    )


class Block(ReadsInputs, WithOptions):
    """One network in the chain."""

    network: str = Field(description="name of the network component")
    inputs: Inputs = Field(
        description="the network's input ports, each with the tensor that it reads; a number, such as a noise "
        "level, can be written here itself, or left out where its port has a default"
    )
    outputs: Annotated[list[str], Field(min_length=1)] = Field(
        description="names for the tensors that the network makes, in the order of its output ports"
    )
    weights: str | None = Field(
        default=None, description="file of weights to start from: a checkpoint of a run, or a published one"
    )


class TaskUse(ReadsInputs, WithOptions):
    """A network with its own losses and metrics: the block `detect` brings the objectives `detect.<loss>`."""

    task: str = Field(description="name of the task component")
    inputs: Inputs = Field(
        description="the network's input ports, each with the tensor that it reads, or a number, as for any block"
    )
    targets: dict[str, str] = Field(
        default_factory=dict, description="the task's targets, each with the tensor that holds it"
    )
    outputs: list[str] = Field(
        default_factory=list,
        description="names for the network's first output ports; the others are called `<block>.<port>`",
    )
    weights: str | None = Field(default=None, description="file of weights to start from, as for any block")


def _block_or_task(entry: Any) -> str:
    # The tags show up in pydantic's places of errors; as keys of a spec they'd be mistaken for a part of it.
    return "a task" if isinstance(entry, TaskUse) or (isinstance(entry, dict) and "task" in entry) else "a block"


BlockOrTask: TypeAlias = Annotated[
    Annotated[Block, Tag("a block")] | Annotated[TaskUse, Tag("a task")], Discriminator(_block_or_task)
]


class Objective(WithOptions):
    """One loss over named tensors."""

    loss: str = Field(description="name of the loss component")
    inputs: dict[str, str] = Field(description="the loss's arguments, each with the tensor that it reads")


class MetricUse(WithOptions):
    """One metric over named tensors."""

    metric: str = Field(description="name of the metric component, or `<block>.<metric>` of a task")
    inputs: dict[str, str] = Field(
        default_factory=dict,
        description="the metric's arguments, each with its tensor; empty compares `export.chain` with `data.rgb`, or "
        "means what the task wires",
    )


class TrackerUse(WithOptions):
    """Where the run is recorded."""

    tracker: str = Field(description="name of the tracker component")


class ProblemUse(WithOptions):
    """A problem that brings its own variables, energies and data."""

    problem: str = Field(description="name of the problem component")


class OptimizerUse(Strict):
    """An optimizer with options of its own; PyTorch's defaults where there are none."""

    optimizer: Optimizer = Field(description="its kind")
    betas: Annotated[list[Unit], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="`adam`, `adamw`: how slowly the means of the gradient and its square change"
    )
    momentum: Unit | None = Field(default=None, description="`sgd`: how much of the last step is added to the next")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="how strongly the weights are pulled to zero"
    )

    @model_validator(mode="after")
    def _options_fit(self) -> OptimizerUse:
        for key, kinds in {"betas": ("adam", "adamw"), "momentum": ("sgd",)}.items():
            if getattr(self, key) is not None and self.optimizer not in kinds:
                raise _refusal("spec.optimizer-option", key, optimizer=self.optimizer, option=key)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What is given, by the names of PyTorch's arguments."""
        return self.model_dump(exclude={"optimizer"}, exclude_none=True)


if TYPE_CHECKING:
    NestedSolver = Nested
else:
    NestedSolver = nested_model("solver")


class TopLevel(Strict):
    """Blocks that step together on an objective: a name, or names with weights.

    In a spec with `problem` the names are those of the problem's groups of variables, energies and splits.
    """

    blocks: Names = Field(description="blocks that train here, each named once")
    objective: Weights = Field(description="name of an objective, or several with finite weights: their weighted sum")
    data: str | Names = Field(
        description="split that the batches come from, never `holdout`; where there is one level, it may be several: "
        "a batch then has a part from each, and an objective is taken over the parts that have what it reads"
    )
    lr: Positive = Field(default=1e-4, description="learning rate")
    optimizer: Optimizer | OptimizerUse = Field(
        default="adam", description="how the blocks step: a kind of optimizer, or one with options"
    )
    clip: Positive | None = Field(default=None, description="largest norm of the gradient")
    warmup: Warmup = Field(default=0, description="outer steps over which `lr` is reached")
    schedule: Schedule = Field(default="constant", description="how the learning rate falls over the stage")
    accumulate: Count = Field(default=1, description="batches of the split that make up one, run one at a time")

    @property
    def splits(self) -> list[str]:
        """The splits that the batches come from."""
        return [self.data] if isinstance(self.data, str) else self.data


class Level(TopLevel):
    """A level below another: `steps` for each step of that one, on fresh batches or all on one."""

    steps: Count = Field(default=1, description="lower steps for each upper step")
    batches: Literal["fresh", "one"] = Field(
        default="fresh", description="`fresh`: a new batch for each lower step; `one`: the same batch for all of them"
    )
    restart: Literal["warm", "cold", "batch"] = Field(
        default="warm",
        description="where the lower steps of an outer step begin: `warm`: where the last ended; `cold`: at the "
        "stage's start; `batch`: at values that the problem makes from each batch",
    )
    solver: NestedSolver | None = Field(
        default=None,
        description="how this level is differentiated through the one below it, where it has one: a solver, or one "
        "with options; the stage's solver by default",
    )


FLAT_KEYS = tuple(TopLevel.model_fields)
LOWER_KEYS = tuple(key for key in Level.model_fields if key not in FLAT_KEYS)


class Stage(WithOptions):
    """One solver for a number of outer steps or minutes.

    It has one level, written flat, two of them as `upper` and `lower`, or any number as a list `levels`.
    """

    solver: str = Field(description="name of the solver component")
    steps: Count | None = Field(default=None, description="outer steps; either this or `minutes`")
    minutes: Positive | None = Field(default=None, description="minutes of wall clock; either this or `steps`")
    patience: Count | None = Field(
        default=None, description="measurements without a better first metric after which the stage ends"
    )
    share_batch: bool = Field(default=False, description="one batch for both levels, on purpose; only with two levels")
    levels: Annotated[list[Level], Field(min_length=1)] = Field(
        description="the levels, the uppermost first; each is differentiated through the next one"
    )  # `restore_hub.spec.stages` makes them of the other written forms

    @property
    def lower_steps(self) -> list[int]:
        """Return the steps of each level below the first for each step of the one above; [1] without any."""
        return [level.steps for level in self.levels[1:]] or [1]

    @classmethod
    def reserved_keys(cls) -> tuple[str, ...]:
        """Return the keys that a person may write."""
        return (*cls.model_fields, *LEVEL_NAMES, *FLAT_KEYS)

    @model_validator(mode="after")
    def _has_a_length(self) -> Stage:
        if (self.steps is None) == (self.minutes is None):
            misspelt = [near for key in self.options if (near := nearest(key, ("steps", "minutes")))]
            raise _refusal("spec.stage-length", mend=misspelt[0] if misspelt else "")
        if self.share_batch and len(self.levels) != 2:
            raise _refusal("spec.share-two-levels", "share_batch")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, values_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = values_of(self)
        levels = values.pop("levels")
        if len(levels) > 2:
            return values | {"levels": [{k: v for k, v in levels[0].items() if k in FLAT_KEYS}, *levels[1:]]}
        top = {key: value for key, value in levels[0].items() if key in FLAT_KEYS}
        return values | (top if len(levels) == 1 else dict(zip(LEVEL_NAMES, [top, *levels[1:]], strict=True)))


class Export(Strict):
    """What becomes ONNX: single blocks, and the chain that ends in a named tensor; the licence is written into them.

    The weights `last` are those at the end, `best` those with the best first metric on the holdout split, so its
    metrics are optimistic.
    """

    blocks: Distinct = Field(default_factory=list, description="blocks that become `<block>.onnx`, each named once")
    chain: str | None = Field(default=None, description="tensor that the exported `chain.onnx` ends in")
    licence: str | None = Field(default=None, description="licence to write into the files")
    about: str | None = Field(default=None, description="what the chain is for, for its card")
    limits: str | None = Field(default=None, description="what it is not for, or does badly, for its card")
    weights: Literal["last", "best"] = Field(
        default="last",
        description="`last`: the weights at the end; `best`: those with the best first metric on `holdout`, so that "
        "its metrics are optimistic",
    )


CHAIN_KEYS = ("data", "blocks", "objectives")
PROBLEM_LACKS = ("blocks", "objectives")


class Spec(Strict):
    """A whole pipeline. docs/reference/spec.md describes the language."""

    model_config = ConfigDict(
        **Strict.model_config,
        json_schema_extra={"oneOf": [{"required": ["blocks"]}, {"required": ["problem"]}]},
    )

    spec: Literal[1] = Field(default=1, description="version of the spec language")
    name: Name = Field(description="name of the pipeline")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="seed of all randomness of the run")
    plugins: list[str] = Field(default_factory=list, description="plugins that must be loaded, by name")
    problem: ProblemUse | None = Field(
        default=None,
        description="a problem, for a model that isn't a chain of blocks, instead of `blocks` and `objectives`",
    )
    data: dict[Name, Split] = Field(
        default_factory=dict, description="the splits by name; `holdout` is reserved for measuring"
    )
    blocks: dict[BlockName, BlockOrTask] = Field(
        default_factory=dict, description="the networks and tasks by name; `chain` is reserved"
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
    metrics: Distinct | dict[MetricName, MetricUse] = Field(
        default_factory=list,
        description="metrics on `holdout`: a list compares `export.chain` with `data.rgb`, a mapping names the "
        "tensors; by default those of the tasks; with `problem` a list of the problem's own",
    )
    validate_every: Count | None = Field(
        default=None, description="outer steps between measurements; each stage's end is always measured"
    )
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        default=60.0, description="seconds between checkpoints that `--resume` goes on from; 0: after every step"
    )
    export: Export = Field(default_factory=Export, description="what becomes ONNX")
    tracker: TrackerUse | None = Field(default=None, description="where the run is recorded besides its folder")

    @property
    def tasks(self) -> dict[str, TaskUse]:
        """The blocks that are tasks."""
        return {name: entry for name, entry in self.blocks.items() if isinstance(entry, TaskUse)}

    @property
    def measures(self) -> bool:
        """Whether metrics are named, or left to the tasks."""
        return bool(self.metrics) or (bool(self.tasks) and "metrics" not in self.model_fields_set)

    @model_validator(mode="after")
    def _chain_or_problem(self) -> Spec:
        given = [key for key in PROBLEM_LACKS if key in self.model_fields_set]
        if self.problem is None:
            brought = "objectives" if self.tasks else None
            missing = [
                key
                for key in CHAIN_KEYS
                if not getattr(self, key) and (self.stages or key == "blocks") and key != brought
            ]
            if missing:
                raise _refusal("spec.missing-section", key=missing[0])
            return self
        if given:
            raise _refusal("spec.problem-section", given[0], key=given[0])
        if self.export.chain is not None:
            raise _refusal("spec.problem-exports", "export", "chain")
        if self.data and self.metrics and isinstance(self.metrics, list):
            raise _refusal("spec.problem-metric-list", "metrics")
        if not self.data and not isinstance(self.metrics, list):
            raise _refusal("spec.problem-metrics", "metrics")
        return self

    @model_validator(mode="after")
    def _patience_needs_measurements(self) -> Spec:
        patient = next((index for index, stage in enumerate(self.stages) if stage.patience), None)
        if patient is not None and not (self.measures and self.validate_every):
            raise _refusal("spec.unmeasured-patience", "stages", patient, "patience")
        return self


def weights_of(objective: Weights) -> dict[str, float]:
    """Return an objective as names with weights; a bare name has weight 1."""
    return {objective: 1.0} if isinstance(objective, str) else dict(objective)
