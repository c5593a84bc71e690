"""A device is the one that was asked for, or an error says what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi import _pybind_state

from restore_hub.model.devices import PACKAGES, PROVIDERS
from restore_hub.model.graph import Graph
from restore_hub.model.manifest import Manifest, TensorInfo
from restore_hub.model.model import Model
from restore_hub.model.session import open_session, provider_of
from restore_hub.runtime import device_benchmark
from restore_hub.runtime.device_benchmark import SIDE, convolution_model, time_convolution
from support import refused


def _offer(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))


def test_the_names_are_those_that_onnxruntime_knows() -> None:
    assert set(PROVIDERS.values()) <= set(onnxruntime.get_all_providers())
    assert PROVIDERS.keys() == PACKAGES.keys()
    with refused("model.unknown-device", "open-vino") as caught:
        provider_of("open-vino")
    assert "openvino" in caught.value.mend


@pytest.mark.parametrize("device", sorted(set(PROVIDERS) - {"cpu"}))
def test_a_provider_that_is_not_offered_names_its_package(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    _offer(monkeypatch, "CPUExecutionProvider")
    with refused("model.no-provider", device, provider=PROVIDERS[device], package=PACKAGES[device]):
        provider_of(device)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_offered_and_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime itself goes on with the CPU and says nothing that a program could see but its list of providers."""
    device = next(d for d, provider in PROVIDERS.items() if provider not in onnxruntime.get_available_providers())
    _offer(monkeypatch, PROVIDERS[device], "CPUExecutionProvider")
    plain = onnxruntime.InferenceSession(convolution_model(), providers=[PROVIDERS[device]])
    assert plain.get_providers() == ["CPUExecutionProvider"]
    with refused("model.provider-failed", device):
        open_session(convolution_model(), device)
    with refused("model.not-loaded", device=device):
        time_convolution(device)


def test_a_provider_that_fails_in_a_run_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Else onnxruntime prints "Falling back", makes another session on the CPU, and gives that one's result."""
    picture = TensorInfo(name="picture", shape=[1, 32, "height", "width"])
    result = picture.model_copy(update={"name": "result"})
    probe = {"seed": 0, "height": 1, "width": 1, "samples": [(0, 0, 0, 0.0)], "tolerance": 1e-4}
    facts = {"name": "t", "kind": "tensors", "size_multiple": 1, "opset": 13, "parity": 0, "licence": ""}
    manifest = Manifest(inputs=[picture], outputs=[result], probe=probe, **facts)

    class Failing:
        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def run(self, *given: object) -> None:
            raise _pybind_state.EPFail("the driver went away")

    session = open_session(convolution_model(), "cpu")
    session._sess = Failing(session._sess)
    model = Model(Graph(Path("m.onnx"), session, "cpu", ""), manifest)
    with refused("model.run-failed", "m.onnx", cause="the driver went away"):
        model({"picture": np.ones((1, 32, SIDE, SIDE), np.float32)})
    assert "Falling back" not in capfd.readouterr().out


@pytest.mark.parametrize(("usable", "threads"), [(1, 1), (64, 0)])
def test_threads_are_those_that_a_container_leaves(monkeypatch: pytest.MonkeyPatch, usable: int, threads: int) -> None:
    monkeypatch.setattr("restore_hub.model.session.usable_cpus", lambda: usable)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert open_session(convolution_model(), "cpu").get_session_options().intra_op_num_threads == threads


def test_the_convolution_written_by_hand_is_sound_onnx_and_timed() -> None:
    model = onnx.load_from_string(convolution_model())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    speed = time_convolution("cpu")
    assert speed.milliseconds > 0
    assert speed.gflops == pytest.approx(2 * 9 * 32**2 * 512**2 / speed.milliseconds / 1e6)


def test_a_device_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def run(self, _: None, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [1.02 * feeds["picture"]]

    monkeypatch.setattr(device_benchmark, "open_session", lambda *_, **__: Wrong())
    with refused("machine.device-wrong", "cpu", difference=pytest.approx(0.02, rel=1e-3)):
        time_convolution("cpu")
