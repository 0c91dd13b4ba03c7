"""The tamper-evident log: Merkle tree, checkpoints and the cosignatures of witnesses.

Pure: bytes in, bytes or an error out. Storage is in :mod:`fusion.stores`.
"""

from __future__ import annotations
