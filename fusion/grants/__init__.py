"""Who may do what: the grant, its signatures, the decision, the permit, the refusal, the budget.

Pure: bytes and values in, values out or an error. Who reads files, clocks and databases is
:mod:`fusion.services.grants`; what survives is in :mod:`fusion.stores.budgets`. What is promised
here is in ``docs/claims/grants.md``.
"""

from __future__ import annotations
