"""RAW to picture: the U-Net of "Learning to See in the Dark", pairs of exposures, and pairs made from photos."""

from __future__ import annotations

from restore_hub.hookspecs import Register, hookimpl


@hookimpl
def register_networks(register: Register) -> None:
    register(
        "unet",
        "restore_hub_raw.unet:UNet",
        summary="U-Net from packed RAW planes to a full-resolution RGB picture",
        references=("Chen et al., Learning to See in the Dark, CVPR 2018",),
    )


@hookimpl
def register_datasets(register: Register) -> None:
    register(
        "pairs",
        "restore_hub_raw.pairs:Pairs",
        summary="Short-exposure RAW files with their long exposures as the reference",
        references=("Chen et al., Learning to See in the Dark, CVPR 2018",),
    )


@hookimpl
def register_commands(register: Register) -> None:
    register(
        "make-raw",
        "restore_hub_raw.make_raw:make_raw",
        summary="Make pairs of short and long RAW exposures (DNG) from ordinary photos",
        references=("Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019",),
    )
