"""Queries under differential privacy (mode ``dp`` of a policy): noise under a budget of rho.

Layers, from below: ``domains`` (which groups there can be), ``plan`` (which sums a statement needs,
how far one entity moves them, how rho is split), ``bounding`` (their SQL), ``mechanism`` (OpenDP),
``release`` (noisy sums to a table), ``answering`` (a node's way of one query), ``spending``
(charges and answers given again). What is promised is on ``docs/claims/dp-queries.md``.
"""

from __future__ import annotations
