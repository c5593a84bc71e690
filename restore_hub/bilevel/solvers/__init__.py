"""The solvers: one outer step each, assembled from the functions of `restore_hub.bilevel`.

Notation: theta, F_upper above; omega, F_lower below; x = couple(batch) between them. In every two-level solver
the lower steps run on x detached, and the upper block runs backward once, with all cotangents. Steps that are kept in a
graph (`rhg`, `truncated-rhg`, `bda`) give omega the memory of their results, all others are in place.

Which one: where second derivatives can be had, `Rhg`, `TruncatedRhg` with as many steps as matter, or `Cg` after enough
lower steps; each is right on every problem that meets its conditions. `F2sa` needs none, and a large penalty. The outer
product of `Ibgl` and `Lwcl` is the cheapest and no general hypergradient: one number scales all of dF_lower/dx. Where
that is far off, theta can run away uphill: on ridge regression with log lambda above, |g_l| falls and s grows without
end. Take it with `groups` (no help where all of them share the term that theta acts through), or where `cosine` is near
one in absolute value, and hold it against an exact solver first.

On the toy problem of LwCL Eq. 9, from equal starts, n = 1 .. 10^4, these reach theta* to 2e-4: `lwcl`, `cg`,
`neumann`, and `f2sa` at penalty 10^4, all with one lower step already; `rhg` with 20. These do not for small
n: `f2sa` at its default (error 0.14 / penalty), `truncated-rhg` with 5 of 20 steps (2e-3), `bda` with 20
(8e-3). `alternating` never does.

Logged, numbers but for the losses, which are 0-dim tensors: `loss/upper`; `loss/lower` (before the last lower
step); `g_lower` = |g_l|, `cosine` of g_l and g_u, `response_norm` and `direct_norm` (of dF_upper/dx) where there is a
response; `s` and `capped` (0 or 1) for the outer product; `residual` and `negative_curvature` (0 or 1) of an implicit
linear system.
`g_lower` is exactly 0 where the response of the outer product was 0/0 and is taken as zero.

A state holds what the optimizers and the solver remember, not theta and omega: save these beside its `state_dict()`,
and a `Start`'s, to go on to the same bits.

For solvers of one's own: `new_state` and `State` (what is carried from step to step), `report` and `Logs` (what is
logged), beside the functions of `restore_hub.bilevel`; a whole one is in docs/plugins.md.

An energy or gradient that is not finite is found before the step that it would spoil: that level and those
after it stay as they were, while lower steps that were sound stand.
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
