"""The suite that every network passes."""

from __future__ import annotations

import copy
import inspect
import io
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from restore_hub.batch import stacked
from restore_hub.contracts import Port
from restore_hub.errors import ExportError
from restore_hub.plan.twin import twin
from restore_hub.ragged import Ragged
from restore_hub.testing.require import difference_of, finite, require
from restore_hub.train.problems.groups import normalises_by_batch
from restore_hub.train.problems.snapshot import Snapshot

# In units that give every port whole sizes: one pixel, odd, flat and wide ones.
SIZES = ((1, 1), (2, 3), (17, 5), (16, 16), (9, 31))
DEPTH = 3  # of volumes
EXPORT_SIZE, EXPORT_CHECKS = (16, 24), ((17, 13), (32, 21))
PARITY = 1e-4


def check_network(target: Any, /, **options: Any) -> None:
    """Run the whole suite on a network.

    It checks the declared ports; shapes at several sizes down to one pixel; dtypes and finite values in float32,
    float64 and bfloat16 autocast; that evaluation is reproducible, changes no state and treats each picture of a batch
    independently, as must training except in torch's batch normalisation; that gradients reach every parameter and
    input in training, also with other tensors in place of the parameters; that nothing computed from weights is kept
    for later calls; that saved weights load; and that the ONNX export has dynamic sizes and agrees with PyTorch to 1e-4
    in onnxruntime at two more sizes, unless it takes or gives ragged values, whose lengths no graph knows.

    Args:
        target: a class (made with `options`) or a network, which stays as it was.
        options: options of the class.

    Raises:
        AssertionError: what failed, at which size.
    """
    make = _maker(target, options)
    network = make()
    name = type(network).__name__
    _check_declaration(name, network)
    for size in SIZES:
        _check_forward(name, network, size)
    _check_evaluation(name, network)
    _check_dtypes(name, make())
    _check_training(name, make())
    _check_gradients(name, make())
    _check_other_weights(name, make())
    _check_keeps_nothing(name, make())
    _check_state(name, network, make())
    _check_export(name, network)


def _maker(target: Any, options: Mapping[str, Any]) -> Callable[[], Any]:
    if inspect.isclass(target):

        def make() -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network: Any = target(**options)
                return network.eval()

        return make
    require(not options, "options need a class, not an instance of a network")
    return lambda: copy.deepcopy(target).eval()


def _check_declaration(name: str, network: Any) -> None:
    require(isinstance(network, nn.Module), f"{name} isn't a torch.nn.Module")
    none = getattr(network, "inputs", None) == {}
    require(not none, f"{name}.inputs is empty, so nothing tells how many samples to make; take a picture for its size")
    for attribute in ("inputs", "outputs"):
        ports = getattr(network, attribute, None)
        good = isinstance(ports, Mapping) and ports and all(isinstance(p, Port) for p in ports.values())
        require(bool(good), f"{name}.{attribute} is {ports!r}, not a dict of Port by name")
    multiple = getattr(network, "size_multiple", None)
    require(isinstance(multiple, int) and multiple >= 1, f"{name}.size_multiple is {multiple!r}, not an int from 1")
    for port, declared in network.inputs.items():
        require(declared.fixed or declared.ragged, f"{name}: the input {port!r} must declare its channels")
    parameters = list(inspect.signature(network.forward).parameters)
    require(
        parameters == list(network.inputs),
        f"{name}.forward takes {parameters}, but its input ports are {list(network.inputs)}",
    )


def _extent(network: Any, size: tuple[int, int]) -> dict[str, int]:
    """Return the size of a picture or volume that gives every port whole sizes; packed RAW planes need even ones."""
    scales = [port.scale for port in (*network.inputs.values(), *network.outputs.values())]
    unit = math.lcm(*(Fraction(scale).limit_denominator(64).denominator for scale in scales))
    return {"z": DEPTH * unit, "y": size[0] * unit, "x": size[1] * unit}


def _inputs(
    network: Any, size: tuple[int, int], batch: int = 1, dtype: torch.dtype = torch.float32, seed: int = 0
) -> list[Any]:
    """Return a random value for each input port, uniform in its range."""
    extent, rng = _extent(network, size), np.random.default_rng(seed)
    return [_value(port, [port.example(extent, rng) for _ in range(batch)], dtype) for port in network.inputs.values()]


