"""The store and its reduction against the SQL that runs over the plain tables: equal cells, always.

The SQL is what the reference computations of the corpora and PostgreSQL are compared with.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fusion.errors import FusionError, InputInvalid, MessageInvalid, QueryFailed
from sandbox import arrays, coding, members, store, storing
from sandbox.disclosure import cells_of
from sandbox.engine import execute, locked
from sandbox.partials import Limits, reply_of
from sandbox.query import compile_statement
from sandbox.scans import Scan, Steps, request_of
from sandbox.tables import ENTITY, code, read
from tests.sandbox.asking import corpus, example, noisy, public_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.disclosure import Cell
    from sandbox.members import Members
    from sandbox.policy import Policy

SECRET = b"s" * 32
LIMITS = Limits(memory_mb=512, threads=2)


class Stored:
    """Tables, plain and in a store."""

    def __init__(self, folder: Path, policy: Policy, files: dict[str, Path]) -> None:
        self.policy, self.files = policy, files
        self.public = public_of(policy, files)
        everybody = self._everybody()
        self.names = sorted(everybody)
        listed = {"e": pa.array(self.names, pa.string()),
                  "n": pa.array(range(len(self.names)), pa.int32())}  # fmt: skip
        parquet.write_table(pa.table(listed), folder / "people.parquet")
        self.path = folder / store.FILE
        self.coded = frozenset(store.make(policy, files, folder / "people.parquet", self.path))

    @property
    def inputs(self) -> dict[str, Path]:
        return {store.STORE: self.path, arrays.ARRAYS: self.path.with_name(arrays.FILE)}

    def _everybody(self) -> set[str]:
        connection = locked(self.files, LIMITS)
        found: set[str] = set()
        for name, table in self.policy.tables.items():
            if table.entity is not None and name in self.files:
                who = read(table.entity, table.columns[table.entity], "duckdb")
                rows = connection.execute(f'SELECT CAST({who} AS VARCHAR) FROM "{name}"').fetchall()
                found |= {each for (each,) in rows if each is not None}
        connection.close()
        return found

    def steps(self) -> Steps:
        return Steps(self.policy, self.coded, len(self.names))

    def run(self, steps: Steps) -> tuple[list[Any], list[Members]]:
        asked = steps.asked(LIMITS, cells=1000, members=200)
        data = storing.execute(asked.request, self.inputs)
        if any(isinstance(step, Scan) and step.direct for step in request_of(asked.request).steps):
            # The engine over the store says the same as the arrays.
            by_engine = storing.execute(asked.request, {store.STORE: self.path})
            for one, other in zip(_parts(by_engine), _parts(data), strict=True):
                assert sorted(one) == sorted(other)
        reply, found = members.read(
            data, len(steps.with_members()), len(self.names), cells=1000, several=200
        )
        return reply_of(reply, asked), found

    def both(self, sql: str) -> tuple[list[list[Cell]], list[list[Cell]]]:
        """Return the cells of a statement by the SQL over the tables, and over the store."""
        plain = compile_statement(sql, self.policy, secret=SECRET, public=self.public)
        stored = compile_statement(
            sql, self.policy, secret=SECRET, coded=self.coded, public=self.public
        )
        steps = self.steps()
        places = steps.statement(stored)
        expected = reply_of(execute(plain.asked.request, self.files), plain.asked)
        rows, _ = self.run(steps)
        found = [rows[place] for place in places]
        sides: list[list[list[Cell]]] = [[], []]
        for leaf, query, want, got in zip(
            plain.leaves, plain.asked.queries, expected, found, strict=True
        ):
            if leaf.core is None:
                assert Counter(want) == Counter(got)
                continue
            core = plain.cores[leaf.core]
            for side, each in zip(sides, (want, got), strict=True):
                side.append([_above_0(cell) for cell in cells_of(core, query, each)])
        return sides[0], sides[1]

    def pairs(self, sql: str) -> set[tuple[str, int]]:
        """Return (name, number of the cell) by the SQL over the tables."""
        compiled = compile_statement(sql, self.policy, public=self.public)
        connection = locked(self.files, LIMITS)
        rows = connection.execute(compiled.codes(compiled.cores[0])).fetchall()
        connection.close()
        return {(str(entity), cell) for entity, cell in rows}

    def members(self, sql: str) -> tuple[set[tuple[str, int]], Members]:
        compiled = compile_statement(sql, self.policy, coded=self.coded, public=self.public)
        steps = self.steps()
        steps.members(compiled.cores[0])
        _, (found,) = self.run(steps)
        pairs = set()
        if found.codes is not None:
            pairs = {(self.names[n], int(c)) for n, c in enumerate(found.codes) if c >= 0}
        for place, bits in found.bits:
            inside = np.flatnonzero(found.of_one(bits) == 0)
            pairs |= {(self.names[n], place) for n in inside}
        return pairs, found


def _parts(data: bytes) -> list[list[Any]]:
    """Return the rows of each result of a reply, and its sets as they are."""
    reply, *sets = _split(data)
    rows = [[str(row) for row in each["rows"]] for each in json.loads(reply)["results"]]
    return [*rows, sets]


def _split(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = int.from_bytes(data[:8], "big")
        found.append(data[8 : 8 + size])
        data = data[8 + size :]
    return found


def _above_0(cell: Cell) -> Cell:
    """Leave out what no rule reads: largest values above or below 0 that are not."""
    from dataclasses import replace  # noqa: PLC0415

    parts = tuple(
        replace(part, above=_clipped(part.above), below=_clipped(part.below), key=part.key % 2**64)
        for part in cell.parts
    )
    return replace(cell, parts=parts)


def _clipped(pair: tuple[int, int]) -> tuple[int, int]:
    return max(0, pair[0]), max(0, pair[1])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    rng = np.random.default_rng(11)
    people, visits = 700, 4000
    persons = {
        # Numbers of people are no places on the list, and not in its order.
        "person_id": rng.permutation(people) * 7 + 1,
        "birth_year": _some(rng, rng.integers(1900, 2020, people)),
        "sex": _some(rng, rng.choice(["F", "M"], people)),
        "region": _some(rng, rng.choice(["R01", "R02", "R'03", "中"], people)),
        "education": _some(rng, rng.choice(["none", "tertiary"], people)),
        "income": _some(rng, np.round(rng.lognormal(10, 2, people), 2)),
    }
    seen = {
        "visit_id": np.arange(visits),
        "person_id": _some(rng, rng.choice(people + 40, visits) * 7 + 1),
        "visit_date": _some(rng, np.datetime64("2019-06-01") + rng.integers(0, 900, visits)),
        "dept": _some(rng, rng.choice(["er", "gp", "onco"], visits)),
        "diagnosis": _some(rng, rng.choice([f"D{n:03}" for n in range(30)], visits)),
        "cost": _some(rng, rng.choice([-5.0, 0.0, 12.25, 99.99, 1e300, np.nan], visits)),
        "duration_min": _some(rng, rng.integers(-10, 200, visits)),
    }
    regions: dict[str, Any] = {
        "region": ["R01", "R02", "R'03"], "region_name": ["a", "b", None],
        "population": [1, None, 3], "rural": [True, None, False],
    }  # fmt: skip
    files = write(folder, {"persons": persons, "visits": seen, "regions": regions})
    return Stored(folder, noisy(example()), files)


def _some(rng: np.random.Generator, values: Any) -> Any:
    """Leave out one value in twenty."""
    return pa.array(values, mask=rng.random(len(values)) < 0.05)


def test_every_statement_of_the_corpus_has_the_same_cells(stored: Stored) -> None:
    statements = [each.sql for each in corpus("legit.txt")]
    assert len(statements) > 40
    for sql in statements:
        expected, found = stored.both(sql)
        assert found == expected, sql


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from visits",
        "select dept, stddev(duration_min), corr(duration_min - 50, duration_min) from visits "
        "group by dept",
        "select region, variance(birth_year), stddev(income), sum(birth_year) from persons "
        "where birth_year > 1950 group by region",
        "select sex, covar_samp(v.duration_min, p.birth_year - 1960) filter (where dept = 'er') "
        "from visits v join persons p on p.person_id = v.person_id group by sex, education",
        "select dept, median(cost), quantile_cont(duration_min, 0.3), quantile_disc(cost, 0.9) "
        "from visits group by dept",
        "select sex, region, count(*), sum(income) from persons group by 1, 2",
        "select dept = 'er' as x, sum(duration_min - 50), avg(cost) from visits group by 1",
        "select upper(dept) as d, visit_date - date '2020-01-01' > 9 as l, count(cost) from visits "
        "group by 1, 2",
        "select date_trunc('month', visit_date) as m, diagnosis, count(*) from visits "
        "group by 1, 2",
        "select birth_year, count(*), stddev(income) from persons group by 1",
        "select stddev(duration_min), corr(duration_min, cost) from visits",
        "select median(cost), dept from visits group by dept",
        "select p.region, v.dept, sum(v.cost) from persons p left join visits v "
        "on v.person_id = p.person_id group by 1, 2",
        "select r.rural, count(distinct v.person_id), sum(v.cost) from visits v join persons p "
        "on p.person_id = v.person_id join regions r on r.region = p.region group by 1",
        "select n, count(*) from (select person_id, count(*) as n from visits group by person_id) "
        "as t group by n",
        "select count(*) from visits where cost < -100",
        "select dept, count(*) from visits where cost < -100 group by dept",
        "select count(*) from persons where person_id in (select person_id from visits "
        "where dept = 'er')",
    ],
)
def test_cells_over_the_store_are_those_over_the_tables(stored: Stored, sql: str) -> None:
    expected, found = stored.both(sql)
    assert found == expected


LONG = [
    "select region, count(*) as n from persons group by region",
    "select education || region as k, count(*) as n from persons group by 1",
    "select concat(region, region, sex) as k, count(*) as n from persons group by 1",
    "select upper(region) as k, count(*) as n from persons group by 1",
    "select v.diagnosis, p.region, count(*) as n from persons p join visits v using (person_id) "
    "group by 1, 2",
]


@pytest.mark.parametrize("sql", LONG)
def test_one_long_text_makes_no_query_fail(tmp_path: Path, sql: str) -> None:
    """The same status with and without her, over files and over a store."""
    long = ["x" * 5000, "\u0149" * 2001, "\u4e2d" * 199 + "\U0001f600e\u0301" * 900]
    count = 20 + len(long)
    persons: dict[str, Any] = {
        "person_id": list(range(count)), "birth_year": [1990] * count, "sex": ["F"] * count,
        "region": ["R01"] * 20 + long, "education": ["none"] * 20 + long, "income": [5.0] * count,
    }  # fmt: skip
    visits: dict[str, Any] = {
        "visit_id": list(range(count)), "person_id": list(range(count)),
        "visit_date": [date(2020, 1, 1)] * count, "dept": ["gp"] * count,
        "diagnosis": ["D"] * 20 + long, "cost": [1.0] * count, "duration_min": [1] * count,
    }  # fmt: skip
    regions: dict[str, Any] = {
        "region": ["R01"], "region_name": ["a"], "population": [1], "rural": [True],
    }  # fmt: skip
    made = Stored(
        tmp_path, noisy(example()), write(tmp_path, {"persons": persons, "visits": visits,
                                            "regions": regions}),
    )  # fmt: skip
    by_tables, by_store = made.both(sql)
    assert by_tables == by_store
    assert len(by_tables[0]) == 1 + len(long)


def test_small_batches_and_few_cells_make_no_difference(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = (
        "select p.sex, v.dept, count(*), sum(v.duration_min - 100), sum(v.cost) from visits v "
        "join persons p on p.person_id = v.person_id group by 1, 2"
    )
    expected, found = stored.both(sql)
    assert found == expected
    # Nearly every batch ends within somebody's rows; keys are sorted, not looked up.
    monkeypatch.setattr(storing, "_BATCH", 7)
    monkeypatch.setattr(coding, "_MAX_TABLE", 4)
    assert stored.both(sql)[1] == expected
    # More cells than are kept: the engine does it.
    monkeypatch.setattr(coding, "MAX_CELLS", 2)
    assert stored.both(sql)[1] == expected
    # Threads of the engine that overtake each other too often: it sorts.
    monkeypatch.setattr(coding, "MAX_CELLS", 100)
    monkeypatch.setattr(storing, "_streamed", _turned_round(storing._streamed))
    monkeypatch.setattr(storing, "_MOST_RUNS", 2)
    assert stored.both(sql)[1] == expected
    monkeypatch.setattr(storing, "_MOST_RUNS", 10_000)
    assert stored.both(sql)[1] == expected


def _turned_round(streamed: Any) -> Any:
    """Return the engine's rows as an engine would give them that does not keep their order."""

    def batches(connection: Any, sql: str) -> Any:
        found = list(streamed(connection, sql))
        yield from found if sql.endswith("ORDER BY e") else reversed(found)

    return batches


