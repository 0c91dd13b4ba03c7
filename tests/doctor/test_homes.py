"""The doctor and real homes: each trouble is made on purpose, and has to be found and named."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fusion.errors import InputInvalid
from fusion.link.loopback import free_port
from fusion.services import rosters
from fusion.services.doctor import examine
from fusion.services.doctor_folder import EMPTY_BYTES, SCARCE_BYTES, disk_finding
from fusion.services.files import toml_text, write_atomic
from fusion.services.homes import HubHome
from fusion.services.leaves import ensure_leaf
from fusion.services.organisations import change_passphrase
from fusion.stores.rounds import SqliteRoundLog
from tests.doctor.homes import Later, found_of, the, write_node
from tests.link.federation import admit, make_hub, make_node, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.doctor.homes import World


def test_all_is_well(world: World) -> None:
    for home in (world.hub, world.node):
        # Their keys are not encrypted, which is the one thing to say of them; whether bubblewrap is
        # installed is the machine's.
        found = [f.check for f in examine(home.path) if f.status != "ok"]
        assert [check for check in found if check != "isolation"] == ["passphrase"]
    checks = [finding.check for finding in examine(world.node.path)]
    assert list(dict.fromkeys(checks)) == [
        "python", "packages", "engine", "threads", "isolation", "configuration", "disk",
        "permissions", "identity", "passphrase", "certificates", "roster", "stores", "keys",
        "data", "clock", "hub",
    ]  # fmt: skip
    assert the(world.node, "hub").message.endswith("answers and knows this node")
    assert "share held here" in the(world.node, "keys").message
    assert "no share here" in the(world.hub, "keys").message


def test_nothing_is_changed(world: World) -> None:
    def state(path: Path) -> dict[str, tuple[int, bytes]]:
        return {
            str(p): (p.stat().st_mtime_ns, p.read_bytes())
            for p in path.rglob("*")
            # What SQLite leaves beside a file that was opened to be read only.
            if p.is_file() and not p.name.endswith(("-shm", "-wal"))
        }

    for home in (world.hub, world.node):
        before = state(home.path)
        examine(home.path)
        assert state(home.path) == before


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="neither a hub nor a node"):
        examine(tmp_path)


@pytest.mark.parametrize("marker", ["hub.toml", "node.toml"])
def test_a_configuration_that_can_not_be_read_is_a_problem(tmp_path: Path, marker: str) -> None:
    (tmp_path / marker).write_text("id = 7\n", "utf-8")
    (found,) = [f for f in examine(tmp_path) if f.status == "problem"]
    assert found.check == "configuration"
    assert marker in found.message


# ------------------------------------------------------------------------------ certificates


@pytest.mark.parametrize(
    ("days", "status", "words"),
    [
        (3500, "ok", "149 days left"),
        (3600, "warning", "49 days left"),
        (3651, "problem", "expired on"),
    ],
)
def test_an_organisations_ca_comes_to_its_end(
    world: World, days: float, status: str, words: str
) -> None:
    (found,) = [
        f
        for f in found_of(world.node, "certificates", Later(days))
        if f.message.startswith("this organisation's CA")
    ]
    assert (found.status, words in found.message) == (status, True)
    if status != "ok":
        assert "fusion org rotate" in found.todo


def test_the_hubs_operator_sees_when_its_certificate_expires(world: World) -> None:
    own = [
        f for f in found_of(world.hub, "certificates", Later(6 * 365)) if "hub's port" in f.message
    ]
    assert [f.status for f in own] == ["problem"]
    assert "fusion hub up" in own[0].todo


def test_an_old_certificate_of_the_day_is_no_problem(world: World) -> None:
    ensure_leaf(world.node, "federation.local", datetime.now(UTC) - timedelta(days=40))
    assert all(f.status == "ok" for f in found_of(world.node, "certificates"))
    assert the(world.node, "hub").status == "ok"
    assert any("renewed by itself" in f.message for f in found_of(world.node, "certificates"))


def test_a_revoked_organisation_is_told_so(world: World) -> None:
    roster = rosters.revoke(world.hub, "a.example", "left")
    world.node.keep_epoch(roster, world.hub.roster_file.read_bytes())
    assert the(world.node, "roster").status == "problem"
    assert "left" in the(world.node, "roster").message


def test_a_clock_before_the_certificates_is_a_problem(world: World) -> None:
    found = examine(world.hub.path, clock=Later(-2))
    clock = [f for f in found if f.check == "clock"]
    assert [f.status for f in clock] == ["problem"]
    assert all(f.status == "problem" for f in found if f.check == "certificates")


def test_a_damaged_certificate_is_a_problem(world: World) -> None:
    world.node.org_ca.write_text("no certificate", "utf-8")
    assert any(f.status == "problem" for f in found_of(world.node, "certificates"))


def test_a_node_that_is_not_admitted_yet(world: World, tmp_path: Path) -> None:
    node = write_node(world, make_node(world.hub, tmp_path / "new", "new.example"))
    assert the(node, "certificates").status == "warning"
    assert "request.csr" in the(node, "certificates").todo
    assert the(node, "hub").message.endswith("answers for federation.local")


# ------------------------------------------------------------------------------------ clock


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, "ok"), (90, "warning"), (-90, "warning"), (3600, "problem"), (-3600, "problem")],
)
def test_a_nodes_clock_is_compared_with_the_hubs(world: World, seconds: int, status: str) -> None:
    (found,) = found_of(world.node, "clock", Later(seconds / 86400))
    assert found.status == status
    said = re.search(r"is (\d+) s (behind|ahead of) the hub's", found.message)
    assert said is not None
    # The hub tells the time to the second, and its word takes a moment.
    ahead = int(said[1]) * (1 if said[2] == "ahead of" else -1)
    assert abs(ahead - seconds) < 20


# ------------------------------------------------------------------------------- permissions


@pytest.mark.parametrize(
    ("what", "mode", "repair"),
    [
        ("keys/statement.pem", 0o644, "chmod 600"),
        ("keys/org-ca.pem", 0o640, "chmod 600"),
        (".", 0o755, "chmod 700"),
        ("keys", 0o750, "chmod 700"),
        ("paillier", 0o711, "chmod 700"),
        ("share", 0o604, "chmod 600"),
    ],
)
def test_what_others_may_read_is_a_problem(world: World, what: str, mode: int, repair: str) -> None:
    path = next(world.node.paillier.glob("*/share")) if what == "share" else world.node.path / what
    path.chmod(mode)
    (found,) = found_of(world.node, "permissions")
    assert found.status == "problem"
    assert f"{path} is open to others" in found.message
    assert found.todo.startswith(f"{repair} {path}")
    path.chmod(0o700 if path.is_dir() else 0o600)
    assert the(world.node, "permissions").status == "ok"


def test_public_files_may_be_read(world: World) -> None:
    for file in (world.node.request, world.node.org_ca, world.node.roster_file):
        file.chmod(0o644)
    assert the(world.node, "permissions").status == "ok"


# ------------------------------------------------------------------------ keys, stores, data


@pytest.mark.parametrize("name", ["statement", "sealing", "fleet", "org-ca", "log", "witness"])
def test_a_private_key_that_is_gone_or_damaged(world: World, name: str) -> None:
    file = world.node.keys / f"{name}.pem"
    file.write_bytes(b"damaged")
    assert [f.message.split(":")[0] for f in found_of(world.node, "identity")] == [name]
    file.unlink()
    (found,) = found_of(world.node, "identity")
    assert found.status == "problem"
    assert "backup" in found.todo


def test_a_forged_roster_is_a_problem(world: World) -> None:
    data = world.node.roster_file.read_bytes()
    world.node.roster_file.write_bytes(data.replace(b'"sig":"', b'"sig":"AAAA', 1))
    assert [f.status for f in found_of(world.node, "stores")] == ["problem"]


def test_a_damaged_database_is_a_problem(world: World) -> None:
    SqliteRoundLog(world.node.state).close()
    assert "state.sqlite" in the(world.node, "stores").message
    data = bytearray(world.node.state.read_bytes())
    data[:16] = b"not a database!!"
    world.node.state.write_bytes(data)
    (found,) = found_of(world.node, "stores")
    assert found.status == "problem"
    assert "state.sqlite" in found.message


def test_a_folder_that_is_gone_is_a_problem(world: World) -> None:
    shutil.rmtree(world.node.keys)
    found = [f for f in examine(world.node.path) if f.status == "problem"]
    assert {"permissions", "identity"} <= {f.check for f in found}
    assert str(world.node.keys) in found[0].message


def test_no_key_is_a_warning(world: World) -> None:
    shutil.rmtree(world.node.paillier)
    world.node.paillier.mkdir(mode=0o700)
    found = the(world.node, "keys")
    assert found.status == "warning"
    assert "fusion key import" in found.todo


def test_a_holder_without_its_share_is_told(world: World) -> None:
    next(world.node.paillier.glob("*/share")).unlink()
    found = the(world.node, "keys")
    assert found.status == "warning"
    assert "a.example.share" in found.todo


def test_a_share_that_was_damaged_is_a_problem(world: World) -> None:
    share = next(world.node.paillier.glob("*/share"))
    sealed = share.read_bytes()
    share.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    found = the(world.node, "keys")
    assert found.status == "problem"
    assert "A sealed box is not for this key" in found.message


def test_a_key_of_an_earlier_release_asks_for_a_new_ceremony(world: World) -> None:
    file = next(world.node.paillier.glob("*/key.json"))
    document = json.loads(file.read_bytes())
    file.write_bytes(file.read_bytes().replace(b"banyan.key/2", b"banyan.key/1"))
    assert document["schema"] == "banyan.key/2"
    found = the(world.node, "keys")
    assert found.status == "problem"
    assert "new key ceremony" in found.todo


def test_a_table_that_is_not_there_is_a_problem(world: World) -> None:
    world.table.unlink()
    found = the(world.node, "data")
    assert (found.status, str(world.table) in found.message) == ("problem", True)


@pytest.mark.parametrize(
    ("free", "status"),
    [(0, "problem"), (EMPTY_BYTES - 1, "problem"), (EMPTY_BYTES, "warning"), (SCARCE_BYTES, "ok")],
)
def test_space(tmp_path: Path, free: int, status: str) -> None:
    assert disk_finding(tmp_path, free).status == status
    assert disk_finding(tmp_path).check == "disk"


# ------------------------------------------------------------------------------------- ports


def test_a_hub_that_does_not_answer(world: World) -> None:
    world.port.stop()
    found = the(world.node, "hub")
    assert found.status == "problem"
    assert "does not answer: Connection refused" in found.message
    # There is no other clock to ask; certificates say that this one is not slow.
    assert "no certificate here is newer" in the(world.node, "clock").message


def test_another_hub_in_its_place(world: World, tmp_path: Path) -> None:
    other = make_hub(tmp_path / "other")
    with serving(other, 1) as port:
        node = write_node(world, world.node, port=port.port)
        found = the(node, "hub")
    assert found.status == "problem"
    assert "Not the invitation's hub" in found.message


def test_a_hub_that_does_not_know_the_node(world: World, tmp_path: Path) -> None:
    node = admit(world.hub, make_node(world.hub, tmp_path / "b", "b.example"))
    node = write_node(world, node)
    assert the(node, "hub").status == "ok"
    rosters.revoke(world.hub, "b.example", "left")
    found = the(node, "hub")
    assert found.status == "problem"
    assert "does not let this node in" in found.message


def test_a_port_that_is_free_taken_or_served(world: World) -> None:
    with socket.socket() as taken:
        # One that nobody is handed when it is free again.
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        config = world.hub.config
        values = {**config.model_dump(), "listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        write_atomic(world.hub.path / "hub.toml", toml_text(values))
        hub = HubHome.open(world.hub.path)
        found = the(hub, "port")
        assert found.status == "problem"
        assert "can't be bound: Address already in use" in found.message
        assert "listen in hub.toml" in found.todo
        # The same port, served by the hub itself.
        hub.ready.write_text(json.dumps({"pid": os.getpid()}), "utf-8")
        assert "is served by this hub" in the(hub, "port").message
    assert the(hub, "port").status == "problem"
    hub.ready.unlink()
    assert "is free" in the(hub, "port").message


def test_an_address_of_another_machine_can_not_be_bound(world: World) -> None:
    values = {**world.hub.config.model_dump(), "listen": "192.0.2.1:8443"}
    write_atomic(world.hub.path / "hub.toml", toml_text(values))
    assert the(HubHome.open(world.hub.path), "port").status == "problem"


def test_the_share_is_checked_and_not_shown(world: World) -> None:
    share = next(world.node.paillier.glob("*/share")).read_bytes()
    text = " ".join(f"{f.message} {f.todo}" for f in examine(world.node.path))
    assert share.hex() not in text


def test_a_wrong_passphrase_is_said_once_and_nothing_is_to_be_restored(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(b"correct horse battery")
    wrong.write_bytes(b"another one altogether")
    change_passphrase(world.node.path, right, unencrypted=False)
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(wrong))
    try:
        found = [f for f in examine(world.node.path) if f.status == "problem"]
        (said,) = [f for f in found if "passphrase" in f.message]
        assert said.message == (
            f"The passphrase from {wrong} does not open the private keys in {world.node.keys}."
        )
        assert "FUSION_PASSPHRASE_FILE" in said.todo
        assert not any("backup" in f.todo for f in found)
    finally:
        monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(right))
        change_passphrase(world.node.path, None, unencrypted=True)
