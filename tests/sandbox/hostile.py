"""Makes hostile statements: every class, in many phrasings, none of which may be answered.

Each is hostile by construction (a row, a key, a single value, an error, a file would get out), so
that acceptance of any is a hole. Seeded: a failure names a statement that stays the same.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIMS: Final = {
    "persons": ("birth_year", "sex", "region", "education"),
    "visits": ("dept", "diagnosis"),
}
NUMBERS: Final = {"persons": ("income",), "visits": ("cost", "duration_min")}
KEYS: Final = {"persons": ("person_id",), "visits": ("person_id", "visit_id")}
TEXTS: Final = {"persons": ("sex", "region", "education"), "visits": ("dept", "diagnosis")}
WHERE: Final = {
    "persons": ("", " where sex = 'F'", " where income > 50000", " where birth_year < 1960",
                " where region in ('R01', 'R02')", " where education is not null"),
    "visits": ("", " where dept = 'er'", " where cost > 100", " where visit_date > '2021-01-01'",
               " where diagnosis like 'D00%'"),
}  # fmt: skip
LEAKS: Final = (
    "min({c})", "max({c})", "any_value({c})", "first({c})", "last({c})", "mode({c})",
    "array_agg({c})", "list({c})", "string_agg({c}::varchar, ',')", "group_concat({c})",
    "arg_max({c}, {c})", "arg_min({c}, {c})", "max_by({c}, {c})", "min_by({c}, {c})",
    "histogram({c})", "approx_top_k({c}, 3)", "quantile_cont({c}, 0.0)", "quantile_cont({c}, 1.0)",
    "quantile_disc({c}, 0.999)", "quantile_cont({c}, 0.001)", "quantile_cont({c}, [0.5, 0.9])",
    "reservoir_quantile({c}, 0.5)", "approx_quantile({c}, 0.99)", "kurtosis({c})",
    "skewness({c})", "entropy({c})", "product({c})", "sum(distinct {c})", "avg(distinct {c})",
    "count(distinct case when person_id = 7 then 1 end)", "bit_xor({c}::int)", "mad({c})",
    "bit_and({c}::int)", "bool_or({c} > 100000)", "bool_and({c} > 0)", "max({c}, 3)",
    "percentile_cont(0.0) within group (order by {c})", "favg({c})", "fsum({c})",
    "percentile_disc(1.0) within group (order by {c})", "median(distinct {c})", "min({c}) + 0",
    "percentile_cont(0.5) within group (order by {c} desc, person_id)", "list_sum(list({c}))",
    "sum({c}) over (order by {c})", "first_value({c}) over ()", "lag({c}) over (order by {c})",
    "coalesce(max({c}), 0)", "case when count(*) > 0 then max({c}) end", "-max({c})",
    "sum(person_id)", "avg(person_id)", "count(distinct {c})", "sum({c}) filter (where rowid < 3)",
)  # fmt: skip
ERRORS: Final = (
    "1 // (case when {p} then 0 else 1 end) = 1", "1 % (case when {p} then 0 else 1 end) = 0",
    "cast({t} as int) = 1", "{t}::date is null", "cast({t} as decimal(3,0)) > 1", "{t} = 1",
    "strptime({t}, '%Y') is null", "regexp_matches({t}, '(')", "{t} similar to '('",
    "make_date(case when {p} then 2020 else 2021 end, 13, 1) is null", "error({t}) is null",
    "case when {p} then error('x') else true end", "json_extract({t}, '$') is null",
    "{n} * 9223372036854775807 > 0", "pow({n}, 1000) > 0", "exp({n}) > 0", "{n}::tinyint > 0",
    "cast({n} * 100000000000 as int) > 0", "factorial({n}::int) > 0", "chr({n}::int) = 'a'",
    "substr({t}, 1, -{n}) = ''", "repeat({t}, 2000000000) = ''", "{t}[1] = 'a'", "{n}.a = 1",
    "date '2020-01-01' + {n}::int > date '2020-01-01'", "{t} like {t} escape 'xx'",
    "date_trunc({t}, date '2020-01-01') is null", "round({n}, {n}::int) > 0", "sqrt(-{n}) // 0 > 1",
    "to_timestamp({n}) is null", "1 << {n}::int > 0", "{n} // 0 = 1", "{n} / (0 * {n}) / 0 // 1 > 0",
    "try({n}::tinyint) > 0", "list_extract([1], {n}::int) = 1", "unnest([{n}]) > 0", "ln({n}) // 0 = 1",
    "{t}::uuid is null", "{t}::json is null", "base64({t}) = ''", "from_hex({t}) is null",
)  # fmt: skip
KEYED: Final = (
    "{k} = 17", "{k} < 100", "{k} in (1, 2, 3)", "{k} between 5 and 9", "{k} % 2 = 0",
    "{k} + 1 = 18", "cast({k} as varchar) like '7%'", "abs({k}) = 5", "{k} <> 4", "hash({k}) > 0",
    "coalesce({k}, 0) = 5", "case when {k} = 5 then true else false end", "not {k} = 5",
    "{k} is distinct from 5", "nullif({k}, 5) is null", "greatest({k}, 5) = 5", "({k}) = (5)",
    "{k} = (select 5)", "{k} in (select 5)", "{k} in (select person_id + 1 from persons)",
    "{k} = any(select person_id from visits)", "[{k}] = [5]", "{k}::text = '5'", "rowid = 5",
    "{k} in (select max(person_id) from persons)", "row({k}) = row(5)", "{k} in (values (5))",
    "{k} in (select birth_year from persons)", "md5({k}::varchar) like 'a%'", "sign({k} - 5) = 0",
)  # fmt: skip
TABLES: Final = (
    "duckdb_settings()", "duckdb_tables()", "duckdb_functions()", "pg_catalog.pg_class",
    "information_schema.tables", "sqlite_master", "pragma_table_info('persons')", "range(10)",
    "generate_series(1, 1000000000)", "read_csv('/etc/passwd')", "read_csv_auto('/etc/passwd')",
    "read_parquet('/data/*')", "read_text('/etc/passwd')", "read_blob('/etc/passwd')",
    "read_json('/x')", "glob('/*')", "'/etc/passwd'", "'http://127.0.0.1/x.parquet'",
    "query('select * from persons')", "query_table('persons')", "main.persons", "temp.persons",
    "memory.main.persons", "secrets", "repeat_row(1, num_rows=10)", "unnest([1,2,3])",
    "(values (1), (2)) t", "sniff_csv('/etc/passwd')", "parquet_metadata('/x')", "test_all_types()",
    "postgres_scan('host=x', 'public', 't')", "sqlite_scan('/x', 't')", "arrow_scan(1, 2, 3)",
    "pg_tables", "persons.income", "\"/etc/passwd\"", "seq_scan('persons')", "iceberg_scan('/x')",
    "json_execute_serialized_sql('{}')", "summary(persons)", "which_secret('a','b')",
)  # fmt: skip
JOINS: Final = (
    "persons a, persons b", "persons a cross join visits b", "visits a, visits b",
    "persons a join visits b on true", "persons a join visits b on a.person_id <> b.person_id",
    "persons a join visits b on a.person_id = b.visit_id", "persons a natural join visits b",
    "persons a full join visits b on a.person_id = b.person_id", "persons a positional join visits b",
    "persons a right join visits b on a.person_id = b.person_id",
    "persons a join persons b on a.region = b.region", "regions r left join persons p using (region)",
    "persons a join persons b on a.person_id = b.person_id + 1", "persons a anti join visits b using (person_id)",
    "persons a join visits b on a.person_id = b.person_id or true", "persons a, regions r",
    "persons a join lateral (select 1) t on true", "persons p cross join regions r",
    "persons a asof join visits b on a.birth_year >= b.duration_min", "persons p join regions r on true",
    "persons p join regions r on r.population > 0", "persons a semi join visits b using (person_id)",
    "persons p join (select region, avg(income) m from persons group by region) t on t.region = p.region",
    "persons a join visits b on a.person_id >= b.person_id and a.person_id <= b.person_id",
)  # fmt: skip
STATEMENTS: Final = (
    "drop table {t}", "delete from {t}", "update {t} set {d} = null", "truncate {t}",
    "insert into {t} select * from {t}", "create table x as select * from {t}",
    "create view x as select * from {t}", "create temp macro count_star() as 7",
    "create macro sum(x) as max(x)", "alter table {t} add column z int", "copy {t} to '/tmp/x'",
    "copy (select * from {t}) to 's3://a/b'", "export database '/tmp/e'", "describe {t}",
    "summarize {t}", "show {t}", "show all tables", "explain analyze select * from {t}", "vacuum",
    "explain select count(*) from {t}", "pragma table_info('{t}')", "set threads = 99", "call x()",
    "set variable x = (select max({d}) from {t})", "attach ':memory:' as z", "use memory",
    "install httpfs", "load httpfs", "prepare p as select * from {t}", "execute p", "begin",
    "commit", "checkpoint", "from {t}", "from {t} select *", "table {t}", "values (1)",
    "merge into {t} using persons on false when not matched then insert default values",
    "select count(*) from {t}; drop table {t}", "select count(*) from {t};", "reset all",
    "pivot {t} on {d} using count(*)", "unpivot {t} on {d} into name n value v", "select 1", "",
    "with x as (delete from {t} returning *) select count(*) from x", "comment on table {t} is 'x'",
    "grant all on {t} to public", "select count(*) into x from {t}", "analyze {t}", "--", ";",
    "select count(*) from {t} for update", "select $1 from {t}", "select ? from {t}",
    "select count(*) from {t} tablesample 10%", "select count(*) from {t} using sample 3 rows",
    "select * from {t} limit 1 offset 3", "select top 3 * from {t}", "select count(*) from {t} x(a, b)",
    "select {d}, count(*) from {t} group by rollup({d})", "select {d}, count(*) from {t} group by cube({d})",
    "select {d}, count(*) from {t} group by grouping sets (({d}), ())", "select columns('.*') from {t}",
    "select count(*) from {t} window w as (order by {d})", "select distinct on ({d}) {d} from {t}",
    "select {d}, count(*) from {t} group by {d} qualify row_number() over (order by {d}) = 1",
    "with recursive r as (select 1 n union all select n + 1 from r) select count(*) from r",
    "select count(*) from {t} at (version => 1)", "select unnest([{d}]) from {t}",
)  # fmt: skip


class Maker:
    """One seeded maker of statements."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._makers: list[tuple[str, Callable[[], str]]] = [
            ("stmt", self._statement), ("rowlevel", self._rows), ("agg-leak", self._leak),
            ("key", self._key), ("error", self._error), ("file", self._table),
            ("join", self._join), ("subquery", self._subquery), ("groupkey", self._group),
            ("window", self._window), ("limit", self._limit), ("dos", self._dos),
        ]  # fmt: skip

    def statements(self, count: int) -> Iterator[tuple[str, str]]:
        """Yield class and statement, the classes in turn."""
        for place in range(count):
            kind, make = self._makers[place % len(self._makers)]
            yield kind, self._disguised(make())

    def _of(self, items: tuple[str, ...]) -> str:
        return self._random.choice(items)

    def _table_name(self) -> str:
        return self._of(("persons", "visits"))

    def _where(self, table: str) -> str:
        return self._of(WHERE[table])

    def _statement(self) -> str:
        table = self._table_name()
        return self._of(STATEMENTS).replace("{t}", table).replace("{d}", self._of(DIMS[table]))

    def _rows(self) -> str:
        table = self._table_name()
        column = self._of((*DIMS[table], *NUMBERS[table], *KEYS[table], "*", f"{table}.*"))
        if not column.endswith("*"):
            column = self._of(
                (column, f"{column} as x", f"({column})", f"coalesce({column}, null)")
            )
        select = f"select {column} from {table}{self._where(table)}"
        return self._of(
            (select, f"with a as ({select}) select * from a", f"select * from ({select}) t",
             f"select count(*) from {table} union all {select}", f"({select})",
             f"{select} order by 1 limit 1", f"select * from ({select} union all {select}) t",
             f"with a as ({select}), b as (select * from a) select * from b",
             f"{select} except select 1", f"{select} intersect {select}"))  # fmt: skip

    def _leak(self) -> str:
        table = self._table_name()
        leak = self._of(LEAKS).replace("{c}", self._of(NUMBERS[table]))
        dim, where = self._of(DIMS[table]), self._where(table)
        return self._of(
            (f"select {leak} from {table}{where}", f"select {leak} as m, count(*) from {table}{where}",
             f"select {dim}, {leak} from {table}{where} group by {dim}",
             f"select {dim} from {table}{where} group by {dim} having {leak} > 5",
             f"select {dim}, count(*) from {table}{where} group by {dim} order by {leak}",
             f"with a as (select {dim}, {leak} as m from {table} group by 1) select m from a"))  # fmt: skip

    def _key(self) -> str:
        table = self._table_name()
        keyed, where = self._of(KEYED).replace("{k}", self._of(KEYS[table])), self._where(table)
        number = self._of(NUMBERS[table])
        more = f"{where} and {keyed}" if where else f" where {keyed}"
        return self._of(
            (f"select count(*) from {table}{more}", f"select avg({number}) from {table}{more}",
             f"select count(*) filter (where {keyed}) from {table}{where}",
             f"select sum(case when {keyed} then {number} else 0 end) from {table}{where}",
             f"select {keyed}, count(*) from {table} group by 1",
             f"with a as (select * from {table}{more}) select count(*) from a",
             f"select count(*) from {table} group by {keyed}"))  # fmt: skip

    def _error(self) -> str:
        table = self._table_name()
        known = self._of(WHERE[table][1:]).removeprefix(" where ")
        error = (self._of(ERRORS).replace("{p}", known).replace("{t}", self._of(TEXTS[table]))
                 .replace("{n}", self._of(NUMBERS[table])))  # fmt: skip
        return self._of(
            (f"select count(*) from {table} where {error}",
             f"select count(*) filter (where {error}) from {table}",
             f"select sum(case when {error} then 1 else 0 end) from {table}",
             f"select count(*) from {table} where {known} and not ({error})",
             f"with a as (select *, ({error}) as bit from {table}) select count(*) from a where bit",
             f"select ({error}) as bit, count(*) from {table} group by 1",
             f"select count_if({error}) from {table}"))  # fmt: skip

    def _table(self) -> str:
        what = self._of(TABLES)
        return self._of(
            (f"select * from {what}", f"select count(*) from {what}",
             f"with a as (select * from {what}) select count(*) from a",
             f"select count(*) from persons where region in (select * from {what})",
             f"select count(*) from persons p join {what} x on true"))  # fmt: skip

    def _join(self) -> str:
        return f"select count(*), avg(income) from {self._of(JOINS)}"

    def _subquery(self) -> str:
        inner = self._of(
            ("select max(income) from persons", "select avg(income) from persons",
             "select count(*) from visits where dept = 'er'", "select income from persons limit 1",
             "select sum(income) from persons where birth_year = 1931"))  # fmt: skip
        return self._of(
            (f"select count(*) from persons where income > ({inner})", f"select ({inner})",
             f"select count(*), ({inner}) from visits", f"select count(*) from persons where exists ({inner})",
             f"select region, count(*) from persons group by region having count(*) > ({inner})",
             f"select case when ({inner}) > 5 then 1 else 0 end from regions",
             f"with x as ({inner}) select count(*) from persons, x",
             f"select count(*) from persons where income in ({inner})",
             f"select count(*) from persons where income > all ({inner})",
             f"select sum(income - ({inner})) from persons"))  # fmt: skip

    def _group(self) -> str:
        table = self._table_name()
        number = self._of(NUMBERS[table])
        key = self._of(
            (number, f"{number} * 0", f"{number}::varchar", f"{number} + 1", f"round({number})",
             f"floor({number})", f"{number} // 1", f"-{number}", f"coalesce({number}, 0)",
             f"case when {number} > 0 then {number} end", f"greatest({number}, 1)", f"abs({number})",
             f"nullif({number}, 1)", "person_id % 5", "person_id", f"{number} / 2",
             *(("visit_date", "visit_id", "visit_date + interval 1 day", "extract(day from visit_date)",
                "date_trunc('day', visit_date)", "dayofyear(visit_date)", "visit_date::varchar",
                "date_diff('day', date '2020-01-01', visit_date)")
               if table == "visits" else ("birth_year + income",))))  # fmt: skip
        return self._of(
            (f"select {key} as k, count(*) from {table} group by 1",
             f"select {key} as k, avg({number}) from {table} group by k",
             f"select count(*) from {table} group by {key}", f"select distinct {key} from {table}",
             f"select {key} as k, count(*) from {table} group by all",
             f"with a as (select {key} as k, {number} as v from {table}) select k, sum(v) from a group by k"))  # fmt: skip

    def _window(self) -> str:
        table = self._table_name()
        number, dim = self._of(NUMBERS[table]), self._of(DIMS[table])
        name = self._of(
            ("row_number()", "rank()", f"sum({number})", f"lag({number})", f"max({number})")
        )
        over = self._of(
            (f"order by {number}", f"partition by {dim} order by {number} desc", "",
             f"order by {number} rows 1 preceding", f"partition by {dim}"))  # fmt: skip
        made = f"select {number}, {dim}, {name} over ({over}) as w from {table}"
        return self._of(
            (f"with s as ({made}) select avg({number}) from s where w = 1", made,
             f"select count(*) from ({made}) t where w <= 10",
             f"select sum({number}) from {table} qualify {name} over ({over}) = 1",
             f"with s as ({made}) select w, count(*) from s group by w"))  # fmt: skip

    def _limit(self) -> str:
        table = self._table_name()
        number = self._of(NUMBERS[table])
        inner = self._of(
            (f"select {number} from {table} order by {number} desc limit 10",
             f"select * from {table} limit 1", f"select {number} from {table} order by {number}",
             f"select distinct on (person_id) {number} from {table}",
             f"select person_id, sum({number}) as {number} from {table} group by person_id order by 2 limit 3",
             f"select {number} from {table} offset 5", f"select {number} from {table} fetch first 1 rows only"))  # fmt: skip
        return self._of(
            (f"select sum({number}) from ({inner}) t", f"with a as ({inner}) select avg({number}) from a",
             f"select count(*) from {table} where person_id in ({inner})"))  # fmt: skip

    def _dos(self) -> str:
        size = self._random.randint(900, 4000)
        return self._of(
            ("select " + "(" * size + "1" + ")" * size, "select " + "not " * size + "true from persons",
             "select " + "+".join(["1"] * 4 * size) + " from persons",
             "select count(*) from persons where " + " or ".join(["sex = 'F'"] * size),
             "select " + ", ".join(f"sum(income + {i})" for i in range(size)) + " from persons",
             f"select count(*) from visits where dept like '{'%a' * size}'",
             "select " + "case when true then " * size + "1" + " end" * size + " from persons",
             "select " + "-" * 1 + "- -".join(["1"] * size) + " from persons",
             f"select count(*) from persons where sex in ({', '.join(['1'] * size * 3)})",
             "with " + ", ".join(f"a{i} as (select count(*) n from persons)" for i in range(size))
             + " select * from a0",
             " union all ".join(["select count(*) from persons"] * size)))  # fmt: skip

    def _disguised(self, sql: str) -> str:
        """Write a statement in another way that means the same."""
        how = self._random.randrange(6)
        if how == 1:
            return sql.replace(" from ", "/**/from/**/").replace(" where ", "\n where\t")
        if how == 2 and "'" not in sql and '"' not in sql:
            return "".join(self._random.choice((c.upper(), c.lower())) for c in sql)
        if how == 3:
            return f"  {sql}  -- select count(*) from persons"
        if how == 4 and sql.startswith("select"):
            return f"({sql})"
        return sql
