"""Retinex enhancement: illumination networks and the self-supervised loss that trains them without pairs."""

from __future__ import annotations

from restore_hub.hookspecs import Register, hookimpl

_SCI = "Ma et al., Toward Fast, Flexible, and Robust Low-Light Image Enhancement, CVPR 2022"
_BGL = "Liu et al., Bilevel Generative Learning for Low-Light Vision, ACM MM 2023"


@hookimpl
def register_networks(register: Register) -> None:
    register(
        "illumination",
        "restore_hub_retinex.networks:Illumination",
        summary="Self-calibrated illumination estimator (SCI); divides the picture by its illumination",
        references=(_SCI,),
    )
    register(
        "cascade",
        "restore_hub_retinex.cascade:Cascade",
        summary="Three cascaded convolutions that give four gain maps; multiplies the picture by them",
        references=(_BGL,),
    )


@hookimpl
def register_losses(register: Register) -> None:
    register(
        "self-supervised",
        "restore_hub_retinex.losses:SelfSupervised",
        summary="Fidelity and edge-aware smoothness of the illumination of each stage; needs no reference",
        references=(_SCI,),
    )
