"""The generator of the vector kernels: one description, executed by LLVM or by Python's integers.

Read in this order: ``shape`` (what a processor offers), ``vocabulary`` (the words kernels are
written in), ``montgomery`` (the arithmetic), ``digits`` (rings of one and two digits), and what is
exported: ``products``, ``power``, ``comb``, ``buckets``. ``llvm`` and ``model`` are two machines
that the words can be said to.
"""

from __future__ import annotations
