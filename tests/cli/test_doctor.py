"""`restore-hub doctor`: one line for each check, and a non-zero exit only if restoring can't work."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import onnxruntime
import pytest

from restore_hub import plugins as plugins_module
from restore_hub.errors import ModelFileError
from restore_hub.plugins import Plugin
from restore_hub.runtime import device_benchmark, doctor
from restore_hub.runtime.device_benchmark import Speed
from support.commands import output

CHECKS = ["python", "packages", "training", "runtime", "device cpu", "memory", "cpus", "current folder",
          "temporary folder", "plugins"]  # fmt: skip


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_benchmark, "time_convolution", lambda _: Speed(25.0, 193.27))


def _findings(exit_code: int = 0) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(output("doctor", "--json", exit_code=exit_code))}


def _blocked(*modules: str) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, in which importing some modules is an error."""
    code = f"import sys; sys.modules.update(dict.fromkeys({modules!r}));"
    code += "from restore_hub.cli import main; main(['doctor'])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_sound_machine_is_ok_and_nothing_of_training_is_imported() -> None:
    done = _blocked("torch", "onnx", "mlflow", "torchvision")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["STATUS", "CHECK", "FOUND"]
    for check in CHECKS:
        assert [line for line in lines if line.split("  ", 1)[1].strip().startswith(check)], check
    (cpu,) = [line for line in lines if "device cpu" in line]
    assert "CPUExecutionProvider works: a convolution takes " in cpu
    assert cpu.endswith(" GFLOP/s")
    assert "LibRaw 0." in done.stdout
    assert not [line for line in lines if line.startswith("error")]


def test_without_onnxruntime_restoring_cannot_work_and_the_rest_is_still_checked() -> None:
    done = _blocked("onnxruntime")
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert lines["runtime"].startswith("error ")
    assert "ModuleNotFoundError: import of onnxruntime halted" in done.stdout
    assert "the check failed" in lines["devices"]
    assert "GiB for this process" in done.stdout


@pytest.mark.usefixtures("speed")
def test_json_has_the_values() -> None:
    found = _findings()
    assert set(CHECKS) <= set(found)
    assert found["device cpu"]["values"] == {"provider": "CPUExecutionProvider", "milliseconds": 25.0, "gflops": 193.27}
    assert found["device cpu"]["found"].endswith("works: a convolution takes 25 ms, 193 GFLOP/s")
    assert found["packages"]["values"]["numpy"]
    assert found["training"]["values"]["torch"]
    assert found["memory"]["values"]["bytes"] > 0


def test_an_offered_provider_that_does_not_start_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_cpu(device: str) -> Speed:
        if device != "cpu":
            raise ModelFileError("machine.device-fails", device, cause="its library is missing")
        return Speed(25.0, 193.27)

    monkeypatch.setattr(device_benchmark, "time_convolution", only_cpu)
    offered = ["CUDAExecutionProvider", "AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    found = _findings()
    assert found["device cuda"]["status"] == "warning"
    assert "its library is missing" in found["device cuda"]["found"]
    assert "onnxruntime-gpu" in found["device cuda"]["mend"]
    assert "AzureExecutionProvider" in found["device"]["found"]


def test_a_cpu_that_fails_ends_non_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> Speed:
        raise ModelFileError("machine.device-wrong", device, difference=3.0)

    monkeypatch.setattr(device_benchmark, "time_convolution", fail)
    assert _findings(exit_code=1)["device cpu"]["status"] == "error"


@pytest.mark.usefixtures("speed")
def test_another_onnxruntime_will_do_and_none_will_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("onnxruntime", "torch") else "1.0")
    monkeypatch.setattr(doctor, "packages_distributions", lambda: {"onnxruntime": ["onnxruntime-gpu"]})
    found = _findings()
    assert found["packages"]["status"] == "ok"
    assert "onnxruntime-gpu 1.0" in found["packages"]["found"]
    assert found["training"]["status"] == "ok"
    assert "missing for training: torch: pip install 'restore-hub[train]'" in found["training"]["found"]
    monkeypatch.setattr(doctor, "packages_distributions", dict)
    found = _findings(exit_code=1)
    assert found["packages"]["found"] == "not installed: onnxruntime"


def _fail() -> int:
    raise AttributeError("no sysconf here")


LOST = (Plugin("std", "x", "1"), Plugin("acme", "y", "1", error="ImportError: no camera"))
BOTH = {"onnxruntime": ["onnxruntime", "onnxruntime-gpu", "onnxruntime"]}


@pytest.mark.usefixtures("speed")
@pytest.mark.parametrize(
    ("owner", "attribute", "value", "name", "found", "mend"),
    [
        (doctor, "packages_distributions", lambda: BOTH, "packages", "", "onnxruntime and onnxruntime-gpu "),
        (doctor, "machine_memory", lambda: 1 << 30, "memory", "1 GiB for this process", ""),
        (doctor, "machine_memory", _fail, "memory", "AttributeError: no sysconf here", ""),
        (doctor, "free_disk", lambda _: 1 << 20, "current folder", "", " "),
        (doctor.tempfile, "tempdir", "/none/here", "temporary folder", "No such file or directory", ""),
        (plugins_module, "load_plugins", lambda *_: LOST, "plugins", "failed to load: acme", "list plugin`"),
    ],
)
def test_warns(
    monkeypatch: pytest.MonkeyPatch, owner: Any, attribute: str, value: Any, name: str, found: str, mend: str
) -> None:
    monkeypatch.setattr(owner, attribute, value)
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    finding = _findings()[name]
    assert finding["status"] == "warning"
    assert found in finding["found"]
    assert mend in finding["mend"]
