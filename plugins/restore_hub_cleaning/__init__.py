"""Data hyper-cleaning: a weight for each training sample, learned so that wrong labels lose theirs."""

from __future__ import annotations

from restore_hub.hookspecs import Register, hookimpl

_LWCL = "Liu et al., Learning With Constraint Learning, TPAMI 2024 (LwCL)"


@hookimpl
def register_problems(register: Register) -> None:
    register(
        "hyper-cleaning",
        "restore_hub_cleaning.cleaning:HyperCleaning",
        summary="Sample weights above, a classifier below, part of the training labels wrong",
        references=(f"{_LWCL}, section V-B.3", "Franceschi et al., Forward and Reverse Gradient-Based, ICML 2017"),
    )