@pytest.mark.parametrize(
    ("sql", "alone"),
    [
        ("select region, count(*) from persons group by region", True),
        ("select count(*) from visits where dept = 'er'", True),
        ("select dept, count(*) from visits group by dept", False),
        ("select date_trunc('month', visit_date) as m, dept, count(*) from visits group by 1, 2",
         False),
    ],
)  # fmt: skip
def test_members_of_cells_are_those_over_the_tables(stored: Stored, sql: str, alone: bool) -> None:
    pairs, found = stored.members(sql)
    assert pairs == stored.pairs(sql)
    assert (found.codes is not None) == alone
    sizes = [int((found.of_one(bits) == 0).sum()) for _, bits in found.bits]
    assert sizes == sorted(sizes, reverse=True)


def test_one_pass_serves_a_core_and_its_sets(stored: Stored) -> None:
    compiled = compile_statement("select dept, sum(cost) from visits group by dept",
                                 stored.policy, coded=stored.coded)  # fmt: skip
    steps = stored.steps()
    (place,) = steps.statement(compiled)
    assert steps.members(compiled.cores[0]) == place
    asked = request_of(steps.asked(LIMITS, cells=9, members=9).request)
    assert len(asked.steps) == 1
    assert isinstance(asked.steps[0], Scan)


