"""Made-up samples: schema-true, from noised counts of declared domains and nothing else."""

from __future__ import annotations

import ast
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.catalogue import mock as module
from fusion.catalogue.cells import MISSING, OUTSIDE, cells_of, findings, size_of
from fusion.catalogue.identifiers import check_enterprise
from fusion.catalogue.mock import (
    Marginal,
    counted_rows,
    draw,
    exact_counts,
    make_sample,
    marginals,
    noised,
    unit_column,
)
from fusion.errors import CatalogueInvalid, DataInvalid, InputInvalid, Refused
from tests.catalogue.descriptors import SCHEMA, descriptor, keyed
from tests.docs.sources import imported_modules, python_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.catalogue.descriptor import Column

FIRMS = descriptor({"/level": "general-3"})
Table = dict[str, Any]


def _words(*values: str | None) -> Any:  # noqa: ANN401 - an array
    return np.array(values, dtype=object)


def _table(firms: Sequence[str | None] | None = None, rows: int = 6) -> Table:
    firms = firms if firms is not None else [f"firm-{n}" for n in range(rows)]
    rows = len(firms)
    return {
        "uscc": _words(*firms),
        "region": _words(*(["330100"] * rows)),
        "turnover": np.arange(rows, dtype=np.float64),
        "rate": np.array([0.5] * rows),
        "founded": _words(*(["2004-05-06"] * rows)),
        "kind": _words(*(["shop", "farm", None, "mill", "zoo", "shop"] * rows)[:rows]),
    }


def _column(name: str) -> Column:
    return next(column for column in FIRMS.columns if column.name == name)


# ---------------------------------------------------------------------------------- cells


def test_a_number_is_in_the_cell_of_its_range() -> None:
    values = np.array([0, 9, 10, 99, -1, 100, np.nan, np.inf])
    assert cells_of(_column("turnover"), values).tolist() == [
        0, 0, 1, 9, OUTSIDE, OUTSIDE, MISSING, MISSING,
    ]  # fmt: skip


def test_a_day_is_in_the_cell_of_its_dates() -> None:
    values = _words("2000-01-01", "2019-12-31", "2004-06-01 10:00:00", "2020-01-01", "soon", None)
    assert cells_of(_column("founded"), values).tolist() == [0, 4, 1, OUTSIDE, OUTSIDE, MISSING]


def test_a_word_is_in_the_cell_of_its_category() -> None:
    assert cells_of(_column("kind"), _words("mill", "zoo", None)).tolist() == [2, OUTSIDE, MISSING]


def test_words_in_a_column_of_numbers_are_refused_and_not_quoted() -> None:
    with pytest.raises(DataInvalid) as caught:
        cells_of(_column("turnover"), _words("secret-cell"))
    assert "secret-cell" not in str(caught.value)


def test_what_does_not_fit_is_counted_for_the_owner() -> None:
    table = _table()
    table["turnover"][0] = np.nan
    found = {(f.column, f.what): f.count for f in findings(FIRMS, table)}
    assert found == {("uscc", "invalid"): 6, ("kind", "outside"): 1, ("turnover", "missing"): 1}


# ------------------------------------------------------------- one row is one cell a column


@given(st.data())
def test_one_row_more_changes_one_cell_by_one(data: st.DataObject) -> None:
    """Sensitivity 1 in the L1 norm, for every kind of domain and any cell whatsoever."""
    column = data.draw(st.sampled_from([c for c in FIRMS.columns if c.domain is not None]))
    if column.type == "number":
        cells: st.SearchStrategy[Any] = st.floats(width=32)
    else:
        words = ["shop", "farm", "zoo", "2003-01-01", "2019-12-31", "1999-01-01"]
        cells = st.none() | st.sampled_from(words) | st.text(max_size=5)
    values = data.draw(st.lists(cells, min_size=1, max_size=12))
    at = data.draw(st.integers(0, len(values) - 1))
    kind: Any = np.float64 if column.type == "number" else object
    full = exact_counts(column, np.array(values, dtype=kind))
    less = exact_counts(column, np.array(values[:at] + values[at + 1 :], dtype=kind))
    differences = [one - other for one, other in zip(full, less, strict=True)]
    assert sum(map(abs, differences)) <= 1
    assert min(differences) >= 0


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=20), st.sampled_from("abc"))
def test_all_rows_of_one_entity_change_one_counted_row(firms: list[str | None], gone: str) -> None:
    """The unit of privacy is the enterprise: without it, one counted row is missing at most."""
    table = _table(firms)
    kept = [at for at, firm in enumerate(firms) if firm != gone]
    rest = {name: values[kept] for name, values in table.items()}
    full = table["turnover"][counted_rows(FIRMS, table, len(firms))].tolist()
    less = rest["turnover"][counted_rows(FIRMS, rest, len(kept))].tolist()
    assert Counter(less) <= Counter(full)
    assert len(full) - len(less) == (1 if gone in firms else 0)


def test_the_unit_is_a_person_before_a_household_before_an_enterprise() -> None:
    both = keyed("bank/loans", {"uscc": ("enterprise", "gb32100"), "id": ("person", "gb11643")})
    unit = unit_column(both)
    assert unit is not None
    assert unit.name == "id"
    assert unit_column(keyed("a/b", {"place": ("place", "gbt2260")})) is None


