"""Runs a console script of this environment so that it dies with the process that started it.

``python -m federated.runtime.tethered flower-superlink --host ...``. A hub that is killed must not
leave a SuperLink behind that holds the port and the database; Flower's own ``--parent-pid`` exists
for some of its programs only, and looks once in a while.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from fusion.services.tether import tie_to_parent


def main() -> None:
    """Tie, then run the script named by the first argument, in this process."""
    parent, name = int(sys.argv[1]), sys.argv[2]
    tie_to_parent(parent)
    (script,) = entry_points(group="console_scripts", name=name)
    sys.argv = [name, *sys.argv[3:]]
    sys.exit(script.load()())


if __name__ == "__main__":
    main()
