"""The first gate: one statement, small, made of listed syntax-tree nodes with listed arguments.

``ALLOWED`` names every node class that may occur and, for each, the arguments that may be set. A
class or an argument that is not here is refused, whatever it means. What a listed node means is
decided by the analysis, which refuses what it does not know once more; and no text of the analyst
or of sqlglot's generator is ever run by an engine, because SQL is written anew from the plan. What
sqlglot reads although it is malformed is refused by the grammar of DuckDB (:mod:`sandbox.grammar`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import TokenType

from sandbox import grammar
from sandbox.functions import FUNCTIONS
from sandbox.places import placed
from sandbox.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_CHARACTERS: Final = 8_000
MAX_TOKENS: Final = 2_000
MAX_NODES: Final = 3_000
MAX_DEPTH: Final = 60
MAX_PARENTHESES: Final = 40
MAX_STEPS: Final = 20
"""Steps of the parser for each token; the statements of the corpora take two at most."""

_PAIR: Final = "this expression"
_LISTING: Final = {
    # statements and their parts
    "Select": "expressions from_ joins where group having qualify order limit offset with_ "
    "distinct",
    "Union": "this expression distinct order limit with_",
    "Subquery": "this alias",
    "With": "expressions",
    "CTE": "this alias",
    "From": "this",
    "Join": "this on using side kind",
    "Where": "this",
    "Having": "this",
    "Qualify": "this",
    "Offset": "expression",
    "Group": "expressions all",
    "Order": "expressions",
    "Ordered": "this desc nulls_first",
    "Limit": "expression",
    "Distinct": "expressions",
    "Table": "this alias",
    "TableAlias": "this",
    "Alias": "this alias",
    "Identifier": "this quoted",
    "Column": "this table",
    "Star": "",
    "Paren": "this",
    # values
    "Literal": "this is_string",
    "Boolean": "this",
    "Null": "",
    "Interval": "this unit",
    "Var": "this",
    "DataType": "this nested",
    "Cast": "this to",
    "TryCast": "this to safe",
    # conditions
    **dict.fromkeys(["And", "Or", "EQ", "NEQ", "GT", "GTE", "LT", "LTE", "Is"], _PAIR),
    **dict.fromkeys(["NullSafeEQ", "NullSafeNEQ", "Like", "ILike", "StartsWith"], _PAIR),
    "Contains": _PAIR,
    "Not": "this",
    "Between": "this low high",
    "In": "this expressions query",
    "Exists": "this",
    "Case": "this ifs default",
    "If": "this true false",
    # arithmetic
    **dict.fromkeys(["Add", "Sub", "Mul", "IntDiv", "Mod", "Pow"], _PAIR),
    "Div": "this expression typed safe",
    **dict.fromkeys(["Neg", "Abs", "Sign", "Floor", "Ceil", "Sqrt", "Ln", "Exp"], "this"),
    "Log": _PAIR,
    "Round": "this decimals",
    "Greatest": "this expressions ignore_nulls",
    "Least": "this expressions ignore_nulls",
    "Coalesce": "this expressions",
    "Nullif": _PAIR,
    # texts
    **dict.fromkeys(["Upper", "Lower", "Trim", "Length"], "this"),
    "Left": _PAIR,
    "Right": _PAIR,
    "Substring": "this start length",
    "Concat": "expressions safe coalesce",
    "DPipe": "this expression safe",
    # days
    "Extract": _PAIR,
    **dict.fromkeys(["Year", "Quarter", "Month", "Week", "Day", "DayOfMonth"], "this"),
    **dict.fromkeys(["DayOfWeek", "DayOfWeekIso", "DayOfYear", "WeekOfYear"], "this"),
    "TimestampTrunc": "this unit",
    "DateTrunc": "this unit",
    "DateDiff": "this expression unit date_part_boundary",
    "TimeToStr": "this format",
    **dict.fromkeys(["Dayname", "Monthname"], "this"),
    "Anonymous": "this expressions",
    # aggregates and windows
    "Count": "this expressions big_int",
    "CountIf": "this",
    **dict.fromkeys(["Sum", "Avg", "Min", "Max", "Median", "ApproxDistinct"], "this"),
    **dict.fromkeys(["Stddev", "StddevSamp", "StddevPop", "Variance", "VariancePop"], "this"),
    **dict.fromkeys(["Corr", "CovarSamp", "CovarPop"], _PAIR),
    **dict.fromkeys(["RegrSlope", "RegrIntercept", "RegrR2", "RegrCount"], _PAIR),
    "PercentileCont": _PAIR,
    "PercentileDisc": _PAIR,
    "WithinGroup": _PAIR,
    "Filter": _PAIR,
    "Window": "this partition_by order over spec",
    "WindowSpec": "kind start start_side end end_side",
    **dict.fromkeys(["RowNumber", "Rank", "DenseRank", "PercentRank", "CumeDist"], ""),
    "Ntile": "this",
    "Lag": "this offset",
    "Lead": "this offset",
    "FirstValue": "this",
    "LastValue": "this",
}
ALLOWED: Final = {name: frozenset(listed.split()) for name, listed in _LISTING.items()}
"""Node class to the arguments that may be set."""

UNPARSED: Final = frozenset({"date_part", "datepart"})
"""Functions that sqlglot has no class for."""
_INSTEAD: Final = dict.fromkeys(
    ["Rollup", "Cube", "GroupingSets"], "UNION ALL of a SELECT for each grouping."
)
MAX_NAME: Final = 63
_STATEMENTS: Final = (exp.Select, exp.Union, exp.Subquery)


class _Parser(DuckDBParser):
    """sqlglot's, which gives up where it goes back and forth for too long.

    It tries what a text could be one after the other: of types within types (``struct(struct(``)
    every level doubles its time, so that a line of SQL would keep a node busy for good.
    """

    _steps = 0

    def _advance(self, times: int = 1) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS * (len(self._tokens) + 1):
            raise ParseError("too many steps")
        super()._advance(times)


def _parsed(statement: str) -> list[exp.Expr | None]:
    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    parser = _Parser(dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    return parser.parse(dialect.tokenize(statement), statement)


def read(statement: str, functions: Collection[str] | None = None) -> exp.Expr:
    """Return the tree of one statement that is made of what is listed.

    Args:
        statement: SQL.
        functions: The functions that the policy allows; all that are listed without it.

    Raises:
        QueryRefused: It is not.
    """
    _check_text(statement)
    try:
        trees = _parsed(statement)
    except ParseError as error:
        # Its message quotes the statement, which may be a guess at a value; its place does not.
        refused = refusal("Q-01", "Its grammar is broken here.")
        refused.start = _start(statement, error)
        raise refused from None
    except (SqlglotError, RecursionError, ValueError, AssertionError):
        raise refusal("Q-01") from None
    except Exception:  # noqa: BLE001 - a parser that fails has not understood
        raise refusal("Q-01") from None
    if len(trees) != 1 or not isinstance(trees[0], _STATEMENTS):
        raise refusal("Q-01")
    _check_tree(trees[0], functions)
    grammar.check(statement)
    return trees[0]


def _start(statement: str, error: ParseError) -> int | None:
    """Return the character that sqlglot stopped at, which it gives as the end of a word."""
    found = error.errors[0] if error.errors else {}
    word, line, column = (found.get(each) for each in ("highlight", "line", "col"))
    if not word or not line or column is None:
        return None
    lines = statement.split("\n")[: int(line) - 1]
    start = sum(len(each) + 1 for each in lines) + int(column) - len(word)
    return start if start >= 0 and statement.startswith(word, start) else None


def _check_text(statement: str) -> None:
    if len(statement) > MAX_CHARACTERS or not statement.isprintable():
        allowed = statement.replace("\n", " ").replace("\t", " ").replace("\r", " ")
        if len(statement) > MAX_CHARACTERS or not allowed.isprintable():
            raise refusal("Q-02" if len(statement) > MAX_CHARACTERS else "Q-01")
    try:
        tokens = sqlglot.tokenize(statement, read="duckdb")
    except (SqlglotError, RecursionError, ValueError):
        raise refusal("Q-01") from None
    if len(tokens) > MAX_TOKENS:
        raise refusal("Q-02")
    depth = deepest = 0
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            raise refusal("Q-01", "A semicolon is not needed.")
        if token.token_type in {TokenType.L_PAREN, TokenType.CASE}:
            depth += 1
            deepest = max(depth, deepest)
        elif token.token_type in {TokenType.R_PAREN, TokenType.END}:
            depth -= 1
    if deepest > MAX_PARENTHESES:
        raise refusal("Q-02")


def _check_tree(tree: exp.Expr, functions: Collection[str] | None) -> None:
    stack: list[tuple[exp.Expr, int]] = [(tree, 1)]
    count = 0
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise refusal("Q-02")
        with placed(node):
            _check_node(node)
            name = FUNCTIONS.get(type(node).__name__)
            if functions is not None and name is not None and name not in functions:
                raise refusal("Q-17", f"It is {name}.")
        for value in node.args.values():
            children = value if isinstance(value, list | tuple) else [value]
            stack += [(each, depth + 1) for each in children if isinstance(each, exp.Expr)]


def _check_node(node: exp.Expr) -> None:
    name = type(node).__name__
    allowed = ALLOWED.get(name)
    if allowed is None:
        raise refusal("Q-03", f"It is of the kind {name}.", _INSTEAD.get(name, ""))
    for argument, value in node.args.items():
        if argument not in allowed and value not in (None, False, []):
            raise refusal("Q-03", f"{name} does not take {argument.strip('_')} here.")
    if isinstance(node, exp.Identifier):
        _check_name(str(node.this))
    if isinstance(node, exp.Anonymous) and str(node.this).lower() not in UNPARSED:
        raise refusal("Q-03", f"A function is not known: {_shortened(str(node.this))}.")


def _shortened(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").isalnum() and len(name) <= MAX_NAME
    return f"`{name}`" if plain else "its name is none"


def _check_name(name: str) -> None:
    # No name of a statement is ever written into SQL: tables and columns are the policy's own.
    if not name or len(name) > MAX_NAME or name[0] == "_" or not name.isprintable():
        raise refusal("Q-04", f"A name has 1 to {MAX_NAME} characters and no _ in front.")
