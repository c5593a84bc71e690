"""The solvers: each takes one outer step, built from the functions of `restore_hub.bilevel`.

Notation: theta and F_upper at the upper level; omega and F_lower at the lower one; x = couple(batch) between them. In
every two-level solver the lower steps run on x detached, and the upper block runs backward once, with all cotangents.
Steps kept in a graph (`rhg`, `truncated-rhg`, `bda`) make omega share the memory of their results; all others are in
place.

Which one to choose: if second derivatives are available, `Rhg`, `TruncatedRhg` with as many steps as matter, or `Cg`
after enough lower steps; each is correct on every problem that meets its conditions. `F2sa` needs no second derivatives
but a large penalty. The outer product of `Ibgl` and `Lwcl` is the cheapest, but not a general hypergradient: one number
scales all of dF_lower/dx. Where that is far off, theta can run away uphill: on ridge regression with log lambda as
theta, |g_l| falls and s grows without bound. Use it with `groups` (which don't help if all groups share the term that
theta acts through), or where |`cosine`| is near 1, and compare it with an exact solver first.

On the toy problem of LwCL Eq. 9, from equal starts, n = 1 .. 10^4, these reach theta* to 2e-4: `lwcl`, `cg`, `neumann`
and `f2sa` at penalty 10^4, all with a single lower step; `rhg` with 20. For small n these don't: `f2sa` at its default
(error 0.14 / penalty), `truncated-rhg` with 5 of 20 steps (2e-3), `bda` with 20 (8e-3). `alternating` never does.

Logged, as 0-dim tensors for the losses and numbers for the rest: `loss/upper`; `loss/lower` (before the last lower
step); with a response also `g_lower` = |g_l|, `cosine` of g_l and g_u, `response_norm` and `direct_norm` (of
dF_upper/dx); for the outer product `s` and `capped` (0 or 1); for an implicit linear system `residual` and
`negative_curvature` (0 or 1). If the outer product was 0/0 and its response taken as zero, `g_lower` is exactly 0.

A state holds what the optimizers and the solver remember, but not theta and omega. To resume with the same bits, save
those together with its `state_dict()`, and with that of a `Start`.

For your own solver, use `new_state` and `State` (what is carried from step to step), `report` and `Logs` (what is
logged) and the functions of `restore_hub.bilevel`; docs/how-to/write-solver.md has a complete one.

An energy or gradient that isn't finite is an error before the step that it would spoil: that level and those after it
don't change, and the lower steps before it remain.
"""

from __future__ import annotations

from restore_hub.bilevel.solvers.alternating import Alternating
from restore_hub.bilevel.solvers.bda import Bda
from restore_hub.bilevel.solvers.cg import Cg
from restore_hub.bilevel.solvers.f2sa import F2sa
from restore_hub.bilevel.solvers.ibgl import Ibgl
from restore_hub.bilevel.solvers.joint import Joint
from restore_hub.bilevel.solvers.lwcl import Lwcl
from restore_hub.bilevel.solvers.neumann import Neumann
from restore_hub.bilevel.solvers.rhg import Rhg
from restore_hub.bilevel.solvers.state import Logs, State, new_state, report
from restore_hub.bilevel.solvers.tbgl import Tbgl
from restore_hub.bilevel.solvers.truncated_rhg import TruncatedRhg

__all__ = [
    "Alternating",
    "Bda",
    "Cg",
    "F2sa",
    "Ibgl",
    "Joint",
    "Logs",
    "Lwcl",
    "Neumann",
    "Rhg",
    "State",
    "Tbgl",
    "TruncatedRhg",
    "new_state",
    "report",
]
