"""The outer-product response from a cold start."""

from __future__ import annotations

from restore_hub.bilevel.solvers.ibgl import Ibgl


class Lwcl(Ibgl):
    """The outer-product response from a cold start, meant for one lower step; the step itself is that of `ibgl`.

    Args:
        cap, groups, damping: as in `ibgl`.

    Reference:
        Learning with Constraint Learning (TPAMI 2024), Eq. 8 and Alg. 1.
    """
