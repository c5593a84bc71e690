"""Times one convolution on a device, to see whether the device works and how fast it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np

from restore_hub.errors import ModelFileError
from restore_hub.model.protobuf import encode
from restore_hub.model.session import open_session

CHANNELS, SIDE, KERNEL = 32, 512, 3
_OPERATIONS = 2 * CHANNELS * CHANNELS * KERNEL**2 * SIDE**2
_RUNS = 5
_FLOAT, _INTS = 1, 7  # TensorProto.FLOAT, AttributeProto.INTS
_TOLERANCE = 0.01  # devices may compute in TF32 or in 16 bits


@dataclass(frozen=True, slots=True)
class Speed:
    """Median time of one run, including copies to the device and back, and the operations per second."""

    milliseconds: float
    gflops: float


def time_convolution(device: str) -> Speed:
    """Run a 3x3 convolution of 32 to 32 channels on 512 x 512 pixels wholly on a device.

    Raises:
        ModelFileError: the device is missing, doesn't start, fails, or computes wrong values.
    """
    session = open_session(convolution_model(), device, whole=True)
    picture = {"picture": np.ones((1, CHANNELS, SIDE, SIDE), np.float32)}
    times = []
    for _ in range(1 + _RUNS):  # the first one warms up
        start = time.perf_counter()
        try:
            (result,) = session.run(None, picture)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelFileError("machine.device-fails", device, cause=str(error).splitlines()[0][:200]) from error
        times.append(time.perf_counter() - start)
    difference = np.abs(result[0, :, 1:-1, 1:-1] - 1).max()  # the mean of ones; zeros surround the picture
    if not difference <= _TOLERANCE:
        raise ModelFileError("machine.device-wrong", device, difference=float(difference))
    seconds = median(times[1:])
    return Speed(1000 * seconds, _OPERATIONS / seconds / 1e9)


def convolution_model() -> bytes:
    """Return an ONNX file with one node: each output channel is the mean over 3x3 pixels of all input channels.

    Encoded by hand, because deploying installs no onnx package, and no model is needed. Field numbers are those of
    onnx.proto.
    """
    values = np.full((CHANNELS, CHANNELS, KERNEL, KERNEL), 1 / (CHANNELS * KERNEL**2), np.float32)
    shape = [(1, size) for size in values.shape]
    weights = encode(*shape, (2, _FLOAT), (8, "weights"), (9, values.astype("<f4").tobytes()))
    pads = encode((1, "pads"), *[(8, 1)] * 4, (20, _INTS))
    node = encode((1, "picture"), (1, "weights"), (2, "result"), (4, "Conv"), (5, pads))
    sizes = encode(*[(1, encode((1, size))) for size in (1, CHANNELS, SIDE, SIDE)])
    kind = encode((1, encode((1, _FLOAT), (2, sizes))))
    ends = [(number, encode((1, name), (2, kind))) for number, name in ((11, "picture"), (12, "result"))]
    graph = encode((1, node), (2, "convolution"), (5, weights), *ends)
    return encode((1, 8), (7, graph), (8, encode((2, 13))))  # IR version 8, opset 13: every onnxruntime since 2020
