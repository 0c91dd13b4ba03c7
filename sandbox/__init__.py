"""Restricted queries: SQL and Python that see data only through a policy.

A statement is analysed against the owner's policy (:mod:`sandbox.analyse`), compiled
(:mod:`sandbox.compile`), run (:mod:`sandbox.engine`) and released (:mod:`sandbox.disclosure`);
:mod:`sandbox.query` is the way from beginning to end, :mod:`sandbox.isolate` the confinement that
untrusted work runs in, :mod:`sandbox.history` what was released before. It must never import
``federated``, nor be imported by ``fusion`` (entry points only).
"""

from __future__ import annotations

import logging

# sqlglot logs statements that it does not understand, word for word.
logging.getLogger("sqlglot").disabled = True
