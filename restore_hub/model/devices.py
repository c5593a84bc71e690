"""Devices by name: onnxruntime's provider for each, and the package it comes with. Imports nothing."""

from __future__ import annotations

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}
# All of them install the module `onnxruntime`, so only one can be installed at a time.
PACKAGES = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "coreml": "onnxruntime, on macOS",
    "directml": "onnxruntime-directml, on Windows",
    "openvino": "onnxruntime-openvino",
    "migraphx": "the onnxruntime of AMD's ROCm",
}