def test_noise_of_neighbours_is_indistinguishable_up_to_epsilon() -> None:
    """The whole mechanism on two tables that differ in one firm, by its likeliest outputs."""
    runs, epsilon = 4000, 1.0
    one = Counter(noised([3, 5], 1_000_000) for _ in range(runs))
    other = Counter(noised([3, 4], 1_000_000) for _ in range(runs))
    for outcome, count in one.most_common(10):
        # At the bound itself the difference has a standard deviation of 1.9, or 3.2, times this.
        deviation = math.sqrt(count)
        assert count <= math.exp(epsilon) * other[outcome] + 12 * deviation
        assert other[outcome] <= math.exp(epsilon) * count + 20 * deviation


def test_counts_get_noise_and_none_is_below_zero() -> None:
    found = [noised([0, 1000], 100_000) for _ in range(300)]
    assert all(min(counts) >= 0 for counts in found)
    assert len({counts[1] for counts in found}) > 20
    assert abs(sum(counts[1] for counts in found) / 300 - 1000) < 6


# ---------------------------------------------------------------------------------- rows


def test_a_sample_has_the_columns_and_the_domains_that_are_declared() -> None:
    sample = make_sample(FIRMS, _table(), 6, rows=400, epsilon_micro=1_000_000)
    assert list(sample.columns) == list(SCHEMA)
    assert {len(cells) for cells in sample.columns.values()} == {400}
    assert (sample.epsilon_micro, sample.share_micro, sample.unit) == (
        1_000_000,
        250_000,
        "enterprise",
    )
    for text in sample.columns["uscc"]:
        check_enterprise(str(text))
    assert all(str(text).startswith("99") for text in sample.columns["region"])
    assert set(sample.columns["turnover"]) <= set(range(100))
    assert set(sample.columns["kind"]) <= {"shop", "farm", "mill", None}
    assert all(cell is None or -1 <= float(cell) <= 1 for cell in sample.columns["rate"])
    days = {str(cell) for cell in sample.columns["founded"] if cell is not None}
    assert min(days) >= "2000-01-01"
    assert max(days) <= "2019-12-31"


def test_no_value_of_the_table_that_is_not_declared_is_in_the_sample() -> None:
    table = _table(["91350100M000100Y43"] * 6)
    table["kind"] = _words(*["secret-kind"] * 6)
    sample = make_sample(FIRMS, table, 6, rows=500, epsilon_micro=1_000_000_000)
    text = str(sample)
    assert "secret-kind" not in text
    assert "91350100M000100Y43" not in text


def test_with_much_epsilon_the_marginals_are_those_of_the_table() -> None:
    rows = 3000
    table = _table(rows=rows)
    table["turnover"] = np.array([5.0] * 2000 + [55.0] * 1000)
    sample = make_sample(FIRMS, table, rows, rows=3000, epsilon_micro=1_000_000_000)
    share = sum(0 <= int(v or 0) < 10 for v in sample.columns["turnover"]) / 3000
    assert abs(share - 2 / 3) < 0.06


def test_rows_come_from_the_noised_counts_alone() -> None:
    """Post-processing: `draw` is handed counts, and no table."""
    found = [
        Marginal(column, tuple([0] * (size_of(column.domain) - 1) + [1]))
        for column in FIRMS.columns
        if column.domain is not None and not column.nullable
    ] + [
        Marginal(column, tuple([0] * size_of(column.domain) + [7]))
        for column in FIRMS.columns
        if column.domain is not None and column.nullable
    ]
    rows = draw(FIRMS, found, 50)
    assert all(90 <= int(value or 0) <= 99 for value in rows["turnover"])
    assert set(rows["kind"]) == {None}


def test_where_noise_left_nothing_every_cell_is_as_likely() -> None:
    column = _column("kind")
    only = {c.name: Marginal(c, (0,) * (size_of(c.domain) + c.nullable)) for c in FIRMS.columns
            if c.domain is not None}  # fmt: skip
    rows = draw(FIRMS, list(only.values()), 400)
    assert set(rows["kind"]) == {"shop", "farm", "mill", None}
    assert column.nullable


def test_every_value_of_a_range_can_be_drawn() -> None:
    small = descriptor(
        {"/columns/turnover/domain": {"kind": "range", "min": -3, "max": 3, "bins": 4}}
    )
    even = [
        Marginal(column, (1,) * (size_of(column.domain) + column.nullable))
        for column in small.columns
        if column.domain is not None
    ]
    assert set(draw(small, even, 1000)["turnover"]) == set(range(-3, 4))


# ------------------------------------------------------------------------------- refusals


def test_a_column_without_a_domain_is_refused() -> None:
    bare = descriptor({"/columns/kind": {}})
    with pytest.raises(CatalogueInvalid, match="No domain is declared for kind"):
        marginals(bare, _table(), 6, 1_000_000)


@pytest.mark.parametrize(
    "changes", [{"/level": "important", "/actions": ["train"]}, {"/actions": ["train"]}]
)
def test_only_general_data_that_allow_it_have_samples(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="No sample is made up"):
        marginals(descriptor(changes), _table(), 6, 1_000_000)


@pytest.mark.parametrize(("rows", "epsilon"), [(0, 10), (1_000_001, 10), (10, 3)])
def test_numbers_out_of_range_are_refused(rows: int, epsilon: int) -> None:
    with pytest.raises(InputInvalid):
        make_sample(FIRMS, _table(), 6, rows=rows, epsilon_micro=epsilon)


def test_all_randomness_is_the_systems() -> None:
    for path in python_files("fusion"):
        if "catalogue" in path.parts or path.name == "discrete_laplace.py":
            assert not imported_modules(path) & {"random", "numpy.random", "secrets", "os"}
            source = ast.unparse(ast.parse(path.read_text("utf-8")))
            assert "np.random" not in source
    assert vars(module)["rng"].__name__ == "fusion.crypto.rng"
