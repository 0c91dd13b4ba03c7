"""A dataset on Spark through the whole service: attached, asked, timed out, killed, changed.

Where PySpark is not installed most is skipped, and says so: ``./dev spark -m pytest -m soak
tests/queries/test_spark.py`` runs it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import csv, parquet

from fusion.errors import (
    FusionError,
    InputInvalid,
    IsolationUnavailable,
    Refused,
    WorkCancelled,
)
from fusion.link.loopback import free_port
from fusion.services import engines
from fusion.services import node as node_service
from sandbox import service_user
from sandbox.attached import PEOPLE, READER, attached, folder
from sandbox.choice import choose
from sandbox.compile import CoreQuery
from sandbox.isolate import Isolation, Settings
from sandbox.runner import prepare
from sandbox.sources.files import Files
from sandbox.sources.spark import Spark
from sandbox.spark_freeze import MARK
from tests.cli.test_app import Terminal
from tests.link.federation import admit, make_hub, serving
from tests.queries.test_private import PRIVATE
from tests.queries.world import BY_REGION, OWNER, POLICY, make_world, serving_queries, write_people
from tests.sandbox.asking import EXAMPLE, corpus
from tests.sandbox.conftest import made  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.services.homes import NodeHome
    from sandbox.attached import Attached
    from sandbox.members import Members
    from sandbox.sources import Source
    from tests.queries.world import Up

HERE = importlib.util.find_spec("pyspark") is not None
needs_spark = pytest.mark.skipif(
    not HERE,
    reason="PySpark is not installed: ./dev spark -m pytest -m soak tests/queries/test_spark.py",
)
TOTAL = "select count(*) as n from persons"
LONG = CoreQuery(
    "SELECT count(*) AS n FROM range(0, 100000000000000, 1, 1) WHERE id % 7 = 3",
    (("n", "whole"),),
    (),
)
"""One task that does not end."""

QUICK = CoreQuery("SELECT count(*) AS n FROM persons", (("n", "whole"),), ("persons",))


# ---------------------------------------------------------------------- without Spark


def _node(path: Path) -> NodeHome:
    table, hub = path / "persons.csv", make_hub(path / "hub")
    write_people(table)
    data = {"persons": table}
    node = node_service.init(path / "node", hub=str(hub.invitation), org=OWNER, data=data)
    return admit(hub, node)


def _attach(node: NodeHome, source: str, dataset: str = "persons", **options: Any) -> Any:
    text = options.pop("text", POLICY)
    return engines.queries().attach_policy(
        node, text, "policy.yaml", dataset, options.pop("data", None), source=source, **options
    )


def test_what_does_not_go_with_spark_is_said_at_once(tmp_path: Path) -> None:
    pytest.importorskip("opendp")
    node = _node(tmp_path)
    tables = tmp_path / "tables"
    (tables / "persons.parquet").mkdir(parents=True)
    source = f"spark+parquet://{tables}"
    with pytest.raises(InputInvalid, match="mode `dp`"):
        _attach(node, source, text=PRIVATE)
    with pytest.raises(InputInvalid, match="--source alone"):
        _attach(node, source, data=tables)
    with pytest.raises(InputInvalid, match="--source alone"):
        _attach(node, source, reader="postgresql://reader@host/db")
    with pytest.raises(InputInvalid, match="alone"):
        _attach(node, f"{source}?master=sc://host")
    # A folder of somebody else is not touched.
    (tables / "banyan_persons_r1").mkdir()
    (tables / "banyan_persons_r1" / "mine").touch()
    with pytest.raises(InputInvalid, match="not of this dataset"):
        _attach(node, source)
    assert (tables / "banyan_persons_r1" / "mine").exists()
    assert attached(node, "persons") is None


# --------------------------------------------------------------------------- on Spark


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the tables that the owner has."""
    where = tmp_path_factory.mktemp("lake")
    _write(where, 1200)
    return where


def _write(where: Path, count: int) -> None:
    write_people(where / "persons.csv", count)
    shutil.rmtree(where / "persons.parquet", ignore_errors=True)
    (where / "persons.parquet").mkdir()
    parquet.write_table(
        csv.read_csv(where / "persons.csv"), where / "persons.parquet" / "part-0.parquet"
    )


