"""Retinex enhancement: illumination networks, and the self-supervised loss that trains them without references."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))

_SCI = "Ma et al., Toward Fast, Flexible, and Robust Low-Light Image Enhancement, CVPR 2022"
_BGL = "Liu et al., Bilevel Generative Learning for Low-Light Vision, ACM MM 2023"


@hookimpl
def register_networks(register: Register) -> None:
    register(
        "illumination",
        "restore_hub_retinex.networks:Illumination",
        summary="Self-calibrated illumination estimator (SCI): divides the picture by its illumination",
        references=(_SCI,),
    )
    register(
        "cascade",
        "restore_hub_retinex.cascade:Cascade",
        summary="Multiplies the picture by four gain maps, made by three cascaded convolutions",
        references=(_BGL,),
    )


@hookimpl
def register_losses(register: Register) -> None:
    register(
        "self-supervised",
        "restore_hub_retinex.losses:SelfSupervised",
        summary="Fidelity and edge-aware smoothness of each stage's illumination, without a reference",
        references=(_SCI,),
    )