def _value(port: Port, samples: list[Any], dtype: torch.dtype) -> Any:
    tensors = [torch.from_numpy(np.asarray(sample)) for sample in samples]
    joined = stacked(tensors, port)
    return joined if port.dtype == "int64" else joined.to(dtype)


def _run(name: str, network: Any, inputs: list[Any]) -> dict[str, Tensor]:
    """Return the output of each port; of a ragged one, the values of all samples."""
    return {port: _content(made) for port, made in _outputs(name, network, inputs).items()}


def _outputs(name: str, network: Any, inputs: list[Any]) -> dict[str, Tensor | Ragged]:
    shapes = ", ".join(str(tuple(_content(x).shape)) for x in inputs)
    try:
        result = network(*inputs)
    except Exception as error:
        raise AssertionError(f"{name} fails on {shapes}: {type(error).__name__}: {error}") from error
    results = result if isinstance(result, tuple) else (result,)
    good = all(isinstance(r, Tensor | Ragged) for r in results)
    require(
        len(results) == len(network.outputs) and good,
        f"{name} returns {len(results)} values on {shapes}, but its output ports are {list(network.outputs)}",
    )
    for (port, declared), made in zip(network.outputs.items(), results, strict=True):
        wanted = "Ragged" if declared.ragged else "Tensor"
        same = isinstance(made, Ragged) == declared.ragged
        require(same, f"{name}: {port!r} is a {type(made).__name__}; its port says {wanted}")
    return dict(zip(network.outputs, results, strict=True))


def _content(value: Any) -> Tensor:
    content: Tensor = value.values if isinstance(value, Ragged) else value
    return content


def _check_forward(name: str, network: Any, size: tuple[int, int]) -> None:
    extent = _extent(network, size)
    where = f"of a picture {extent['y']} x {extent['x']}"
    with torch.no_grad():
        results = _run(name, network, _inputs(network, size))
    for port, result in results.items():
        declared: Port = network.outputs[port]
        sample = tuple(result.shape) if declared.ragged else tuple(result.shape[1:])
        wrong = declared.wrong(sample, str(result.dtype).removeprefix("torch."))
        require(wrong is None, f"{name}: {port!r} {where} is {wrong and wrong[0]}; its port says {wrong and wrong[1]}")
        expected = declared.shape(extent)
        sizes = zip(declared.axes, sample, expected, strict=True)
        same = all(found == wanted for axis, found, wanted in sizes if axis in declared.spatial)
        require(same, f"{name}: {port!r} {where} is {sample}; its port says {expected}")
        require(finite(result), f"{name}: {port!r} {where} is not finite")