@pytest.fixture(scope="module")
def up(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """An owner's node that answers; its first source on Spark is up."""
    try:
        choose(None, service_user.DEFAULT)
    except IsolationUnavailable as error:
        pytest.skip(f"nothing confines work here: {error}")
    configured = tmp_path_factory.mktemp("configured")
    lines = ["spark.master local[2]", "spark.sql.shuffle.partitions 1", "spark.app.id configured"]
    (configured / "spark-defaults.conf").write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(configured))
        world = make_world(tmp_path_factory.mktemp("spark") / "world")
        with serving(world.hub, 1) as port, serving_queries(world, port.port) as found:
            added = _attach(world.owner, f"spark+parquet://{tables}", "persons")
            there = replace(world, attached=added)
            there.grant("persons")
            _warm(found)
            yield found


def _found(up: Up, dataset: str = "persons") -> Attached:
    found = attached(up.world.owner, dataset)
    assert found is not None
    return found


def _source(up: Up) -> Spark:
    source = up.service._source(_found(up))
    assert isinstance(source, Spark)
    return source


def _warm(up: Up) -> None:
    """Wait for a session: starting it and its first query take longer than a query may."""
    codes = "SELECT person_id AS e, 0 AS cell FROM persons"
    _source(up).execute([QUICK], [codes], caller=OWNER, stop=threading.Event(), seconds=300)


