"""People, visits, and public tables with one, several and unequal numbers of rows for a value."""

from __future__ import annotations

import random
from typing import Any

from sandbox.reading import parse_policy
from tests.sandbox.asking import EXACT

TEXT = """
schema: fusion.policy/1
title: Joins
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key}
      sex: {class: dimension, values: [F, M]}
      region: {class: dimension}
      income: {class: number, low: 0, high: 100, decimals: 1}
  visits:
    entity: person_id
    rows: 6
    columns:
      person_id: {class: key}
      dept: {class: dimension}
      cost: {class: number, low: 0, high: 100}
  regions:
    public: true
    columns:
      region: {class: public}
      rural: {class: public, type: boolean}
      size: {class: public, type: integer, low: 0, high: 1000}
  prices:
    public: true
    columns:
      region: {class: public}
      year: {class: public, type: integer, low: 2000, high: 2100}
      item: {class: public}
      price: {class: public, type: number, decimals: 2, low: 0, high: 100}
"""
RULES = parse_policy(TEXT, "joins.yaml").model_copy(update={"release": EXACT})
JOINED = (
    # One row for a value.
    "select r.rural, count(*), avg(p.income) from persons p join regions r on p.region = r.region group by 1",
    # Several, as many for each and not.
    "select a.rural, count(*), avg(p.income), sum(p.income) from regions a join regions b on a.rural = b.rural "
    "join persons p on p.region = a.region group by 1",
    "select p.sex, count(*), avg(p.income), stddev(p.income), var_pop(p.income), corr(p.income, c.price) "
    "from persons p join prices c on c.region = p.region group by 1",
    "select c.year, count(*), count(distinct p.person_id), avg(p.income * c.price), sum(c.price) "
    "from prices c join persons p using (region) group by 1",
    "select count(*), avg(p.income) from persons p join prices c on c.region = p.region and c.year = 2021",
    "select count(*), avg(p.income) from persons p join prices c on upper(c.region) = upper(p.region)",
    # A text that is not there, a region that is missing, no public row at all.
    "select p.region, count(*), sum(p.income), avg(p.income), avg(c.price) "
    "from persons p left join prices c on c.region = p.region and c.item = 'milk' group by 1",
    "select v.dept, count(*), avg(v.cost), median(v.cost) from visits v join persons p using (person_id) "
    "left join prices c on c.region = p.region group by 1",
    "select t.rural, sum(v.cost), count(*) from visits v join persons p on p.person_id = v.person_id join "
    "(select r.rural, c.region from regions r join prices c on c.region = r.region where c.year > 2020) t "
    "on t.region = p.region group by 1",
    "select sum(n), avg(n), count(*) from (select p.person_id, count(*) as n, sum(c.price) as s "
    "from persons p join prices c on c.region = p.region group by p.person_id)",
    "select sum(n), avg(n), count(*) from (select person_id, row_number() over (partition by person_id order by c.year, c.item) "
    "as n from persons p join prices c on c.region = p.region)",
    "select sex, sum(income) from persons where region in (select c.region from prices c join regions r "
    "on r.region = c.region where r.rural) group by 1",
)  # fmt: skip


def tables(seed: int = 1) -> dict[str, dict[str, list[Any]]]:
    """Return 80 people, some without a region that is listed, and public rows of all kinds."""
    made = random.Random(seed)
    regions = ["north", "south", "east", "west", "far"]
    people = [
        (
            number,
            made.choice("FM"),
            made.choice([*regions, "nowhere", None]),
            made.randrange(1000) / 10,
        )
        for number in range(80)
    ]
    visits = [
        (number, made.choice(["er", "gp"]), made.randrange(100))
        for number in range(80) for _ in range(made.randrange(5))
    ]  # fmt: skip
    prices = [
        (region, year, item, made.randrange(10_000) / 100)
        for region in [*regions, None] for year in range(2019, 2023) for item in ("milk", "bread")
        if made.random() < 0.6
    ]  # fmt: skip
    rural = [(region, made.random() < 0.5, made.randrange(3)) for region in regions]
    names = {"persons": ("person_id", "sex", "region", "income"),
             "visits": ("person_id", "dept", "cost"), "regions": ("region", "rural", "size"),
             "prices": ("region", "year", "item", "price")}  # fmt: skip
    rows: dict[str, list[Any]] = {
        "persons": people, "visits": visits, "regions": rural, "prices": prices,
    }  # fmt: skip
    return {
        table: {name: [row[place] for row in rows[table]] for place, name in enumerate(columns)}
        for table, columns in names.items()
    }