def test_numbers_beyond_64_bits_are_added_exactly(tmp_path: Path) -> None:
    policy = example()
    income = policy.tables["persons"].columns["income"]
    table = policy.tables["persons"]
    wide = income.model_copy(update={"low": -(10**12), "high": 10**12, "decimals": 6})
    columns = {**table.columns, "income": wide}
    tables = {"persons": table.model_copy(update={"rows": 900, "columns": columns})}
    policy = policy.model_copy(update={"tables": tables})
    count = 30_000
    people: dict[str, Any] = {
        "person_id": np.repeat(np.arange(30), count // 30),
        "birth_year": np.full(count, 1950), "sex": ["F", "M"] * (count // 2),
        "region": ["a"] * count, "education": ["b"] * count,
        "income": np.where(np.arange(count) % 3 == 0, -1e12, 1e12 - 0.01),
    }  # fmt: skip
    found = Stored(tmp_path, policy, write(tmp_path, {"persons": people}))
    for sql in (
        "select sum(income), avg(income) from persons",
        "select sex, sum(income) from persons group by sex",
    ):
        expected, got = found.both(sql)
        assert got == expected
        assert any(part.absolute > 2**63 for cells in got for cell in cells for part in cell.parts)


def test_rows_stand_in_the_order_of_people_with_codes(stored: Stored) -> None:
    connection = store.locked(stored.path, LIMITS)
    found = connection.execute(f'SELECT "{ENTITY}" FROM visits').fetchnumpy()[ENTITY]
    assert (np.diff(found) >= 0).all()
    columns = {name for name, *_ in connection.execute("DESCRIBE visits").fetchall()}
    assert {code("dept"), code("diagnosis")} < columns
    assert "person_id" not in columns
    assert "visits.dept" in stored.coded
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from read_csv('/etc/passwd')",
        "select count(*) from '/etc/passwd'",
        "copy (select 1) to '/tmp/x'",
        "attach '/tmp/x.db' as x",
        "insert into persons select * from persons",
        "set threads = 3",
        "install httpfs",
    ],
)
def test_a_store_is_locked(stored: Stored, sql: str) -> None:
    import duckdb  # noqa: PLC0415

    connection = store.locked(stored.path, LIMITS)
    with pytest.raises(duckdb.Error):
        connection.execute(sql)
    connection.close()


