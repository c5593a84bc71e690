"""Problems with a known optimum, to test bilevel solvers."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))

_LWCL = "Liu et al., Learning With Constraint Learning, TPAMI 2024 (LwCL)"


@hookimpl
def register_problems(register: Register) -> None:
    register(
        "sine",
        "restore_hub_numerical.sine:Sine",
        summary="The toy problem of LwCL Eq. 9: any size, non-convex lower level, known optimum",
        references=(f"{_LWCL}, Eq. 9, its optimum corrected",),
    )
