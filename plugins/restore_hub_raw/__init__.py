"""From RAW to pictures: the U-Net of "Learning to See in the Dark", pairs of exposures, and pairs made from photos."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, RegisterCommand, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))


@hookimpl
def register_networks(register: Register) -> None:
    register(
        "unet",
        "restore_hub_raw.unet:UNet",
        summary="U-Net from packed RAW planes to a full-resolution RGB picture",
        references=("Chen et al., Learning to See in the Dark, CVPR 2018",),
    )
    register(
        "denoiser",
        "restore_hub_raw.unet:Denoiser",
        summary="U-Net that denoises packed RAW planes; exported, it denoises mosaics (Bayer DNG out)",
        references=("Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019",),
    )


@hookimpl
def register_datasets(register: Register) -> None:
    register(
        "pairs",
        "restore_hub_raw.datasets.pairs:Pairs",
        summary="Short-exposure RAW files with their long exposures as the reference",
        references=("Chen et al., Learning to See in the Dark, CVPR 2018",),
    )
    register(
        "folder",
        "restore_hub_raw.datasets.folder:Folder",
        summary="RAW files without references, for losses that need none",
        references=("Liu et al., Bilevel Generative Learning for Low-Light Vision, ACM MM 2023",),
    )
    register(
        "sid",
        "restore_hub_raw.datasets.sid:Sid",
        summary="The See-in-the-Dark data set (Sony), with its official lists",
        references=("Chen et al., Learning to See in the Dark, CVPR 2018",),
    )
    register(
        "photos",
        "restore_hub_raw.datasets.photos:Photos",
        summary="Ordinary photos turned into dark RAW exposures while training, with augmentation",
        references=(
            "Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019",
            "Buslaev et al., Albumentations: Fast and Flexible Image Augmentations, Information 2020",
        ),
    )


@hookimpl
def register_readers(register: Register) -> None:
    register(
        "bayer",
        "restore_hub.photo.raw.bayer:Bayer",
        summary="RAW files of Bayer sensors: 2x2 tiles of red, green, green and blue",
    )


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    register(
        "make-raw",
        "restore_hub_raw.commands:make_raw",
        summary="Make pairs of short and long RAW exposures (DNG) from ordinary photos",
        group="data",
        references=("Brooks et al., Unprocessing Images for Learned Raw Denoising, CVPR 2019",),
    )
    register(
        "noise",
        "restore_hub_raw.commands:noise",
        summary="Measure a sensor's shot and read noise from RAW files, for `make-raw --noise`",
        group="data",
        references=(
            "Foi et al., Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data, "
            "IEEE TIP 2008",
        ),
    )
    register(
        "check",
        "restore_hub_raw.commands:check",
        summary="Find misaligned pairs, wrong exposure ratios, duplicates and unreadable files in training data",
        group="data",
        references=(
            "Kuglin & Hines, The Phase Correlation Image Alignment Method, 1975",
            "Guizar-Sicairos et al., Efficient Subpixel Image Registration Algorithms, Optics Letters 2008",
        ),
    )
