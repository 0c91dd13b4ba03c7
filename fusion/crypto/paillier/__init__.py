"""Packed, threshold Paillier: keys, packing, encrypted vectors, dealing and combining.

Numbers and bytes only. What a ciphertext means, who may open it and when, is decided above
(:mod:`federated.protocols.secure_sum`). Claims: ``docs/claims/secure-sum.md``.
"""

from __future__ import annotations
