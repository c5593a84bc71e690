"""Data hyper-cleaning: learns a weight for each training sample, so that wrong labels lose theirs."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))

_LWCL = "Liu et al., Learning With Constraint Learning, TPAMI 2024 (LwCL)"


@hookimpl
def register_problems(register: Register) -> None:
    register(
        "hyper-cleaning",
        "restore_hub_cleaning.cleaning:HyperCleaning",
        summary="Learn sample weights (upper level) for a classifier (lower level) when some labels are wrong",
        references=(f"{_LWCL}, section V-B.3", "Franceschi et al., Forward and Reverse Gradient-Based, ICML 2017"),
    )
