"""A torch module to an ONNX graph with dynamic sizes: the one way that this project does it."""

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

from restore_hub.errors import ExportError


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
        example: one tensor an input, of sizes that are no special case.
        dynamic: for each input, its dynamic dimensions as `torch.export.Dim`, or `None` where it has none.
        inputs, outputs: names in the graph.

    Raises:
        ExportError: torch cannot export it.
    """
    try:
        with quiet():
            # Padding to a multiple makes guards that no range of sizes satisfies. Deferred they are harmless;
            # whoever exports compares the graph with the module at the sizes that they are about.
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
        reason = " ".join(str(error.__cause__ or error).split())[:400]
        raise ExportError(f"torch cannot export {', '.join(outputs)}: {reason}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep an exporter's progress lines, warnings and listings of graphs off the terminal; errors still raise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        said = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
