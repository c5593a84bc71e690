"""What each kind of component must provide.

A plugin's class satisfies one of these protocols by its shape: it needs no base class and no import from here, except
for the values it hands over, such as `Port`. The options of a component are the typed keyword arguments of its
constructor.
"""

from collections.abc import Mapping

from restore_hub.contracts.levels import Batches, GroupedPair, LevelPair, Problem, SingleLevel, Solver
from restore_hub.contracts.outside import Exporter, Reader, Scalar, Tracker
from restore_hub.contracts.parts import Dataset, DecodingTask, Loss, Metric, Network, SampleMetric, Task
from restore_hub.port import Port, Space

# Options of a kind of component that come from the training loop rather than the spec.
INJECTED: Mapping[str, frozenset[str]] = {"tracker": frozenset({"folder"})}

__all__ = [
    "INJECTED",
    "Batches",
    "Dataset",
    "DecodingTask",
    "Exporter",
    "GroupedPair",
    "LevelPair",
    "Loss",
    "Metric",
    "Network",
    "Port",
    "Problem",
    "Reader",
    "SampleMetric",
    "Scalar",
    "SingleLevel",
    "Solver",
    "Space",
    "Task",
    "Tracker",
]
