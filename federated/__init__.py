"""Training over organisations: studies, models, rounds, and the Flower apps that carry them.

``fusion`` never imports this package: it finds the engine through the entry point group
``fusion.engines``. The protocols and everything that judges data are pure and import no Flower.
"""

from __future__ import annotations
