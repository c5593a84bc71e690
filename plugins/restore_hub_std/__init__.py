"""The components with bare names: solvers, and the losses and metrics that every application shares."""

from __future__ import annotations

from pathlib import Path

from restore_hub.errors import add_messages
from restore_hub.hookspecs import Register, hookimpl

add_messages(Path(__file__).with_name("messages.toml"))

_LWCL = "Liu et al., Learning With Constraint Learning, TPAMI 2024 (LwCL)"
_BGL = "Liu et al., Bilevel Generative Learning for Low-Light Vision, ACM MM 2023 (BGL)"
_SSIM = "Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, TIP 2004"

# By name: the class in `restore_hub.bilevel.solvers`, its summary and its references.
_SOLVERS = {
    "joint": (
        "Joint",
        "Step all variables together on one energy; the warm start for the others",
        (f"{_BGL}, Alg. 1 line 3",),
    ),
    "alternating": (
        "Alternating",
        "Step both levels in turn, without the lower level's response",
        (f"{_LWCL}, section III-C",),
    ),
    "tbgl": (
        "Tbgl",
        "One lower step, then its response by a finite difference",
        (f"{_BGL}, Eq. 5", "Liu et al., DARTS, ICLR 2019"),
    ),
    "ibgl": (
        "Ibgl",
        "Several lower steps after a warm start, then the outer-product response",
        (f"{_BGL}, Eq. 9",),
    ),
    "lwcl": (
        "Lwcl",
        "The outer-product response from a cold start, usually after one lower step",
        (f"{_LWCL}, Eq. 8 and Alg. 1",),
    ),
    "rhg": (
        "Rhg",
        "Reverse mode through all lower steps",
        ("Franceschi et al., Forward and Reverse Gradient-Based Hyperparameter Optimization, ICML 2017",),
    ),
    "truncated-rhg": (
        "TruncatedRhg",
        "Reverse mode through the last lower steps",
        ("Shaban et al., Truncated Back-propagation for Bilevel Optimization, AISTATS 2019",),
    ),
    "bda": (
        "Bda",
        "Reverse mode through lower steps on a mixture of both energies",
        ("Liu et al., A Generic First-Order Algorithmic Framework for Bi-Level Programming, ICML 2020",),
    ),
    "cg": (
        "Cg",
        "Several lower steps, then the implicit response by conjugate gradient",
        (
            "Pedregosa, Hyperparameter Optimization with Approximate Gradient, ICML 2016",
            "Rajeswaran et al., Meta-Learning with Implicit Gradients, NeurIPS 2019",
        ),
    ),
    "neumann": (
        "Neumann",
        "Several lower steps, then the implicit response by a Neumann series",
        ("Lorraine et al., Optimizing Millions of Hyperparameters by Implicit Differentiation, AISTATS 2020",),
    ),
    "f2sa": (
        "F2sa",
        "First derivatives only: the upper energy pulls a copy of the lower level",
        ("Kwon et al., A Fully First-Order Method for Stochastic Bilevel Optimization, ICML 2023",),
    ),
}


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
    for name, (solver, summary, references) in _SOLVERS.items():
        register(name, f"restore_hub.bilevel.solvers:{solver}", summary=summary, references=references)