def test_a_table_that_is_not_as_the_policy_says_is_named(tmp_path: Path) -> None:
    files = write(tmp_path, {"persons": {"person_id": [1], "sex": ["F"]}})
    people = tmp_path / "people.parquet"
    parquet.write_table(pa.table({"e": ["1"], "n": pa.array([0], pa.int32())}), people)
    with pytest.raises(InputInvalid, match="as the policy says"):
        store.make(example(), files, people, tmp_path / store.FILE)


def test_failures_have_one_text(stored: Stored, tmp_path: Path) -> None:
    steps = stored.steps()
    steps.statement(compile_statement("select count(*) from visits", stored.policy,
                                      coded=stored.coded))  # fmt: skip
    request = steps.asked(LIMITS, cells=9, members=9).request
    broken = tmp_path / "broken"
    whole = stored.inputs[arrays.ARRAYS].read_bytes()
    for bad in (b"", b"no store", whole[:-1], whole.replace(b"visits", b"visots")):
        broken.write_bytes(bad)
        for name in (store.STORE, arrays.ARRAYS):
            with pytest.raises(QueryFailed) as failed:
                storing.execute(request, {name: broken})
            assert str(failed.value) == str(QueryFailed())
    for bad in (b"{}", b"[" * 2000, request.replace(b"threads", b"thread"), b" " * 17_000_000):
        with pytest.raises(MessageInvalid):
            storing.execute(bad, {store.STORE: stored.path})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 7, members.joined([b"{}"]), members.joined([b"{}", b"0", b"0"]),
        members.joined([b"{}", b"0"])[:-1], members.joined([b"{}", b"9"]),
        members.joined([b"{}", b"1\0\0\0\0"]), members.joined([b"{}", b"2\0\0\0\0"]),
        members.joined([b"{}", b"2" + 2 * b"\0\0\0\0\0\0"]), members.joined([b"{}", b""]),
        # Numbers of cells by which something would be sized; more cells than are told about; bits
        # of nobody.
        members.joined([b"{}", b"1" + 10 * b"\4\0\0\0"]),
        members.joined([b"{}", b"1" + 10 * b"\xff\xff\xff\x7f"]),
        members.joined([b"{}", b"1" + 10 * b"\xfe\xff\xff\xff"]),
        members.joined([b"{}", b"2" + b"\4\0\0\0\xff\xc0"]),
        members.joined([b"{}", b"2" + b"\0\0\0\0\xff\xe0"]),
        members.joined([b"{}", b"2" + b"".join(bytes([n, 0, 0, 0, 255, 0]) for n in range(3))]),
    ],
)  # fmt: skip
def test_sets_of_another_shape_are_refused(data: bytes) -> None:
    with pytest.raises(FusionError):
        members.read(data, 1, 10, cells=4, several=2)


def test_what_is_as_large_as_it_may_be_is_read() -> None:
    for part in (b"1" + 10 * b"\3\0\0\0", b"2" + b"\3\0\0\0\xff\xc0" + b"\0\0\0\0\xff\xc0"):
        members.read(members.joined([b"{}", part]), 1, 10, cells=4, several=2)
