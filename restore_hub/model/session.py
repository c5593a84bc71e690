"""Starts onnxruntime on one device: that device, or an error; never a fall-back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import onnxruntime

from restore_hub.errors import ModelFileError, did_you_mean
from restore_hub.machine import usable_cpus
from restore_hub.model.devices import PACKAGES, PROVIDERS


def provider_of(device: str) -> str:
    """Return the provider of a device.

    Raises:
        ModelFileError: no such device, or this onnxruntime was built without its provider.
    """
    if device not in PROVIDERS:
        hint = did_you_mean(device, PROVIDERS)
        raise ModelFileError(f"unknown device {device!r}{hint}; it is one of {', '.join(PROVIDERS)}")
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise ModelFileError(
            f"onnxruntime has no {PROVIDERS[device]} here; it comes with {PACKAGES[device]}, to be installed in place "
            "of the one that is here; or use cpu"
        )
    return PROVIDERS[device]


def open_session(
    model: Path | bytes, device: str, *, whole: bool = False, arena: bool = True, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Start a graph on a device.

    Args:
        model: an ONNX file, or its bytes.
        device: a key of `PROVIDERS`.
        whole: refuse a graph of which any part would run on the CPU in the device's stead.
        arena: keep memory on the CPU from run to run.
        threads: of one run; by default as many as the process may use.

    Raises:
        ModelFileError: as `provider_of`; a graph that onnxruntime refuses; a provider that does not start.
    """
    provider = provider_of(device)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # whatever the file's suffix
    if whole and device != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    elif usable_cpus() < (os.cpu_count() or 1):  # onnxruntime counts the machine's, whatever a container may use
        options.intra_op_num_threads = usable_cpus()
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4  # its errors come as exceptions; a provider's are logged elsewhere
    name = str(model) if isinstance(model, Path) else "the graph"
    source = name if isinstance(model, Path) else model
    try:
        # Else onnxruntime's Python part goes on with the CPU after an error, here as in a run.
        session = onnxruntime.InferenceSession(source, options, providers=[provider], enable_fallback=False)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise ModelFileError(f"onnxruntime cannot load {name} on {device}: {_reason(error)}") from None
    session.disable_fallback()
    if session.get_providers()[:1] != [provider]:
        raise ModelFileError(
            f"{provider} was asked for and did not start: its libraries, its driver or its hardware are missing, as "
            f"onnxruntime printed above; it comes with {PACKAGES[device]}; or use cpu"
        )
    return session


def _reason(error: Exception) -> str:
    """Return the end of the first line, which is where onnxruntime says what it is about."""
    said = (str(error).strip() or repr(error)).splitlines()[0]
    if found := re.search(r"max supported IR version: \d+|till opset \d+", said):
        return f"it was made for a later onnxruntime ({found[0]} here); update onnxruntime, or export it again"
    return said.rpartition(" : ")[2][-200:]
