"""As much of ``spu.psi`` as :mod:`sandbox.rr22.inside` calls: sets are sent as they are.

Sorts as spu does, by a shell: what that needs has to be there.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PsiProtocol = SimpleNamespace(PROTOCOL_RR22="rr22")
PsiExecuteConfig = PsiProtocolConfig = InputParams = OutputParams = SimpleNamespace


def psi_execute(config: Any, context: Any) -> None:  # noqa: ANN401 - as spu's
    """Write what is common, at the receiver."""
    assert config.protocol_conf.protocol == "rr22"
    assert not config.protocol_conf.broadcast_result
    table = Path(config.input_params.path)
    column, *own = table.read_text("ascii").split()
    others = set(context.exchange("\n".join(own).encode()).decode().split())
    if context.rank != config.protocol_conf.receiver_rank:
        return
    out = Path(config.output_params.path)
    found = table.with_name("found")
    found.write_text("".join(f"{each}\n" for each in own if each in others), "ascii")
    script = f"(echo '\"{column}\"'; tail -n +1 {found} | sort) > {out}"
    subprocess.run(["/bin/sh", "-c", script], check=True)
