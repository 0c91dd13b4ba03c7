"""The demo's questions, node to node: answered, refused, repaired; and where nothing answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.errors import IsolationUnavailable
from fusion.services import demo_queries, engines
from fusion.services import node as node_service
from fusion.services.node_link import Connection
from fusion.services.query_port import queries_served
from sandbox import service_user
from sandbox.choice import choose
from tests.link.federation import admit, at_port, make_hub, serving

if TYPE_CHECKING:
    from fusion.services.homes import NodeHome


def test_one_is_answered_one_refused_and_one_answered_after_the_repair(tmp_path: Path) -> None:
    try:
        choose(None, service_user.DEFAULT)
    except IsolationUnavailable as error:
        pytest.skip(f"nothing confines work here: {error}")
    hub = make_hub(tmp_path / "hub")
    homes: dict[str, NodeHome] = {}
    with serving(hub, 1) as port:
        address = str(hub.invitation).replace(":0#", f":{port.port}#")
        for name in (demo_queries.OWNER, demo_queries.ASKER):
            homes[name] = admit(
                hub, node_service.init(tmp_path / name, hub=address, org=name, data={})
            )
        for home in homes.values():
            home.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
        nodes = {name: home.path for name, home in homes.items()}
        files = engines.training().demo_files()
        table = Path(files["tables"][demo_queries.OWNER])
        said: list[str] = []
        owner = at_port(homes[demo_queries.OWNER], port.port)
        with Connection(owner) as served:
            served.serve(said.append)
            assert served.link.wait_attached(60)
            prepared = demo_queries.prepare(
                Path(files["policy"]), table, nodes, tmp_path / "questions"
            )
            told = demo_queries.ask(prepared, nodes)
            assert (told["available"], told["questions"]) == (False, [])
        with Connection(owner) as served, queries_served(owner, said.append) as handlers:
            served.serve(said.append, handlers)
            assert served.link.wait_attached(60)
            told = demo_queries.ask(prepared, nodes)
    assert demo_queries.counted(told) == "3 questions: 2 answered, 1 refused"
    first, refused, repaired = told["questions"]
    # Averages of released sums and released counts.
    assert first["rows"] == [["Female", 1260, 49_200 / 1260], ["Male", 1880, 79_000 / 1880]]
    assert (refused["code"], refused["start"], refused["length"]) == ("Q-10", 42, 5)
    assert repaired["rows"][0] == ["HS-grad", 760, 48]
    # Groups of few people have no quantile near the end.
    assert repaired["rows"][-1][2] is None
    assert told["policy"] == prepared.policy
