"""Banyan: joint models and restricted queries over data that never leaves its owner.

``fusion`` is the base: words, bytes, identities, the verbs and the command line. It never imports
``federated`` or ``sandbox``; it finds them through the entry point group ``fusion.engines``.
"""

from __future__ import annotations
