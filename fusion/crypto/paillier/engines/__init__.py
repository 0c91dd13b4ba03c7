"""Engines: the same residues from GMP or from vector kernels made at run time.

:mod:`~fusion.crypto.paillier.engines.engine` is the interface, ``selection`` chooses. To add a
processor, add a shape to ``machine``; to add an operation, add it to the interface, to ``gmp`` and
to ``vector``.
"""

from __future__ import annotations
