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
    register(
        "rhg",
        "restore_hub.bilevel.solvers:Rhg",
        summary="Reverse mode through all lower steps",
        references=("Franceschi et al., Forward and Reverse Gradient-Based Hyperparameter Optimization, ICML 2017",),
    )
    register(
        "truncated-rhg",
        "restore_hub.bilevel.solvers:TruncatedRhg",
        summary="Reverse mode through the last lower steps",
        references=("Shaban et al., Truncated Back-propagation for Bilevel Optimization, AISTATS 2019",),
    )
    register(
        "bda",
        "restore_hub.bilevel.solvers:Bda",
        summary="Reverse mode through lower steps on a mixture of both energies",
        references=("Liu et al., A Generic First-Order Algorithmic Framework for Bi-Level Programming, ICML 2020",),
    )
    register(
        "cg",
        "restore_hub.bilevel.solvers:Cg",
        summary="Several lower steps, then the implicit response by conjugate gradient",
        references=(
            "Pedregosa, Hyperparameter Optimization with Approximate Gradient, ICML 2016",
            "Rajeswaran et al., Meta-Learning with Implicit Gradients, NeurIPS 2019",
        ),
    )
    register(
        "neumann",
        "restore_hub.bilevel.solvers:Neumann",
        summary="Several lower steps, then the implicit response by a Neumann series",
        references=(
            "Lorraine et al., Optimizing Millions of Hyperparameters by Implicit Differentiation, AISTATS 2020",
        ),
    )
    register(
        "f2sa",
        "restore_hub.bilevel.solvers:F2sa",
        summary="First derivatives alone: a second lower level is drawn by the upper energy",
        references=("Kwon et al., A Fully First-Order Method for Stochastic Bilevel Optimization, ICML 2023",),
    )
