"""Static quantisation: a float32 graph to one whose wide convolutions run in 8-bit integers (QDQ form)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from restore_hub.errors import ExportError, RestoreHubError, reason_of
from restore_hub.export.trace import quiet

SCHEME = "static QDQ, activations uint8, weights int8 of 7 bits per channel (u8s8), ranges by minimum and maximum"
CONVOLUTIONS = ("Conv", "ConvTranspose")
# What stays in integers between two convolutions. Sums don't: a residual sum carries the picture itself.
BETWEEN = (*CONVOLUTIONS, "Relu", "LeakyRelu", "MaxPool", "Concat")
# Convolutions with fewer channels, in or out, are slower in int8 and lose the most. They're the first and the last
# ones, which read and write the picture.
WIDE = 16


@dataclass(frozen=True, slots=True)
class Quantised:
    """An int8 graph without metadata, how many of its convolutions are int8, and how many pictures calibrated it."""

    model: onnx.ModelProto
    convolutions: tuple[int, int]
    pictures: int


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Gives the feeds to onnxruntime one by one, and counts them."""

    def __init__(self, feeds: Iterator[Mapping[str, NDArray[Any]]]) -> None:
        self._feeds = feeds
        self.count = 0

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        feeds = next(self._feeds, None)
        self.count += feeds is not None
        return None if feeds is None else dict(feeds)


def to_int8(source: Path, feeds: Iterator[Mapping[str, NDArray[Any]]]) -> Quantised:
    """Return the graph of a float32 file with its wide convolutions, and what lies between them, in int8.

    Weights use 7 of 8 bits. A CPU with AVX2 but no VNNI adds two products of uint8 and int8 in 16 bits: twice 255 * 127
    saturates, and twice 255 * 64 doesn't. So only with 7 bits are the integers the same on every CPU.
    RAW preprocessing comes before every convolution and stays in float32; so does what follows the last one.

    Args:
        source: an exported file.
        feeds: named inputs, picture by picture, that the ranges of all values are taken from.

    Raises:
        ExportError: no convolution is wide enough, or onnxruntime can't quantise it.
    """
    graph = onnx.load(source)
    names = nodes_in_int8(graph)
    reader = _Reader(feeds)
    with tempfile.TemporaryDirectory(prefix="restore_hub.") as folder:
        given, made = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, str(given))  # onnxruntime writes beside what it reads
        onnxruntime.set_default_logger_severity(3)  # it warns that inputs with defaults are not constant
        try:
            with quiet():
                quantize_static(
                    given,
                    made,
                    reader,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(BETWEEN),
                    nodes_to_quantize=names,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                )
        except (RestoreHubError, OSError):
            raise
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ExportError("export.int8-failed", source, cause=reason_of(error)) from error
        finally:
            onnxruntime.set_default_logger_severity(2)  # its own default
        model = onnx.load(made)
    del model.metadata_props[:], model.graph.value_info[:]  # notes of the quantiser to itself
    convolutions = [node.name for node in graph.graph.node if node.op_type in CONVOLUTIONS]
    return Quantised(model, (len({*names}.intersection(convolutions)), len(convolutions)), reader.count)


def nodes_in_int8(model: onnx.ModelProto) -> list[str]:
    """Return the names of the wide convolutions and of what lies between them, in the order of the graph.

    That includes a narrow convolution between two wide ones. onnxruntime would otherwise find integers before and after
    it, and quantise it to 8 bits by itself.

    Raises:
        ExportError: there are none.
    """
    nodes = {node.name: node for node in model.graph.node if node.op_type in BETWEEN}
    makers = {output: name for name, node in nodes.items() for output in node.output}
    before = {name: [makers[i] for i in node.input if i in makers] for name, node in nodes.items()}
    behind: dict[str, list[str]] = {name: [] for name in nodes}
    for name, others in before.items():
        for other in others:
            behind[other].append(name)
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = [node for node in nodes.values() if node.op_type in CONVOLUTIONS]
    wide = [node.name for node in convolutions if min(weights.get(node.input[1], [0])[:2]) >= WIDE]
    if not wide:
        raise ExportError("export.nothing-to-quantise", model.graph.name, count=len(convolutions), width=WIDE)
    inner = {*wide, *(_reached(wide, before) & _reached(wide, behind))}
    return [name for name in nodes if name in inner]


def _reached(start: list[str], following: Mapping[str, list[str]]) -> set[str]:
    found: set[str] = set()
    queue = list(start)
    while queue:
        for name in following[queue.pop()]:
            if name not in found:
                found.add(name)
                queue.append(name)
    return found
