"""What was released before is part of the decision: a ledger of leverage over released cells.

Claims, assumptions and what is not covered: ``docs/claims/history.md``. The decision behind it:
``docs/adr/0018-history.md``. From below: :mod:`predicates` and :mod:`identities` (what a cell is by
definition), :mod:`columns`, :mod:`factor` and :mod:`leverage` (which linear combinations of
released cells there are), :mod:`thresholds` (keyed draws), :mod:`decide` (the ladder),
:mod:`store` and :mod:`guard` (durable before a number leaves).
"""

from __future__ import annotations
