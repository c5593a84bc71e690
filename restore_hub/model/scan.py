"""Reads an ONNX file's structure from its bytes before onnxruntime opens it, and follows nothing that it names.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from restore_hub.errors import ModelFileError, reason_of
from restore_hub.model.protobuf import Buffer, fields

# Which messages contain which: all that lead to a tensor or a node, however deep.
INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "OperatorSetId", 14: "Metadata", 20: "TrainingInfo", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Tensor": {},
    "OperatorSetId": {},
    "Metadata": {},
}
_DEEPEST = 100  # nested messages; the C++ readers stop there too
_EXTERNAL = 1  # value of TensorProto.data_location
_Fields = list[tuple[int, int | slice]]


@dataclass(slots=True)
class OnnxFacts:
    """What the scan found.

    Attributes:
        size: bytes.
        sha256: hash of them.
        opsets: version of each operator set that the graph uses, by domain; the standard one is `ai.onnx`.
        nodes: number of nodes.
        operators: (domain, name) of each operator.
        functions: (domain, name) of the operators that the file itself defines.
        external: other files that onnxruntime would read.
        metadata: its texts by key.
    """

    size: int
    sha256: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    nodes: int = 0
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    external: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)


def read_onnx(path: Path) -> OnnxFacts:
    """Scan an ONNX file.

    Raises:
        ModelFileError: missing, unreadable, not ONNX, cut off, or damaged.
    """
    try:
        if not path.exists():
            raise ModelFileError("model.missing", path)
        if not path.is_file():
            raise ModelFileError("model.not-a-file", path)
        if path.stat().st_size == 0:
            raise ModelFileError("model.empty", path)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            facts = _facts(data)
            facts.sha256 = hashlib.sha256(data).hexdigest()
            return facts
    except OSError as error:
        raise ModelFileError("model.unreadable", path, cause=reason_of(error)) from error
    except ValueError as error:
        raise ModelFileError("model.damaged", path, cause=str(error)) from None


def refuse_external(facts: OnnxFacts, path: Path) -> None:
    """Refuse a file that reads others: no exported file does, and such a path may lead anywhere.

    Raises:
        ModelFileError: the names of the other files.
    """
    if facts.external:
        raise ModelFileError("model.external-data", path, files=", ".join(sorted(facts.external))[:200])


def _facts(data: Buffer) -> OnnxFacts:
    facts = OnnxFacts(len(data))
    graphs = 0
    for kind, found in _messages(data, "Model", slice(0, len(data))):
        value = dict(found)  # the last of two equal fields counts
        if kind == "OperatorSetId":
            version = value.get(2, 0)
            facts.opsets[_domain(data, value.get(1))] = version if isinstance(version, int) else 0
        elif kind == "Metadata":
            facts.metadata[_text(data, value.get(1))] = _text(data, value.get(2))
        elif kind == "Node":
            operator = _domain(data, value.get(7)), _text(data, value.get(4))
            facts.nodes += 1
            facts.operators.add(operator)
            if operator[1] == "EPContext":  # names a file that a provider reads
                facts.external.add("one named by an EPContext node")
        elif kind == "Function":
            facts.functions.add((_domain(data, value.get(10)), _text(data, value.get(1))))
        elif kind == "Tensor":
            facts.external.update(_external(data, found))
        graphs += kind == "Graph"
    if not graphs:
        raise ValueError("there's no graph in it")
    return facts


def _messages(data: Buffer, kind: str, part: slice, depth: int = 0) -> Iterator[tuple[str, _Fields]]:
    """Yield the kind and the fields of a message and of all messages inside it."""
    if depth > _DEEPEST:
        raise ValueError(f"messages are nested more than {_DEEPEST} deep")
    found = list(fields(data, part))
    yield kind, found
    for number, value in found:
        if isinstance(value, slice) and number in INSIDE[kind]:
            yield from _messages(data, INSIDE[kind][number], value, depth + 1)


def _external(data: Buffer, tensor: _Fields) -> Iterator[str]:
    """Yield the files that hold a tensor's values. Readers keep only the low half of an enumeration's number."""
    if any(number == 14 and isinstance(value, int) and value & 0xFFFFFFFF == _EXTERNAL for number, value in tensor):
        entries = [dict(fields(data, value)) for number, value in tensor if number == 13 and isinstance(value, slice)]
        texts = {_text(data, entry.get(1)): _text(data, entry.get(2)) for entry in entries}
        yield texts.get("location") or "one without a name"


def _domain(data: Buffer, value: int | slice | None) -> str:
    return _text(data, value) or "ai.onnx"


def _text(data: Buffer, value: int | slice | None) -> str:
    return bytes(data[value]).decode() if isinstance(value, slice) else ""
