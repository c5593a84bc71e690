"""Reverse mode through all lower steps."""

from __future__ import annotations

from restore_hub.bilevel.solvers.truncated_rhg import TruncatedRhg


class Rhg(TruncatedRhg):
    """Reverse mode through all K lower steps, kept in a graph (reverse hyper-gradient).

    Gradient: G = dF_upper/dtheta + (d omega_K / dtheta)^T dF_upper/domega, exact for theta -> F_upper(theta, omega_K)
    with omega_0 constant, and for the bilevel problem as far as the K steps converge. The lower optimizer is SGD (with
    or without momentum), Adam or AdamW.

    If F_lower is piecewise linear in x and omega, the lower steps don't respond to x: `response_norm` is then 0, and
    the step is that of `alternating`.

    Memory grows with K. Cost: K gradients of F_lower, one of F_upper, and K Hessian-vector products.

    Reference:
        Franceschi et al., Forward and Reverse Gradient-Based Hyperparameter Optimization, ICML 2017.
    """

    def __init__(self) -> None:
        self.last = None
