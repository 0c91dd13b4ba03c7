"""Spark: what its dialect writes; and on Spark itself, where PySpark is installed."""

from __future__ import annotations

import importlib.util
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid, QueryRefused
from sandbox import spark
from sandbox.dialects import spark_literal
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.public_rows import count
from sandbox.query import answer, compile_statement, finish
from tests.sandbox import joined
from tests.sandbox.asking import EXACT, ask, exact, in_bins, public_of, write
from tests.sandbox.test_corpora import assert_same
from tests.sandbox.test_totality import Expressions, ends  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = importlib.util.find_spec("pyspark") is not None
needs_spark = pytest.mark.skipif(
    not HERE, reason="PySpark is not installed: `./dev spark` runs the corpora on it"
)


def sql_of(statement: str) -> str:
    return compile_statement(statement, exact(), dialect="spark").asked.queries[0].sql


def test_a_text_can_not_end_early_or_name_a_variable() -> None:
    assert spark_literal("\\' or 1=1 --") == "'\\\\\\u0027 or 1=1 --'"
    assert spark_literal("${env:HOME}") == "'\\u0024{env:HOME}'"
    assert "${" not in sql_of("select count(*) as n from visits where dept = '${env:HOME}'")


def test_names_and_types_are_those_of_spark() -> None:
    text = sql_of(
        "select dept, date_trunc('month', visit_date) as w, sum(cost) as s, median(cost) as m, "
        "count(*) filter (where extract(dow from visit_date) = 0) as n from visits group by 1, 2"
    )
    assert "`visits`" in text
    assert '"' not in text
    assert "VARCHAR" not in text
    assert "HUGEINT" not in text
    assert "sum(CAST(" in text
    assert "sum(c" not in text


def test_the_middle_of_a_bin_is_made_of_whole_numbers() -> None:
    text = compile_statement("select sum(cost * 2) from visits", in_bins(), dialect="spark")
    assert re.search(r"ELSE \(s0\.c\d - s0\.c\d % 1000\) \+ 500 END\)", text.asked.queries[0].sql)


def test_a_folder_is_named_with_its_tables(tmp_path: Path) -> None:
    for wrong in ("spark+parquet://host/x", "spark+parquet:", f"spark+parquet://{tmp_path}/none"):
        with pytest.raises(InputInvalid, match="folder"):
            spark.tables_in(wrong, exact())
    with pytest.raises(InputInvalid, match="persons"):
        spark.tables_in(f"spark+parquet://{tmp_path}", exact())
    for options in ("master=sc://host", "master=local[*];x", "other=1", "frozen=tables", "master"):
        with pytest.raises(InputInvalid):
            spark.lake_of(f"spark+parquet://{tmp_path}?{options}")
    for master in ("local", "local[*]", "local[2]", "yarn", "spark://host:7077", "k8s://https://h"):
        assert spark.lake_of(f"spark+parquet://{tmp_path}?master={master}").master == master
    assert spark.lake_of(f"spark+parquet://{tmp_path}").frozen == tmp_path
    for name in exact().tables:
        (tmp_path / f"{name}.parquet").mkdir()
    assert set(spark.tables_in(f"spark+parquet://{tmp_path}", exact())) == set(exact().tables)


@pytest.mark.skipif(HERE, reason="PySpark is installed")
def test_without_pyspark_it_is_said_what_to_install() -> None:
    with pytest.raises(EnvironmentUnfit) as unfit, spark.session():
        pass
    assert "banyan-fusion[spark]" in unfit.value.hint


# ------------------------------------------------------------------------------ on Spark


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    with spark.session() as found:
        yield found


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_ends_of_types_and_texts_are_read_as_in_duckdb(session: Any, tmp_path: Path) -> None:
    from tests.queries.test_sources import STATEMENTS, policy, rows  # noqa: PLC0415 - needs Spark

    inputs = write(tmp_path, {"notes": rows()})
    run = partial(spark.execute, session=session, inputs=inputs)
    for sql in STATEMENTS:
        own = answer(sql, policy(), run, dialect="spark").rows
        theirs = answer(sql, policy(), partial(execute, inputs=inputs)).rows
        assert sorted(own, key=repr) == sorted(theirs, key=repr), sql


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_joins_with_public_tables_are_those_of_duckdb(session: Any, tmp_path: Path) -> None:
    inputs = write(tmp_path, joined.tables())
    run = partial(spark.execute, session=session, inputs=inputs)
    known = count(joined.RULES, run, "spark")
    assert known == public_of(joined.RULES, inputs)
    for sql in joined.JOINED:
        own = answer(sql, joined.RULES, run, dialect="spark", public=known).rows
        assert_same(own, ask(sql, joined.RULES, inputs).rows)


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_what_is_accepted_does_not_fail(session: Any, ends: dict[str, Path]) -> None:  # noqa: F811 - a fixture
    """Random expressions over the ends of every type."""
    made, ran, failed = Expressions(22), 0, []
    for _ in range(100):
        sql = made.statement()
        try:
            compiled = compile_statement(sql, exact(), dialect="spark")
        except QueryRefused:
            continue
        ran += 1
        try:
            reply = spark.execute(compiled.asked.request, session, ends)
            finish(compiled, reply, Rules(EXACT))
        except FusionError as error:
            failed.append((sql, getattr(error, "__notes__", None)))
    assert failed == []
    assert ran > 25


@needs_spark
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_of_the_corpora_at_least_95_in_100_are_equal() -> None:
    from benchmarks import spark_corpus  # noqa: PLC0415 - needs Spark

    assert spark_corpus.main(["--json"]) == 0
