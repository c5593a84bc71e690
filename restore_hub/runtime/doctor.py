"""Checks what restoring needs of this machine. Imports onnxruntime and others late, because they may be broken."""

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
    """The result of one check.

    Attributes:
        name: of the check.
        status: `error` if restoring can't work, `warning` if something else can't.
        found: what was found.
        mend: what to do, if anything.
        values: the same as numbers and texts, for programs.
    """

    name: str
    status: Literal["ok", "warning", "error"]
    found: str
    mend: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def examine(*more: tuple[str, Callable[[], Iterator[Finding]]]) -> list[Finding]:
    """Run all checks, those of `more` last; a check that itself fails is a warning."""
    checks = (
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
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check()
        except Exception as error:  # a broken machine may raise anything; the other checks go on
            findings.append(Finding(name, "warning", f"the check failed: {type(error).__name__}: {error}"))
    return findings


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _packages() -> Iterator[Finding]:
    """Packages for deploying. Several install the module `onnxruntime`, and any one will do."""
    try:
        names = ["restore-hub", *_required("")]
    except PackageNotFoundError:
        yield Finding("packages", "error", "restore-hub isn't installed; only its sources are here", "pip install .")
        return
    runtimes = sorted(set(packages_distributions().get("onnxruntime", [])))
    versions = {name: _version(name) for name in [*(name for name in names if name != "onnxruntime"), *runtimes]}
    missing = [name for name, found in versions.items() if not found] + ([] if runtimes else ["onnxruntime"])
    text = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    if missing:
        yield Finding("packages", "error", f"not installed: {', '.join(missing)}", _REINSTALL, versions)
    elif len(runtimes) > 1:
        both = " and ".join(runtimes)
        mend = f"{both} overwrite each other's files: uninstall all of them, then install the one you want"
        yield Finding("packages", "warning", text, mend, versions)
    else:
        yield Finding("packages", "ok", text, values=versions)


def _training() -> Iterator[Finding]:
    """Packages for training, read from metadata, because importing them takes seconds."""
    versions = {name: _version(name) for name in _required("train")}
    missing = [name for name, found in versions.items() if not found]
    text = ", ".join(f"{name} {found}" for name, found in versions.items() if found) or "nothing installed"
    if missing:
        text += f"; missing for training: {', '.join(missing)}: pip install 'restore-hub[train]'"
    yield Finding("training", "ok", text, values=versions)


def _runtime() -> Iterator[Finding]:
    try:
        import onnxruntime
        import rawpy

        import restore_hub.runtime.restore  # noqa: F401  # everything that restoring imports
    except Exception as error:  # a missing or damaged library may raise anything
        yield Finding("runtime", "error", f"{type(error).__name__}: {error}".splitlines()[0], _REINSTALL)
        return
    libraw = ".".join(map(str, rawpy.libraw_version))
    text = f"onnxruntime {onnxruntime.__version__}, LibRaw {libraw}"
    yield Finding("runtime", "ok", text, values={"onnxruntime": onnxruntime.__version__, "libraw": libraw})


def _devices() -> Iterator[Finding]:
    """Start and time every provider that onnxruntime offers: many lack their libraries."""
    import onnxruntime

    from restore_hub.runtime.device_benchmark import time_convolution

    names = {provider: device for device, provider in PROVIDERS.items()}
    for provider in onnxruntime.get_available_providers():
        if provider not in names:
            yield Finding("device", "ok", f"onnxruntime offers {provider}, which no --device uses")
            continue
        name = f"device {names[provider]}"
        try:
            speed = time_convolution(names[provider])
        except ModelFileError as error:
            cpu = names[provider] == "cpu"
            mend = _REINSTALL if cpu else f"use --device cpu, or install {PACKAGES[names[provider]]}"
            yield Finding(name, "error" if cpu else "warning", error.what, mend, {"provider": provider})
            continue
        text = f"{provider} works: a convolution takes {speed.milliseconds:.3g} ms, {speed.gflops:.3g} GFLOP/s"
        values = {"provider": provider, "milliseconds": speed.milliseconds, "gflops": speed.gflops}
        yield Finding(name, "ok", text, values=values)


def _memory() -> Iterator[Finding]:
    memory = machine_memory()
    text, values = f"{memory / GIB:.3g} GiB for this process", {"bytes": memory}
    if memory < _LITTLE_MEMORY:
        yield Finding("memory", "warning", text, "give it 2 GiB, or restore only small pictures", values)
    else:
        yield Finding("memory", "ok", text, values=values)


def _cpus() -> Iterator[Finding]:
    usable, there = usable_cpus(), os.cpu_count() or 1
    yield Finding("cpus", "ok", f"{usable} of {there} for this process", values={"usable": usable, "there": there})


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        yield Finding(
            name, "warning", f"{folder} can't be written: {error.strerror}", "write results elsewhere, with -o"
        )
        return
    free = free_disk(folder)
    status: Literal["ok", "warning"] = "ok" if free >= _LITTLE_DISK else "warning"
    text = f"{folder} is writable, {free / GIB:.3g} GiB free"
    yield Finding(name, status, text, "" if status == "ok" else "free some space", {"free": free})


def _required(extra: str) -> list[str]:
    """Return the packages that restore-hub requires, or that an extra adds."""
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
