"""Attach a policy again and again where no file may grow beyond a limit; say what came of each.

``python -m tests.queries.full_disk FOLDER LIMIT...`` is a process of its own: the limit would end
what else writes. It prints JSON: of a CSV file and of a DuckDB file, and of each limit in bytes,
the error, what is in the dataset's folder then, the revision that holds, and what it answers.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from fusion.errors import FusionError
from sandbox import engine
from sandbox.attached import Origin, attach, attached, check_frozen, folder
from sandbox.query import answer
from tests.queries.world import POLICY, make_world, write_people

if TYPE_CHECKING:
    from fusion.services.homes import NodeHome


def main() -> None:
    """Walk the limits, over a CSV file and over a DuckDB file."""
    where, *limits = sys.argv[1:]
    table = Path(where) / "data/persons.csv"
    table.parent.mkdir()
    write_people(table, 5000)
    database = Path(where) / "all.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"create table persons as from read_csv('{table}')")
    sources = {"csv": table.parent, "duckdb": database}
    world, found = make_world(Path(where) / "world", tuple(sources)), {}
    for name, data in sources.items():
        world.attach(name)
        found[name] = [tried(world.owner, name, data, int(limit)) for limit in limits]
    sys.stdout.write(json.dumps(found))


def tried(owner: NodeHome, dataset: str, data: Path, limit: int) -> dict[str, Any]:
    """Attach the policy where no file may be larger; return what came of it."""
    code = message = ""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    try:
        attach(owner, POLICY, "policy.yaml", dataset, Origin(data))
    except FusionError as error:
        code, message = error.code, error.message
    except Exception as error:  # noqa: BLE001 - what is looked for
        code, message = "raised", repr(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    found = attached(owner, dataset)
    assert found is not None
    check_frozen(found)
    rows = answer(
        "select count(*) as n from persons",
        found.policy,
        lambda asked: engine.execute(asked, {"persons": found.inputs["persons"]}),
        secret=b"",
    ).rows
    return {
        "code": code,
        "message": message,
        "left": sorted(each.name for each in folder(owner, dataset).iterdir()),
        "revision": found.revision,
        "rows": rows,
    }


if __name__ == "__main__":
    main()
