"""Examines a machine, and the hub or node on it, and says what to do.

It changes nothing: no port stays bound, the hub is asked for what any member may ask, and no file
is written but a node's certificate of the day, if that is due when the hub is dialled. Findings
carry paths, names and dates, never a key, a share or a cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fusion.errors import FusionError, InputInvalid
from fusion.services import engines, passphrases
from fusion.services.clock import SystemClock
from fusion.services.doctor_folder import folder_findings, newest_certificate
from fusion.services.doctor_machine import isolation_finding, machine_findings
from fusion.services.doctor_network import hub_findings, port_finding
from fusion.services.findings import Finding, ok, problem
from fusion.services.homes import (
    DEFAULT_WORKER_USER,
    HUB_FILE,
    NODE_FILE,
    HubHome,
    NodeHome,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from fusion.ports import Clock

Kind = Literal["hub", "node"]


def examine(home: Path | None = None, *, clock: Clock | None = None) -> list[Finding]:
    """Return what was found, in the order in which it is read best.

    Args:
        home: A hub's or node's folder; without it only the machine is examined.
        clock: Time.

    Raises:
        InputInvalid: The folder is neither.
    """
    found = machine_findings()
    if home is None:
        return [*found, _isolation(DEFAULT_WORKER_USER)]
    kind = kind_of(home)
    try:
        opened = HubHome.open(home) if kind == "hub" else NodeHome.open(home)
    except FusionError as error:
        todo = error.hint or "Correct the file."
        found.append(_isolation(DEFAULT_WORKER_USER))
        return [*found, problem("configuration", error.message, todo)]
    clock = clock or SystemClock()
    if isinstance(opened, NodeHome):
        found.append(_isolation(opened.config.worker_user))
    found.append(ok("configuration", f"{opened.path} is a {kind}"))
    folder = folder_findings(opened, clock.now())
    network = [port_finding(opened)] if isinstance(opened, HubHome) else hub_findings(opened, clock)
    if not any(finding.check == "clock" for finding in network):
        network.insert(0, _clock_by_certificates(newest_certificate(opened), clock.now()))
    return _said_once([*found, *folder, *network])


def _said_once(findings: list[Finding]) -> list[Finding]:
    """Leave out what was said before: a wrong passphrase stops several looks, one says so."""
    found: list[Finding] = []
    for finding in findings:
        if finding.todo != passphrases.WRONG or all(each.todo != finding.todo for each in found):
            found.append(finding)
    return found


def _isolation(account: str) -> Finding:
    return isolation_finding(engines.isolation(), account)


def kind_of(home: Path) -> Kind:
    """Return what a folder is.

    Raises:
        InputInvalid: Neither a hub nor a node.
    """
    if (home / HUB_FILE).exists():
        return "hub"
    if (home / NODE_FILE).exists():
        return "node"
    raise InputInvalid(
        f"{home} is neither a hub nor a node.",
        hint="Name the folder that `fusion hub init` or `fusion node init` made.",
    )


def _clock_by_certificates(newest: datetime | None, now: datetime) -> Finding:
    """Judge the clock where there is no other to compare it with."""
    words = f"This clock says {now:%Y-%m-%d %H:%M} UTC"
    if newest is not None and now < newest:
        msg = f"{words}, which is before a certificate here was made."
        return problem("clock", msg, "Set this machine's clock.")
    return ok("clock", f"{words}; no certificate here is newer, and there is no other clock to ask")
