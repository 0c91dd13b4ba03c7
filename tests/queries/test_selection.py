"""What of a statement selects people and what is measured; and that a permit is for one query."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import GrantRefused, MessageInvalid, QueryRefused
from fusion.services import query_messages as messages
from fusion.wire import canonical
from sandbox import runner, sets
from sandbox.attached import attached
from sandbox.compile import codes_sql
from sandbox.describe import describe
from sandbox.engine import locked
from sandbox.partials import Limits
from sandbox.query import compile_statement
from sandbox.reading import parse_policy
from sandbox.selection import OTHER, definitions_of, select
from sandbox.service import _request
from tests.queries.world import COLUMNS, OWNER, POLICY, PURPOSE
from tests.sandbox.asking import example
from tests.sandbox.conftest import made  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.grants.permit import Permit
    from sandbox.selection import Selection
    from tests.queries.world import Up

TEXT = (
    POLICY
    + """\
      ill: {class: dimension, sensitive: true}
  visits:
    entity: person_id
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension}
      cost: {class: number, low: 0, high: 1000}
"""
)
PLACES = """\
  places:
    public: true
    columns:
      place: {class: public}
      number: {class: public, type: integer, low: 0, high: 100}
"""
RULES = parse_policy(TEXT + PLACES, "policy.yaml")
PUBLIC = {"places": {"": 5, "place": 2, "number": 3}}
KEYS: dict[int, tuple[Any, ...]] = {0: (), 1: ("north",)}


def _selections(sql: str) -> tuple[Selection, ...]:
    (core,) = compile_statement(sql, RULES, public=PUBLIC).cores
    return select(core, RULES)


def _form(own: Selection) -> Any:
    return definitions_of(RULES).form(own.predicate(KEYS[own.core.keys]))


def _last(sql: str) -> Any:
    """Return what the narrowest part of a statement selects, in normal form."""
    return _form(_selections(sql)[-1])


@pytest.mark.parametrize(
    "where",
    [
        "region = 'north' and age < 30",
        "age <= 29 and 'north' = region",
        "region in ('north') and age between 0 and 29",
        "30 > age and region = 'north' and age >= 0",
    ],
)
def test_one_selection_has_one_form_however_it_is_spelt(where: str) -> None:
    wanted = _last("select count(*) from persons where region = 'north' and age < 30")
    assert _last(f"select avg(income) from persons where {where}") == wanted
    within = f"select avg(income) filter (where {where}) from persons"
    assert _last(within) == wanted
    assert _last(f"select sum(case when {where} then income end) from persons") == wanted
    assert _last(f"select count_if({where}) from persons") == wanted
    assert _last(f"select sum(case when {where} then 1 else 0 end) from persons") == wanted


def test_a_group_is_what_a_condition_selects() -> None:
    group = _last("select region, avg(income) from persons group by region")
    assert group == _last("select avg(income) from persons where region = 'north'")


def test_a_condition_in_a_measure_selects() -> None:
    whole, part = _selections(
        "select avg(income), sum(case when region = 'north' then income end) from persons"
    )
    assert _form(whole) != _form(part)
    assert len(part.core.rows.where) == 1


def test_sensitive_conditions_and_keys_are_measured() -> None:
    plain = _last("select count(*) from persons")
    for sql in (
        "select count(*) from persons where ill = 'D1' and income > 100",
        "select ill, count(*) from persons group by ill",
        "select count(case when ill = 'D1' then 1 end) from persons",
    ):
        (own,) = _selections(sql)
        assert _form(own) == plain
        assert not own.core.rows.where
    names = {
        _selections(f"select count(*) from persons where ill = '{name}'")[0].measure
        for name in ("D1", "D2", "D1")
    }
    assert len(names) == 2


def test_a_bound_that_is_a_column_is_no_range_of_it() -> None:
    narrow = _last("select count(*) from persons where age between 5 and 10")
    assert _last("select count(*) from persons where 5 between age and 10") != narrow
    assert _last("select count(*) from persons where 7 between 5 and age") != narrow


def test_a_public_column_is_about_what_it_is_joined_on() -> None:
    joined = "from persons p join places r on p.region = r.place"
    whole, part = _selections(
        f"select sum(income), sum(case when r.number = 3 then income end) {joined}"
    )
    assert _form(whole) != _form(part)
    assert len(part.core.rows.where) == 1


_HER = "case when age = 40 then 'a' else 'b' end"


@pytest.mark.parametrize(
    "sql",
    [
        # She alone has a public row of her own, and it stands for her in what is measured.
        f"select sum(income) from persons p join places r on {_HER} = r.place",
        f"select sum(income) from places r join persons p on {_HER} = r.place",
        (
            f"select sum(income) from (select {_HER} as x, income from persons) t "
            "join places r on t.x = r.place"
        ),
        (
            f"select count(*) from visits where person_id in (select person_id from persons p "
            f"join places r on {_HER} = r.place)"
        ),
        # She alone has two.
        (
            "select sum(income) from persons p join places r on p.region = r.place "
            "where r.number <= case when age = 40 then 1 else 0 end"
        ),
        "select sum(income) from persons p join places r on p.region = r.place and r.number < age",
        "select sum(r.number * income) from persons p join places r on p.region = r.place",
        (
            "select count(*) from persons p join places r on p.region = r.place "
            "where not (r.number = 3 and income > 5)"
        ),
        (
            "select count(*) from persons p join places r on p.region = r.place "
            "join places q on r.number = q.number where not (q.place = 'a' and income > 5)"
        ),
    ],
)
def test_a_public_table_gives_nobody_a_weight(sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        _selections(sql)
    assert refused.value.code == "Q-19"


def test_a_public_table_is_joined_and_asked_about() -> None:
    for rest in ("where r.number > 3 and income > 5", "and r.number > 3", "and r.number = p.age"):
        sql = f"select avg(income) from persons p join places r on p.region = r.place {rest}"
        assert len(_selections(sql)) == 1


@pytest.mark.parametrize(
    "measure",
    [
        "sum(income * age)",
        "corr(income, age)",
        "avg(case when region = 'north' then income else age end)",
        "sum(case when region = 'north' and (age < 30 or income > 5) then income end)",
    ],
)
def test_weights_are_refused(measure: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        _selections(f"select {measure} from persons")
    assert refused.value.code == "Q-19"


HERSELF = "select person_id from persons where income >= 0 and age = 30"
LEFT = "(select person_id, income as x from persons where age <> 30)"
SAME = "q.person_id = p.person_id"
BOTH = "visits join persons using (person_id)"
_FLAG = "max(case when age = 30 and income >= 0 then 1 else 0 end) as flag"
FLAG = f"(select person_id, {_FLAG} from persons group by person_id)"


@pytest.mark.parametrize(
    "sql",
    [
        "select avg(income) from persons where not (age = 30 and income >= 0)",
        "select avg(income) from persons where age <> 30 or ill = 'D1'",
        "select avg(income) from persons where case when age = 30 then income < 0 else true end",
        "select age = 30 and income >= 0 as k, avg(income) from persons group by 1",
        f"select avg(income) from persons where person_id not in ({HERSELF})",
        f"select avg(income) from persons p left join {LEFT} t using (person_id) where t.x > 0",
        f"select avg(t.x) from persons p left join {LEFT} t using (person_id)",
        f"select avg(q.income) from persons p left join persons q on {SAME} and p.age <> 30",
        f"select avg(p.income) from persons p join {FLAG} t using (person_id) where t.flag = 0",
        f"select sum(cost) from {BOTH} where dept = 'er' or (dept = 'gp' and age = 30)",
    ],
)
def test_a_condition_about_people_and_what_is_measured_is_refused(sql: str) -> None:
    """It would be part of the measure, and whom it leaves out would not be seen."""
    with pytest.raises(QueryRefused) as refused:
        _selections(sql)
    assert refused.value.code == "Q-19"


@pytest.mark.parametrize(
    "where",
    [
        "person_id in (select person_id from persons where income >= 0 and age <> 30)",
        f"exists (select 1 from persons q where {SAME} and q.ill = 'D1' and q.age <> 30)",
    ],
)
def test_a_semi_join_selects_by_what_is_not_sensitive_in_it(where: str) -> None:
    (own,) = _selections(f"select avg(p.income) from persons p where {where}")
    (inner,) = own.core.rows.where
    relation = inner.args[1]
    assert [each.columns for each in relation.where] == [{"persons.age"}]
    assert _form(own) != _last("select avg(income) from persons")


def test_rows_of_people_are_measured_under_whom_they_are_of() -> None:
    """Rows of two kinds add up, whatever sets of people have them."""
    joined = "select sum(v.cost) from visits v join persons p using (person_id) where p.age < 30"
    everybody = _last("select count(*) from persons where age < 30")
    for more in ("", " and v.dept = 'er'", " and v.dept in ('er', 'gp') and v.cost > 5"):
        people, cells = _selections(joined + more)
        assert _form(people) == everybody
        assert people.core.rows.tables() == {"persons"}
        assert _form(cells) != everybody
    by_dept = _selections("select dept, sum(cost) from visits group by dept")
    assert [(own.core.keys, own.overlapping) for own in by_dept] == [(0, False), (1, True)]


def test_who_has_many_rows_does_not_take_time_that_tells_of_her() -> None:
    one = "select count(*) from visits a join visits b using (person_id)"
    assert _selections(one)
    with pytest.raises(QueryRefused, match="too many rows of one"):
        _selections(f"{one} join visits c using (person_id)")


def test_what_is_no_property_of_everybody_is_one_digest_of_its_spelling() -> None:
    both = [_last(f"select count(*) from visits where dept = '{name}'") for name in ("er", "gp")]
    assert both[0] != both[1]
    assert {name for form in both for box in form for name, _ in box} == {OTHER}
    joined = "select count(*) from persons p join visits v on p.person_id = v.person_id"
    assert {name for name, _ in _last(f"{joined} where p.region = 'north'")[0]} == {
        OTHER,
        "persons.region",
    }


def test_a_permit_is_for_one_query_once(up: Up) -> None:
    up.world.grant("permitted")
    service, found = up.service, attached(up.world.owner, "permitted")
    assert found is not None
    one, other = (
        runner.prepare(sql, found, service._secret)
        for sql in ("select count(*) from persons", "select avg(income) from persons")
    )
    asked = messages.Asked(kind="query", dataset="permitted", purpose=PURPOSE, rows=1)

    def permit() -> Permit:
        request = _request("bank", asked, "q-1", found, one.columns(), one.study)
        return service._desk.admit(request)

    def run(permitted: Permit, prepared: runner.Prepared) -> list[list[Any]]:
        return runner.run(
            permitted,
            prepared,
            service._source(found),
            service._history(found),
            secret=service._secret,
            month="2026-11",
            stop=threading.Event(),
            seconds=60,
        ).answer.rows

    given = permit()
    with pytest.raises(GrantRefused, match="another query"):
        run(given, other)
    assert run(given, one) == [[1200]]
    with pytest.raises(GrantRefused, match="has been used"):
        run(given, one)
    assert given.request.party == OWNER


# ---------------------------------------------------------------- what is believed of a worker


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:-8] + (5).to_bytes(4, "little") + data[-4:],
        lambda data: data[:-4] + b"\xff\xff\xff\xff",
        lambda data: data[:-4] + b"\xff\xff\xff\x7f",
        lambda data: b"\xff" * 8 + data[8:],
        lambda _: b"",
    ],
)
def test_sets_that_are_none_are_refused(change: Any) -> None:
    pair = (4).to_bytes(4, "little") + (0).to_bytes(4, "little")
    data = (2).to_bytes(8, "big") + b"{}" + (1).to_bytes(8, "big") + pair
    reply, (pairs,) = sets.read(data, 1, 5)
    assert (reply, pairs.tolist()) == (b"{}", [[4, 0]])
    with pytest.raises(MessageInvalid):
        sets.read(change(data), 1, 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"kind": "else"},
        {"rows": 0},
        {"rows": "1"},
        {"statement": "x" * 8001},
        {"seconds": 301},
        {"schema": "fusion.query/2"},
    ],
)
def test_a_message_is_closed(changes: dict[str, Any]) -> None:
    good = messages.Asked(kind="query", dataset="a", statement="select 1", purpose=PURPOSE)
    assert messages.asked_of(messages.to_bytes(good)) == good
    document = {**good.model_dump(by_alias=True), **changes}
    with pytest.raises(MessageInvalid):
        messages.asked_of(canonical.encode(document))


@pytest.mark.parametrize("changes", [{"statement": "select 1"}, {"purpose": PURPOSE}])
def test_a_description_is_asked_for_with_nothing_else(changes: dict[str, Any]) -> None:
    good = messages.Asked(kind="describe", dataset="a")
    assert messages.asked_of(messages.to_bytes(good)) == good
    document = {**good.model_dump(by_alias=True), **changes}
    with pytest.raises(MessageInvalid):
        messages.asked_of(canonical.encode(document))


def _told() -> dict[str, Any]:
    reply = messages.Reply(described=describe(RULES, [f"persons.{name}" for name in COLUMNS]))
    return dict(canonical.decode(messages.to_bytes(reply)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("more",), 1),
        (("policy",), "0" * 63),
        (("mode",), "none"),
        (("k",), 0),
        (("k",), "10"),
        (("functions",), ["a\x1b[2J"]),
        (("functions",), ["a"] * 201),
        (("tables", 0, "name"), "a\nb"),
        (("tables", 0, "columns"), []),
        (("tables", 0, "columns", 0, "class"), "secret"),
        (("tables", 0, "columns", 0, "low"), 10**13),
        (("tables", 0, "columns", 0, "low"), "yesterday"),
        (("tables", 0, "columns", 0, "values"), ["x" * 201]),
        (("tables", 0, "columns", 0, "values"), ["x"] * 5001),
    ],
)
def test_a_description_is_closed(path: tuple[str | int, ...], value: Any) -> None:
    document = _told()
    assert messages.reply_of(canonical.encode(document)).described is not None
    place: Any = document["described"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(MessageInvalid):
        messages.reply_of(canonical.encode(document))


def test_a_description_has_what_the_policy_says_is_for_everybody() -> None:
    told = describe(parse_policy(TEXT, "policy.yaml"), [f"persons.{name}" for name in COLUMNS])
    (persons,) = told.tables
    by_name = {each.name: each for each in persons.columns}
    assert by_name["sex"].values == ["F", "M"]
    assert (by_name["age"].low, by_name["age"].high) == (0, 120)
    # Nothing of a table, or a column, that no grant names; no values unless they are complete.
    changed = TEXT.replace("values: [F, M], complete: true", "values: [F, M]")
    one = describe(parse_policy(changed, "policy.yaml"), ["persons.sex"]).tables
    assert [(t.name, t.entity, [c.name for c in t.columns]) for t in one] == [
        ("persons", None, ["sex"])
    ]
    assert one[0].columns[0].values == []
    only = describe(parse_policy(f"{TEXT}functions: [count, avg]\n", "policy.yaml"), [])
    assert (only.functions, only.tables) == (["avg", "count"], [])


def test_a_reply_is_one_thing_and_a_row_has_all_cells() -> None:
    with pytest.raises(MessageInvalid):
        messages.reply_of(messages.to_bytes(messages.Reply()))
    table = messages.Table(
        job=f"q-{'0' * 32}", policy="0" * 64, columns=["a", "b"], rows=[[1]], notes=[]
    )
    with pytest.raises(MessageInvalid):
        messages.reply_of(messages.to_bytes(messages.Reply(table=table)))


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("select avg(salary) from persons", 11),
        ("select count(*) from people", 21),
        ("select foo(income) from persons", 7),
        ("select count(*) from persons where region > 3", 35),
        ("select income from persons", None),
    ],
)
def test_a_refusal_says_where_in_the_statement(sql: str, place: int | None) -> None:
    with pytest.raises(QueryRefused) as refused:
        compile_statement(sql, RULES)
    assert refused.value.start == place


WOMEN = "select person_id from persons where sex = 'F'"
TOWNS = "region in (select region from regions where not rural)"
SEMI_JOINS = (
    f"{{0}} in ({WOMEN})",
    f"{{0}} not in ({WOMEN})",
    f"{{0}} in ({WOMEN} and {TOWNS})",
    "exists (select 1 from persons i where i.person_id = {0} and birth_year > 1960)",
)


@pytest.mark.parametrize("semi", SEMI_JOINS)
@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from visits v where {0}",
        "select count(*) from visits v where {0} and dept = 'ER'",
        "select count(*) from visits v join persons p on v.person_id = p.person_id where {0}",
        "select count(*) from (select person_id, dept from visits) v where {0}",
        "select sum(case when {0} then cost end) from visits v",
    ],
)
def test_people_of_a_semi_join_are_those_whom_it_names(
    sql: str,
    semi: str,
    made: dict[str, Path],  # noqa: F811 - a fixture
) -> None:
    """Whom a statement is about, where the key is not the first column of a table of rows."""
    (core,) = compile_statement(sql.format(semi.format("v.person_id")), example()).cores
    (own,) = (each for each in select(core, example()) if "from visits" not in each.others)
    connection = locked(made, Limits())
    try:
        found = connection.execute(codes_sql(own.core, example(), "duckdb")).fetchall()
        plain = f"select person_id from persons p where {semi.format('p.person_id')}"
        wanted = connection.execute(plain).fetchall()
    finally:
        connection.close()
    assert {row[0] for row in found} == {row[0] for row in wanted}
    assert 100 < len(wanted) < 1900
