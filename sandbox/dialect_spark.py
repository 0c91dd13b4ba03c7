"""What each operation of a plan is in Spark SQL, where that is not what it is elsewhere.

Texts are written with escapes for quote, backslash and dollar: Spark reads a backslash in a text as
the beginning of one. Days count from Sunday = 1 there, ``concat`` of a NULL is NULL, ``sum`` of
whole numbers of 64 bits runs over without a word, so sums are over decimals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.dialects import Dialect, cut, spark_literal
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ANY: Final = 2
"""``%`` of a pattern. Spark matches with Java's regular expressions, which go back over a text once
more for each: with four, one text of 200 characters takes eleven seconds."""

_FORMATS: Final = {"%Y": "yyyy", "%Y-%m": "yyyy-MM"}
_PARTS: Final = {"isodow": "dayofweek_iso"}
_OTHERS: Final[Mapping[str, str]] = {
    "spelt": "CAST({0} AS STRING)", "starts": "startswith({0}, {1})",
    "contains": "(instr({0}, {1}) > 0)",
}  # fmt: skip


class SparkDialect(Dialect):
    """Writes expressions for Spark."""

    def sql(self, of: Expr) -> str:
        """Return the text of an expression."""
        if of.op in _OTHERS:
            args = [self.sql(each) for each in of.args]
            return _OTHERS[of.op].format(*args)
        if of.op == "concat":
            return cut(f"concat_ws('', {', '.join(self.sql(each) for each in of.args)})")
        return super().sql(of)

    def _like(self, of: Expr) -> str:
        if str(of.args[1].args[0]).count("%") > MAX_ANY:
            raise refusal("Q-02", f"On Spark a pattern has at most {MAX_ANY} %.")
        return f"({self.sql(of.args[0])} {of.op.upper()} {self.sql(of.args[1])})"

    _ilike = _like

    def _text(self, of: Expr) -> str:
        return spark_literal(of.args[0])

    def _idiv(self, of: Expr) -> str:
        if of.type.kind is Kind.REAL:
            return super()._idiv(of)
        return f"({self.sql(of.args[0])} div {of.args[1]})"

    def _part(self, of: Expr) -> str:
        part, day = of.args[0], self.sql(of.args[1])
        if part == "dow":
            return f"CAST(extract(dow FROM {day}) - 1 AS BIGINT)"
        return f"CAST(extract({_PARTS.get(part, part)} FROM {day}) AS BIGINT)"

    def _day_spelt(self, of: Expr) -> str:
        return f"date_format({self.sql(of.args[1])}, '{_FORMATS[of.args[0]]}')"

    def _days_between(self, of: Expr) -> str:
        unit, first, last = of.args[0], self.sql(of.args[1]), self.sql(of.args[2])
        if unit == "day":
            return f"CAST(datediff({last}, {first}) AS BIGINT)"
        if unit == "week":
            whole = [f"CAST(date_trunc('week', {each}) AS DATE)" for each in (last, first)]
            return f"(CAST(datediff({whole[0]}, {whole[1]}) AS BIGINT) div 7)"
        return f"({self._units(unit, last)} - {self._units(unit, first)})"

    def _shifted(self, of: Expr) -> str:
        unit, by, day = of.args[0], of.args[1], self.sql(of.args[2])
        return f"{'date_add' if unit == 'day' else 'add_months'}({day}, {by})"
