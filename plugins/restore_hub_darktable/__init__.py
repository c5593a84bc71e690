"""Packs exported files as models for darktable."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))


@hookimpl
def register_exporters(register: Register) -> None:
    register(
        "dtmodel",
        "restore_hub_darktable.dtmodel:DtModel",
        summary="Raw denoise model for darktable 5.6 and later, from a file that denoises mosaics",
        references=("https://www.darktable.org",),
    )
