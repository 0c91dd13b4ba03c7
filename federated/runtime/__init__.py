"""Everything that touches Flower's private interfaces; ``contract.py`` checks them.

Written against flwr 1.41. A Flower upgrade starts here and nowhere else.
"""

from __future__ import annotations
