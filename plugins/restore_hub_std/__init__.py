"""The bare names: solvers, and the losses and metrics that every application shares."""

from __future__ import annotations

from restore_hub.hookspecs import Register, hookimpl

_LWCL = "Liu et al., Learning With Constraint Learning, TPAMI 2024 (LwCL)"
_BGL = "Liu et al., Bilevel Generative Learning for Low-Light Vision, ACM MM 2023 (BGL)"
_SSIM = "Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, TIP 2004"


@hookimpl
def register_losses(register: Register) -> None:
    register("l1", "restore_hub_std.losses:L1", summary="Mean absolute error")
    register("l2", "restore_hub_std.losses:L2", summary="Mean squared error")
    register("ssim", "restore_hub_std.losses:Ssim", summary="1 - SSIM, averaged over pictures", references=(_SSIM,))


@hookimpl
def register_metrics(register: Register) -> None:
    register("psnr", "restore_hub_std.metrics:Psnr", summary="Peak signal-to-noise ratio in dB, RGB jointly")
    register("ssim", "restore_hub_std.metrics:Ssim", summary="Structural similarity, RGB", references=(_SSIM,))


@hookimpl
def register_solvers(register: Register) -> None:
    register(
        "joint",
        "restore_hub.bilevel.solvers:Joint",
        summary="All variables step together on one energy; the warm start of the others",
        references=(f"{_BGL}, Alg. 1 line 3",),
    )
    register(
        "alternating",
        "restore_hub.bilevel.solvers:Alternating",
        summary="Both levels step in turn, the lower level's response left out",
        references=(f"{_LWCL}, section III-C",),
    )
    register(
        "tbgl",
        "restore_hub.bilevel.solvers:Tbgl",
        summary="One lower step, its response by a finite difference",
        references=(f"{_BGL}, Eq. 5", "Liu et al., DARTS, ICLR 2019"),
    )
    register(
        "ibgl",
        "restore_hub.bilevel.solvers:Ibgl",
        summary="Several lower steps after a warm start, then the outer-product response",
        references=(f"{_BGL}, Eq. 9",),
    )
    register(
        "lwcl",
        "restore_hub.bilevel.solvers:Lwcl",
        summary="One lower step by default and no warm start, then the outer-product response",
        references=(f"{_LWCL}, Eq. 8 and Alg. 1",),
    )
