"""Starts onnxruntime on one device: that device, or an error; never a fall-back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import onnxruntime

from restore_hub.errors import ModelFileError, nearest
from restore_hub.machine import usable_cpus
from restore_hub.model.devices import PACKAGES, PROVIDERS


def provider_of(device: str) -> str:
    """Return onnxruntime's provider for a device.

    Raises:
        ModelFileError: no such device, or this onnxruntime was built without its provider.
    """
    if device not in PROVIDERS:
        raise ModelFileError(
            "model.unknown-device", device, known=", ".join(PROVIDERS), mend=nearest(device, PROVIDERS)
        )
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise ModelFileError("model.no-provider", device, provider=PROVIDERS[device], package=PACKAGES[device])
    return PROVIDERS[device]


def open_session(
    model: Path | bytes, device: str, *, whole: bool = False, arena: bool = True, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Start a graph on a device.

    Args:
        model: an ONNX file, or its bytes.
        device: a key of `PROVIDERS`.
        whole: refuse a graph if any part of it would run on the CPU instead of the device.
        arena: keep memory on the CPU from run to run.
        threads: of one run; by default as many as the process may use.

    Raises:
        ModelFileError: as `provider_of`; onnxruntime refuses the graph; the provider doesn't start.
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
        # Otherwise onnxruntime's Python code goes on with the CPU after an error, here as in a run.
        session = onnxruntime.InferenceSession(source, options, providers=[provider], enable_fallback=False)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise _not_loaded(name, device, error) from None
    session.disable_fallback()
    if session.get_providers()[:1] != [provider]:
        raise ModelFileError("model.provider-failed", device, provider=provider, package=PACKAGES[device])
    return session


def _not_loaded(name: str, device: str, error: Exception) -> ModelFileError:
    text = (str(error).strip() or repr(error)).splitlines()[0]
    if found := re.search(r"max supported IR version: \d+|till opset \d+", text):
        return ModelFileError("model.later-onnxruntime", name, limit=found[0])
    cause = text.rpartition(" : ")[2][-200:]  # onnxruntime puts what matters at the end of the line
    return ModelFileError("model.not-loaded", name, device=device, cause=cause)
