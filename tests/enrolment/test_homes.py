"""The folders: who may read them, how a file is replaced, what is said about a wrong one."""

from __future__ import annotations

import os
import stat
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.services import hub as hub_service
from fusion.services import node as node_service
from fusion.services.files import make_folder, readable_name, toml_text, write_atomic
from fusion.services.homes import HubHome, NodeHome
from tests.link.federation import make_hub, make_node

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_nobody_else_may_read_keys_or_enter_folders(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = make_node(hub, tmp_path / "node", "a.example")
    open_files = {node.request, node.org_ca, node.public_file, hub.authority_file}
    for home in (hub.path, node.path):
        for path in (home, *home.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            if path.is_dir():
                assert mode == 0o700, path
            elif path not in {*open_files, home / ".lock"}:
                assert mode == 0o600, path


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(InputInvalid, match="in use"):
        hub_service.init(tmp_path)
    invitation = str(make_hub(tmp_path / "hub").invitation)
    with pytest.raises(InputInvalid, match="in use"):
        node_service.init(tmp_path, hub=invitation, org="a.example")
    with pytest.raises(InputInvalid, match="in use"):
        hub_service.init(tmp_path / "letters.txt")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["hub", "letters.txt"]


def test_a_hub_or_node_is_made_once(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    make_node(hub, tmp_path / "node", "a.example")
    key = hub.authority_key
    with pytest.raises(InputInvalid, match="hub already"):
        hub_service.init(tmp_path / "hub")
    with pytest.raises(InputInvalid, match="node already"):
        make_node(hub, tmp_path / "node", "a.example")
    assert HubHome.open(tmp_path / "hub").authority_key == key


@pytest.mark.parametrize("address", ["nowhere", "h:70000", "h:", ":1", "http://h:1"])
def test_a_wrong_address_leaves_no_folder_behind(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputInvalid):
        hub_service.init(tmp_path / "hub", address=address)
    with pytest.raises(InputInvalid):
        hub_service.init(tmp_path / "hub", federation="City Example")
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("org", ["", "A", "hub", "../a", "a b", "-a", "a" * 64])
def test_a_wrong_identifier_is_refused(tmp_path: Path, org: str) -> None:
    hub = make_hub(tmp_path / "hub")
    with pytest.raises(InputInvalid):
        make_node(hub, tmp_path / "node", org)
    assert not (tmp_path / "node").exists()


def test_a_folder_that_is_no_home_is_named(tmp_path: Path) -> None:
    for opener in (HubHome.open, NodeHome.open):
        with pytest.raises(InputInvalid, match="init") as refusal:
            opener(tmp_path / "nowhere")
        assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("id = ", "TOML"),
        ('id = "a"\n', "hub_url"),
        ('{base}colour = "red"\n', "colour"),
        ('id = "a"\nhub_url = "hub"\npin = "' + "0" * 64 + '"\n', "invitation"),
        ("{base}min_group = 1\n", "min_group"),
        ('{base}min_group = "3"\n', "min_group"),
        ("{base}[data]\nx = 1\n", r"data\.x"),
        ("{base}since = 2026-01-01\n", "TOML"),
    ],
)
def test_a_wrong_node_toml_is_named(tmp_path: Path, text: str, named: str) -> None:
    base = f'id = "a"\nhub_url = "https://h:1"\npin = "{"0" * 64}"\n'
    (tmp_path / "node.toml").write_text(text.replace("{base}", base))
    with pytest.raises(InputInvalid, match=named):
        NodeHome.open(tmp_path)


def test_a_wrong_hub_toml_is_named(tmp_path: Path) -> None:
    file = make_hub(tmp_path / "hub").path / "hub.toml"
    file.write_text(file.read_text("utf-8").replace('listen = "127.0.0.1:0"', 'listen = "8443"'))
    with pytest.raises(InputInvalid, match="8443"):
        HubHome.open(tmp_path / "hub")


def test_data_sets_are_absolute_or_relative_to_the_folder(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node_service.init(
        tmp_path / "node",
        hub=str(hub.invitation),
        org="a.example",
        name="税务局 “A”",
        data={"adult": Path("adult.csv"), 'odd "name"': tmp_path / "x.parquet"},
    )
    node = NodeHome.open(tmp_path / "node")
    assert node.config.data == {
        "adult": Path.cwd() / "adult.csv",
        'odd "name"': tmp_path / "x.parquet",
    }
    assert (node.config.name, node.config.min_group) == ("税务局 “A”", 3)
    file = node.path / "node.toml"
    file.write_text(file.read_text("utf-8").replace(str(Path.cwd() / "adult.csv"), "own.csv"))
    assert NodeHome.open(tmp_path / "node").config.data["adult"] == node.path / "own.csv"


names = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20).filter(
    lambda text: text.isprintable()
)


@given(names, st.dictionaries(names, names, max_size=3), st.integers(0, 99))
def test_what_is_written_as_toml_is_read_back(
    name: str, table: dict[str, str], number: int
) -> None:
    values: dict[str, str | int | Mapping[str, str]] = {
        "name": name,
        "number": number,
        "data": table,
    }
    assert tomllib.loads(toml_text(values).decode()) == values


def test_names_with_control_characters_are_refused() -> None:
    assert readable_name("Straßenbauamt 融数") == "Straßenbauamt 融数"
    for name in ("a\nb", "\x1b[31m", "x" * 201, "a\x7f"):
        with pytest.raises(InputInvalid):
            readable_name(name)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "roster.json"
    contents = [bytes([n]) * 100_000 for n in range(4)]
    write_atomic(path, contents[0])
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for content in contents:
            write_atomic(path, content)
    stop.set()
    reader.join()
    assert seen <= set(contents)
    assert [p.name for p in tmp_path.iterdir()] == ["roster.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(EnvironmentUnfit, match="Is a directory"):
        write_atomic(tmp_path / "target", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def test_each_folder_that_is_made_on_the_way_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = make_folder(tmp_path / "queries" / "persons" / "r1")
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o777 for each in (made, *made.parents[:2])] == [0o700] * 3
    assert make_folder(made) == made
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentUnfit):
        make_folder(tmp_path / "file" / "below")


def test_a_lost_key_is_named(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    (hub.keys / "authority.pem").unlink()
    with pytest.raises(EnvironmentUnfit, match=r"authority\.pem"):
        _ = hub.authority_key


def test_a_job_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    assert hub.run("adult-1_a") == hub.runs / "adult-1_a"
    for job in ("", "..", "a/b", ".", "a b"):
        with pytest.raises(InputInvalid):
            hub.run(job)


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("localhost:8443", "127.0.0.1:8443"),
        ("hub.city.example:443", "0.0.0.0:443"),
        ("[::1]:8443", "[::1]:8443"),
    ],
)
def test_a_hub_listens_where_its_address_leads(tmp_path: Path, address: str, listen: str) -> None:
    hub_service.init(tmp_path / "hub", address=address)
    hub = HubHome.open(tmp_path / "hub")
    assert (hub.config.address, hub.config.listen) == (address, listen)
    assert f"https://{hub.config.host}:{hub.address.port}" == hub.invitation.url