def _check_dtypes(name: str, network: Any) -> None:
    with torch.no_grad():
        single = _run(name, network, _inputs(network, (16, 16)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = _run(name, network, _inputs(network, (16, 16)))
        double = _run(name, network.double(), _inputs(network, (16, 16), dtype=torch.float64))
    for port, declared in network.outputs.items():
        if declared.dtype == "int64":
            continue
        require(single[port].dtype == torch.float32, f"{name}: {port!r} of float32 is {single[port].dtype}")
        require(double[port].dtype == torch.float64, f"{name}: {port!r} of float64 is {double[port].dtype}")
        require(finite(half[port]), f"{name}: {port!r} is not finite under bfloat16 autocast")
        difference = difference_of(single[port], double[port])
        require(difference <= 1e-3, f"{name}: {port!r} differs by {difference:.1e} between float32 and float64")


def _check_evaluation(name: str, network: Any) -> None:
    before = copy.deepcopy(network.state_dict())
    inputs = _inputs(network, (9, 14), batch=2)
    with torch.no_grad():
        first, second = _outputs(name, network, inputs), _run(name, network, inputs)
        alone = _outputs(name, network, [x.split([1, 1])[1] for x in inputs])
    for port, made in first.items():
        require(torch.equal(_content(made), second[port]), f"{name}: {port!r} differs between two evaluations")
        require(
            _apart(alone[port], 0, made, 1) <= 1e-4,
            f"{name}: {port!r} of a picture depends on other pictures in the batch",
        )
    for key, value in network.state_dict().items():
        require(torch.equal(value, before[key]), f"{name}: evaluation changes the state {key!r}")


def _check_training(name: str, network: Any) -> None:
    """Check that pictures are independent: training splits and joins batches unless it finds batch normalisation."""
    network.train()
    if normalises_by_batch(network):
        return
    inputs = _inputs(network, (9, 14), batch=2)
    other = [_half(x, port) for x, port in zip(inputs, network.inputs.values(), strict=True)]
    found = []
    for batch in (inputs, other):
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for dropout
            found.append(_outputs(name, network, batch))
    for port in network.outputs:
        require(
            _apart(found[0][port], 0, found[1][port], 0) <= 1e-4,
            f"{name}: in training, {port!r} of a picture depends on other pictures in the batch; use one of torch's "
            "batch normalisation layers, the only ones that training recognises",
        )


def _apart(one: Tensor | Ragged, index: int, other: Tensor | Ragged, at: int) -> float:
    """Return how far a sample is from one of another batch; infinite if it has another shape."""
    first, second = list(one)[index], list(other)[at]
    if first.shape != second.shape:
        return math.inf
    return difference_of(first, second)


def _half(value: Any, port: Port) -> Any:
    """Return a batch of two whose second sample is nearer to the lowest value."""
    first, second = value.split([1, 1])
    content = _content(second)
    content = port.low + 0.5 * (content - port.low) if content.is_floating_point() else content.flip(-1)
    return Ragged.cat([first, Ragged(content, second.lengths)]) if port.ragged else torch.cat([first, content])


def _check_gradients(name: str, network: Any) -> None:
    """Check that a random cotangent on every output reaches all parameters and inputs in training mode.

    A network without parameters has no gradient where its outputs are integers, or depend on the size alone.
    """
    network.train()
    inputs = _inputs(network, (16, 16), batch=2)
    leaves = {port: _content(x) for port, x in zip(network.inputs, inputs, strict=True)}
    leaves = {port: x.requires_grad_() for port, x in leaves.items() if x.is_floating_point()}
    total = _weighted(_run(name, network, inputs))
    if not total.requires_grad and not list(network.parameters()) and _of_size_alone(name, network):
        return
    require(total.requires_grad, f"{name}: no gradient flows from an output to a parameter or an input")
    trained = {key: parameter for key, parameter in network.named_parameters() if parameter.requires_grad}
    try:  # as training does; `torch.utils.checkpoint` with `use_reentrant=True` doesn't allow it
        found = torch.autograd.grad(total, [*trained.values(), *leaves.values()], allow_unused=True)
    except RuntimeError as error:
        raise AssertionError(f"{name}: its gradient by chosen tensors fails: {error}") from error
    for key, grad in zip(trained, found, strict=False):
        require(grad is not None, f"{name}: no gradient reaches the parameter {key!r} in training")
        require(finite(grad), f"{name}: the gradient of the parameter {key!r} is not finite")
    for port, grad in zip(leaves, found[len(trained) :], strict=True):
        require(grad is not None and bool(grad.any()), f"{name}: no gradient reaches the input {port!r}")
        require(finite(grad), f"{name}: the gradient of the input {port!r} is not finite")


def _of_size_alone(name: str, network: Any) -> bool:
    """Whether the real-valued outputs are the same for other values of the inputs."""
    with torch.no_grad():
        one, other = (_run(name, network, _inputs(network, (16, 16), seed=seed)) for seed in (0, 1))
    return all(torch.equal(made, other[port]) for port, made in one.items() if made.is_floating_point())


def _check_other_weights(name: str, network: Any) -> None:
    """Check that solvers can run the network with other tensors in place of its parameters, forward and backward."""
    network.train()
    trained = {key: parameter for key, parameter in network.named_parameters() if parameter.requires_grad}
    if trained and _reads_its_own(name, network, list(trained.values())):
        found = next((key for key, own in trained.items() if _reads_its_own(name, network, [own])), "?")
        raise AssertionError(
            f"{name} also reads the parameter {found!r} another way than through its modules, so bilevel solvers would "
            "get wrong gradients: read it in `forward` as an attribute, such as `self.conv.weight`"
        )


def _reads_its_own(name: str, network: Any, parameters: list[nn.Parameter]) -> bool:
    """Whether NaN in some parameters shows in a run with other tensors in their place, or a gradient flows to them."""
    tensors: dict[Tensor, Tensor] = {own: own.detach().clone().requires_grad_() for own in parameters}
    with torch.no_grad():
        for own in parameters:
            own.fill_(math.nan)
    total = _weighted(_run(name, twin(network, tensors, own_buffers=True), _inputs(network, (16, 16), batch=2)))
    found = torch.autograd.grad(total, [*tensors.values(), *parameters], allow_unused=True)
    with torch.no_grad():
        for parameter, tensor in tensors.items():
            parameter.copy_(tensor)
    return not all(map(finite, (total, *found[: len(tensors)]))) or any(g is not None for g in found[len(tensors) :])


def _check_keeps_nothing(name: str, network: Any) -> None:
    """Check that nothing of NaN in a parameter, its own or one in its place, shows in later calls."""
    network.train()
    snapshot, weights = Snapshot(network), dict(network.named_parameters())

    def keeps(parameters: list[Tensor]) -> bool:
        snapshot.restore()
        values = [own.detach().clone() for own in parameters]
        with torch.no_grad():
            for own in parameters:
                own.fill_(math.nan)
            spoilt = {own: own.detach().clone() for own in parameters}
            for each in (network, twin(network, spoilt, own_buffers=True)):
                with suppress(Exception):  # it may refuse NaN, and then it keeps nothing of it
                    each(*_inputs(network, (16, 16), batch=2))
            for own, value in zip(parameters, values, strict=True):
                own.copy_(value)
            snapshot.restore_buffers()
            return not all(map(finite, _run(name, network, _inputs(network, (16, 16), batch=2)).values()))

    if weights and keeps(list(weights.values())):
        found = next((key for key, own in weights.items() if keeps([own])), "?")
        raise AssertionError(
            f"{name} keeps a value that it computed from the parameter {found!r}, so it would use it again with other "
            "weights: compute it in each `forward`"
        )


def _weighted(results: Mapping[str, Tensor]) -> Tensor:
    """Return a sum over the outputs with random weights."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(())
    for result in results.values():
        if result.requires_grad:
            total = total + (result * torch.rand(result.shape, generator=generator)).sum()
    return total


def _check_state(name: str, network: Any, other: Any) -> None:
    """Check that weights saved and loaded into another instance give the same bits."""
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    inputs = _inputs(network, (8, 8))
    with torch.no_grad():
        saved, loaded = _run(name, network, inputs), _run(name, other, inputs)
    for port in network.outputs:
        require(torch.equal(saved[port], loaded[port]), f"{name}: {port!r} changes when weights are saved and loaded")


class _Exported(nn.Module):
    """A network with only the outputs that can be exported, whose shape follows from the size of the picture."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        results = self.network(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        ports = self.network.outputs.values()
        return tuple(r for r, port in zip(results, ports, strict=True) if port.fixed)


def _check_export(name: str, network: Any) -> None:
    import onnxruntime

    from restore_hub.export.trace import trace

    if any(port.ragged for port in (*network.inputs.values(), *network.outputs.values())):
        return
    wrapped = _Exported(network).eval()
    dynamic = [
        {1 + p.axes.index(axis): torch.export.Dim.DYNAMIC for axis in p.spatial} or None
        for p in network.inputs.values()
    ]
    inputs = _inputs(network, EXPORT_SIZE)
    fixed = [port for port, declared in network.outputs.items() if declared.fixed]
    made = [f"output_{port}" for port in fixed]  # an input and an output may share a name
    try:
        content = trace(wrapped, inputs, dynamic, list(network.inputs), made).SerializeToString()
    except ExportError as error:
        raise AssertionError(f"{name} can't be exported to ONNX: {error}") from error
    session_options = onnxruntime.SessionOptions()
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, session_options, providers=["CPUExecutionProvider"])
    for size in EXPORT_CHECKS:
        inputs = _inputs(network, size)
        feed = {node.name: x.numpy() for node, x in zip(session.get_inputs(), inputs, strict=True)}
        with torch.no_grad():
            expected = wrapped(*inputs)
        h, w = (_extent(network, size)[axis] for axis in ("y", "x"))
        for result, reference in zip(session.run(None, feed), expected, strict=True):
            found = torch.from_numpy(result)
            shapes = f"{tuple(found.shape)}, not {tuple(reference.shape)}"
            require(found.shape == reference.shape, f"{name}: the ONNX output is {shapes} at {h} x {w}")
            difference = difference_of(found, reference)
            require(difference <= PARITY, f"{name}: ONNX differs from PyTorch by {difference:.1e} at {h} x {w}")
