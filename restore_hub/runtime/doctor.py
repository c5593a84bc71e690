"""What of this machine matters to restoring. Imports onnxruntime and its like late: they are what may be broken."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import Any, Literal

from restore_hub.errors import ModelFileError
from restore_hub.machine import free_disk, machine_memory, usable_cpus
from restore_hub.model.devices import PACKAGES, PROVIDERS

GIB, MIB = 1 << 30, 1 << 20
_LITTLE_MEMORY, _LITTLE_DISK = 2 * GIB, 512 * MIB  # for photographs of some 24 megapixels
_REINSTALL = "pip install --force-reinstall restore-hub"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        status: `error` where restoring cannot work, `warning` where something else cannot.
        said: what was found.
        todo: what to do, where something is to be done.
        values: the same as numbers and texts, for programs.
    """

    name: str
    status: Literal["ok", "warning", "error"]
    said: str
    todo: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def examine(*more: tuple[str, Callable[[], Iterator[Finding]]]) -> list[Finding]:
    """Return all findings, those of `more` last; a look that itself fails is a warning."""
    looks = (
        ("python", _python),
        ("packages", _packages),
        ("training", _training),
        ("runtime", _runtime),
        ("devices", _devices),
        ("memory", _memory),
        ("cpus", _cpus),
        ("current folder", lambda: _folder("current folder", Path.cwd())),
        ("temporary folder", lambda: _folder("temporary folder", Path(tempfile.gettempdir()))),
        *more,
    )
    found: list[Finding] = []
    for name, look in looks:
        try:
            found += look()
        except Exception as error:  # whatever a broken machine raises: the other looks go on
            found.append(Finding(name, "warning", f"could not be found out: {type(error).__name__}: {error}"))
    return found


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _packages() -> Iterator[Finding]:
    """What deploying needs. Several packages bring the module `onnxruntime`, any one of which will do."""
    try:
        names = ["restore-hub", *_required("")]
    except PackageNotFoundError:
        yield Finding("packages", "error", "restore-hub is not installed, only its sources are here", "pip install .")
        return
    runtimes = sorted(set(packages_distributions().get("onnxruntime", [])))
    versions = {name: _version(name) for name in [*(name for name in names if name != "onnxruntime"), *runtimes]}
    missing = [name for name, found in versions.items() if not found] + ([] if runtimes else ["onnxruntime"])
    said = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    if missing:
        yield Finding("packages", "error", f"not installed: {', '.join(missing)}", _REINSTALL, versions)
    elif len(runtimes) > 1:
        both = " and ".join(runtimes)
        todo = (
            f"uninstall all of them, then install the one that is wanted; now they overwrite each other's files: {both}"
        )
        yield Finding("packages", "warning", said, todo, versions)
    else:
        yield Finding("packages", "ok", said, values=versions)


def _training() -> Iterator[Finding]:
    """What training needs, read from the packages' metadata: importing it takes seconds."""
    versions = {name: _version(name) for name in _required("train")}
    missing = [name for name, found in versions.items() if not found]
    said = ", ".join(f"{name} {found}" for name, found in versions.items() if found) or "nothing is installed"
    if missing:
        said += f"; restoring needs none of it, training also {', '.join(missing)}: pip install 'restore-hub[train]'"
    yield Finding("training", "ok", said, values=versions)


def _runtime() -> Iterator[Finding]:
    try:
        import onnxruntime
        import rawpy

        import restore_hub.runtime.restore  # noqa: F401  # all that restoring imports
    except Exception as error:  # a library that is missing or damaged raises what it likes
        yield Finding("runtime", "error", f"{type(error).__name__}: {error}".splitlines()[0], _REINSTALL)
        return
    libraw = ".".join(map(str, rawpy.libraw_version))
    said = f"onnxruntime {onnxruntime.__version__}, LibRaw {libraw}"
    yield Finding("runtime", "ok", said, values={"onnxruntime": onnxruntime.__version__, "libraw": libraw})


def _devices() -> Iterator[Finding]:
    """Every provider that onnxruntime offers, started and timed: many are offered and lack their libraries."""
    import onnxruntime

    from restore_hub.runtime.device_benchmark import time_convolution

    names = {provider: device for device, provider in PROVIDERS.items()}
    for provider in onnxruntime.get_available_providers():
        if provider not in names:
            yield Finding("device", "ok", f"onnxruntime offers {provider}, for which there is no --device")
            continue
        name = f"device {names[provider]}"
        try:
            speed = time_convolution(names[provider])
        except ModelFileError as error:
            cpu = names[provider] == "cpu"
            todo = _REINSTALL if cpu else f"--device cpu works without it; it comes with {PACKAGES[names[provider]]}"
            yield Finding(name, "error" if cpu else "warning", str(error), todo, {"provider": provider})
            continue
        said = f"{provider} works: a convolution takes {speed.milliseconds:.3g} ms, {speed.gflops:.3g} GFLOP/s"
        values = {"provider": provider, "milliseconds": speed.milliseconds, "gflops": speed.gflops}
        yield Finding(name, "ok", said, values=values)


def _memory() -> Iterator[Finding]:
    memory = machine_memory()
    said, values = f"{memory / GIB:.3g} GiB for this process", {"bytes": memory}
    if memory < _LITTLE_MEMORY:
        yield Finding("memory", "warning", said, "give it 2 GiB, or restore small pictures only", values)
    else:
        yield Finding("memory", "ok", said, values=values)


def _cpus() -> Iterator[Finding]:
    usable, there = usable_cpus(), os.cpu_count() or 1
    yield Finding("cpus", "ok", f"{usable} of {there} for this process", values={"usable": usable, "there": there})


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        yield Finding(
            name, "warning", f"{folder} cannot be written: {error.strerror}", "write results elsewhere, with -o"
        )
        return
    free = free_disk(folder)
    status: Literal["ok", "warning"] = "ok" if free >= _LITTLE_DISK else "warning"
    said = f"{folder} can be written, {free / GIB:.3g} GiB free"
    yield Finding(name, status, said, "" if status == "ok" else "make room", {"free": free})


def _required(extra: str) -> list[str]:
    """Return the packages that restore-hub needs, or that an extra of it adds."""
    names = []
    for line in requires("restore-hub") or []:
        asked = re.search(r"""extra\s*==\s*['"]([\w-]+)""", line)
        if (asked[1] if asked else "") == extra:
            names.append(re.split(r"[^\w.-]", line, maxsplit=1)[0])
    return names


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
