"""Turns a torch module into an ONNX graph with dynamic sizes: the one place in this project that does."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from restore_hub.errors import ExportError, reason_of


def trace(
    module: nn.Module,
    example: Sequence[Tensor],
    dynamic: Sequence[dict[int, Any] | None],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Return the graph of a module in evaluation mode.

    Args:
        module: its `forward` takes `*inputs`.
        example: one tensor for each input, of sizes that are no special case.
        dynamic: for each input, its dynamic dimensions as `torch.export.Dim`, or `None`.
        inputs, outputs: names in the graph.

    Raises:
        ExportError: torch can't export it.
    """
    try:
        with quiet():
            # Padding to a multiple makes guards that no range of sizes satisfies. Deferred, they are harmless: the
            # caller compares the graph with the module at sizes that would break them.
            traced = torch.export.export(
                module,
                tuple(example),
                dynamic_shapes=(tuple(dynamic),),
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            program = torch.onnx.export(
                traced,
                dynamo=True,
                external_data=False,
                input_names=list(inputs),
                output_names=list(outputs),
                verbose=False,
            )
    except Exception as error:
        cause = reason_of(error.__cause__ or error)
        raise ExportError("export.trace-failed", ", ".join(outputs), cause=cause) from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _drop_source_lines(model.graph)
    return model


def _drop_source_lines(graph: onnx.GraphProto) -> None:
    """Remove the source lines that made each node: they hold paths of this machine."""
    named = (graph.node, graph.input, graph.output, graph.initializer, graph.value_info)
    for entry in (graph, *(entry for entries in named for entry in entries)):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.type == onnx.AttributeProto.GRAPH:
            _drop_source_lines(attribute.g)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep an exporter's progress lines, warnings and listings off the terminal; errors still raise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        output = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
