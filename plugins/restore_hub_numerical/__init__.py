"""Problems in closed form: bilevel solvers against a known optimum."""

from __future__ import annotations

from restore_hub.hookspecs import Register, hookimpl

_LWCL = "Liu et al., Learning With Constraint Learning, TPAMI 2024 (LwCL)"


@hookimpl
def register_problems(register: Register) -> None:
    register(
        "sine",
        "restore_hub_numerical.sine:Sine",
        summary="The toy problem of LwCL Eq. 9, non-convex below, of any size, its optimum known",
        references=(f"{_LWCL}, Eq. 9, its optimum corrected",),
    )