def _java(of: int) -> list[int]:
    """Return the processes that are Java, in the group of another."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "stat").read_text("ascii").rpartition(")")
            name = (each / "comm").read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        state, _, group = words[2].split()[:3]
        if int(group) == of and name == "java" and state != "Z":
            found.append(int(each.name))
    return found


def _until(there: Any, seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := there()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(900)
class TestOnSpark:
    """One node and few sessions of Spark, in this order."""

    def test_it_is_asked_as_files_are(self, up: Up) -> None:
        table = up.ask(f"{BY_REGION} order by region")
        assert table.columns == ["region", "n", "mean"]
        assert table.rows[0] == ["east", 300, 32500]
        assert [row[1] for row in table.rows] == [300] * 4
        # The history counts sets that came from Spark.
        north = "select avg(income) as m from persons where region = 'north' and age <> 20"
        less = up.ask(north)
        assert less.rows == [[None]]
        assert "earlier result" in less.notes[0].message
        assert up.refused("select income from persons").code == "Q-06"

    def test_what_is_kept_and_where(self, up: Up, tables: Path) -> None:
        found = _found(up)
        here = folder(up.world.owner, "persons") / found.epoch
        assert {path.name for path in here.iterdir()} == {PEOPLE, READER}
        place = tables / found.place
        assert json.loads((place / MARK).read_bytes()) == {"owner": OWNER, "dataset": "persons"}
        copied = parquet.read_table(place / "tables" / "persons.parquet")
        assert copied.num_rows == 1200
        assert set(found.digests) == {"persons", "_cohort"}
        assert not Path("spark-warehouse").exists()

    def test_a_query_ends_with_its_time_or_when_nobody_waits(self, up: Up) -> None:
        source, stop = _source(up), threading.Event()
        pid = source.child.pid
        began = time.monotonic()
        with pytest.raises(FusionError) as ended:
            source.execute([LONG], [], caller="bank", stop=stop, seconds=2)
        assert ended.value.code == "F-021"
        assert time.monotonic() - began < 10
        with ThreadPoolExecutor(1) as pool:
            ends = pool.submit(source.execute, [LONG], [], caller="bank", stop=stop, seconds=60)
            time.sleep(1)
            # Somebody else's query goes on beside it.
            rows, _ = source.execute(
                [QUICK], [], caller="press", stop=threading.Event(), seconds=60
            )
            assert rows == [[(1200,)]]
            stop.set()
            with pytest.raises(WorkCancelled):
                ends.result(60)
        # Cancelling was enough: it is the same session.
        assert source.child.pid == pid
        assert up.ask(TOTAL).rows == [[1200]]

    def test_a_set_that_takes_too_long_is_cancelled_too(self, up: Up) -> None:
        source = _source(up)
        pid = source.child.pid
        codes = "SELECT id AS e, 0 AS cell FROM range(0, 100000000000000, 1, 1) WHERE id % 7 = 8"
        with pytest.raises(FusionError) as ended:
            source.execute([QUICK], [codes], caller="x", stop=threading.Event(), seconds=3)
        assert ended.value.code == "F-021"
        assert source.child.pid == pid

    def test_a_failure_is_one_text(self, up: Up, caplog: pytest.LogCaptureFixture) -> None:
        source = _source(up)
        wrong = CoreQuery("SELECT raise_error('of Ann') AS n FROM persons", (("n", "whole"),), ())
        with pytest.raises(FusionError) as failed:
            source.execute([wrong], [], caller="bank", stop=threading.Event(), seconds=60)
        assert failed.value.code == "F-024"
        assert "Ann" not in failed.value.message + failed.value.hint
        assert "of Ann" in caplog.text

    def test_java_that_is_killed_is_started_again(
        self, up: Up, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = _source(up)
        pid = source.child.pid
        (java,) = _java(pid)
        with ThreadPoolExecutor(1) as pool:
            ends = pool.submit(
                source.execute, [LONG], [], caller="bank", stop=threading.Event(), seconds=60
            )
            time.sleep(1)
            os.kill(java, signal.SIGKILL)
            with pytest.raises(FusionError) as failed:
                ends.result(60)
        assert failed.value.code == "F-024"
        assert _until(lambda: source.child.pid != pid)
        assert "started again" in caplog.text
        _warm(up)
        assert up.ask(TOTAL).rows == [[1200]]

    def test_the_next_revision_replaces_the_folder(self, up: Up, tables: Path) -> None:
        before, pid = _found(up), _source(up).child.pid
        _write(tables, 1100)
        assert up.ask(TOTAL).rows == [[1200]]
        _attach(up.world.owner, f"spark+parquet://{tables}")
        after = _found(up)
        assert after.revision == before.revision + 1
        # Everybody keeps a number, so that who is gone is told by no answer.
        assert after.people == 1200
        assert [path.name for path in tables.glob("banyan_*")] == [after.place]
        assert _source(up).child.pid != pid
        _warm(up)
        assert _until(lambda: not _java(pid))
        assert up.ask(TOTAL).rows in ([[1100]], [[None]])

    def test_tables_that_were_changed_are_noticed(
        self, up: Up, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fusion = Terminal(capsys)
        policy = tmp_path / "policy.yaml"
        policy.write_text(POLICY, "utf-8")
        frozen = tmp_path / "frozen"
        frozen.mkdir()
        added = fusion.document(
            *("policy", "add", policy, "--dataset", "bare", "--home", up.world.owner.path),
            *("--source", f"spark+parquet://{tables}?frozen={frozen}&master=local[1]"),
        )
        assert added["revision"] == 1
        replace(up.world, attached=added).grant("bare")
        place = frozen / _found(up, "bare").place / "tables" / "persons.parquet"
        (part,) = place.glob("part-*.parquet")
        table = parquet.read_table(part)
        parquet.write_table(table.slice(0, table.num_rows - 1), part)
        (part.parent / f".{part.name}.crc").unlink()
        assert up.refused(TOTAL, dataset="bare", seconds=120).code == "F-010"
        assert "not what was signed" in up.said[-1]

    def test_a_column_that_is_not_there_is_named(self, up: Up, tables: Path) -> None:
        text = POLICY.replace("income:", "wages:")
        with pytest.raises(FusionError, match=r"persons\.wages is not there"):
            _attach(up.world.owner, f"spark+parquet://{tables}", "typed", text=text)
        assert attached(up.world.owner, "typed") is None
        assert not list(tables.glob("banyan_typed*"))

    def test_no_java_is_left(self, up: Up) -> None:
        pid = _source(up).child.pid
        assert _java(pid)
        up.service.close()
        assert _until(lambda: not _java(pid))


@contextlib.contextmanager
def _cluster(where: Path) -> Iterator[tuple[str, Path]]:
    """Run a master and a worker that authenticate; give the master's URI and the configuration."""
    import pyspark  # noqa: PLC0415 - needs Spark

    lines = ["spark.authenticate true", f"spark.authenticate.secret {os.urandom(16).hex()}",
             "spark.driver.host 127.0.0.1", "spark.executor.memory 512m",
             "spark.sql.shuffle.partitions 1"]  # fmt: skip
    (where / "spark-defaults.conf").write_text("\n".join(lines) + "\n", "utf-8")
    home, port = Path(pyspark.__file__).parent, free_port()
    environment = {**os.environ, "SPARK_CONF_DIR": str(where), "SPARK_HOME": str(home)}
    master = f"spark://127.0.0.1:{port}"
    parts = [
        ("master.Master", "--port", str(port)),
        ("worker.Worker", "--cores", "1", "--memory", "1g", "-d", str(where / "work"), master),
    ]
    with contextlib.ExitStack() as stack:
        said = stack.enter_context((where / "log").open("wb"))
        for name, *words in parts:
            process = subprocess.Popen(
                [home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *words,
                 "--host", "127.0.0.1", "--webui-port", "0"],
                env=environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
            stack.callback(process.wait)
            # With what a script has started.
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
        assert _until(lambda: b"registered with master" in (where / "log").read_bytes())
        yield master, where


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_cluster_is_asked_as_this_machine_is(
    tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, frozen = _node(tmp_path), tmp_path / "frozen"
    frozen.mkdir()
    (tmp_path / "cluster").mkdir()
    with _cluster(tmp_path / "cluster") as (master, configured):
        monkeypatch.setenv("SPARK_CONF_DIR", str(configured))
        source = f"spark+parquet://{tables}?frozen={frozen}&master={master}"
        (tmp_path / "policy.yaml").write_text(POLICY, "utf-8")
        # A process of its own: this one's Java may have been started with another configuration.
        subprocess.run(
            [*(sys.executable, "-m", "fusion.cli", "policy", "add", tmp_path / "policy.yaml"),
             *("--dataset", "persons", "--source", source, "--home", node.path)],
            check=True, stdin=subprocess.DEVNULL, timeout=600,
        )  # fmt: skip
        found = attached(node, "persons")
        assert found is not None
        spark = Spark(found, source)
        try:
            spark.check()
            codes = "SELECT person_id AS e, 0 AS cell FROM persons"
            rows, pairs = spark.execute(
                [QUICK], [codes], caller="x", stop=threading.Event(), seconds=120
            )
        finally:
            spark.close()
        # Executors of the cluster have run it, twice: to freeze, and to answer.
        assert len(list((configured / "work").glob("app-*"))) == 2
    assert rows == [[(found.people,)]]
    assert sorted(pairs[0][:, 0]) == list(range(found.people))


def _people(of: Members) -> list[tuple[int, list[int]]]:
    return [(place, codes.tolist()) for place, codes in of.each(1000)]


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_cells_and_people_are_those_of_files(
    made: dict[str, Path],  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    """Every fifteenth statement of a corpus: the same cells, and the same people in each."""
    node, text = _node(tmp_path), EXAMPLE.read_text("utf-8")
    where, frozen = made["persons"].parent, tmp_path / "frozen"
    frozen.mkdir()
    _attach(node, "", "clinic", text=text, data=where)
    _attach(node, f"spark+parquet://{where}?frozen={frozen}&master=local[1]", "lake", text=text)
    files, lake = attached(node, "clinic"), attached(node, "lake")
    assert files is not None
    assert lake is not None
    assert lake.people_digest == files.people_digest
    isolation = Isolation.open(Settings(service_user=service_user.DEFAULT))
    sides: list[Source] = [
        Files(replace(files, store=None), isolation),
        Spark(lake, f"spark+parquet://{where}?frozen={frozen}&master=local[1]"),
    ]
    compared, different = 0, []
    try:
        for each in list(corpus("analysts.txt"))[::15]:
            found = []
            for side, own in zip(sides, (replace(files, store=None), lake), strict=True):
                try:
                    prepared = prepare(each.sql, own, b"s" * 32, side.dialect)
                except Refused:
                    break
                selections = [one for part in prepared.selections for one in part]
                told = side.run(prepared.compiled, selections, caller="x",
                                stop=threading.Event(), seconds=200)  # fmt: skip
                found.append((told.cells, [_people(one) for one in told.members]))
            if len(found) == 2:
                compared += 1
                different += [each.sql] if found[0] != found[1] else []
    finally:
        for side in sides:
            side.close()
        isolation.close()
    assert different == []
    assert compared >= 4
