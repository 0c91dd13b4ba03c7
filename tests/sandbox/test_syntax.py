"""The allow-list is total: what sqlglot can make is either listed here or refused.

``sqlglot_classes.txt`` holds every node class with its arguments, as it was when the list was
reviewed. An upgrade that adds a class or an argument fails here until somebody has looked at it:
``python -m tests.sandbox.test_syntax`` writes the file again.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlglot import exp

from fusion.errors import QueryRefused
from sandbox import days, scalars, syntax, texts
from sandbox.functions import FUNCTIONS
from sandbox.query import compile_statement
from sandbox.scalars import Scalars
from tests.sandbox.asking import example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REVIEWED = Path(__file__).with_name("sqlglot_classes.txt")


def _below(kind: type[Any]) -> Iterator[type[Any]]:
    for each in type.__subclasses__(kind):
        yield each
        yield from _below(each)


def classes() -> dict[str, list[str]]:
    """Return every node class of sqlglot, with its arguments."""
    return {
        kind.__name__: sorted(getattr(kind, "arg_types", {}))
        for kind in {*_below(exp.Expr)}
        if kind.__module__.startswith("sqlglot.expressions")
    }


def _written() -> str:
    lines = [f"{name}: {' '.join(arguments)}".rstrip() for name, arguments in classes().items()]
    return "\n".join([f"# sqlglot {version('sqlglot')}", *sorted(lines)]) + "\n"


def test_sqlglot_has_the_classes_and_arguments_that_were_reviewed() -> None:
    assert REVIEWED.read_text("utf-8") == _written()


def test_what_is_allowed_is_there() -> None:
    known = classes()
    assert not sorted(set(syntax.ALLOWED) - set(known))
    for name, arguments in syntax.ALLOWED.items():
        assert arguments <= set(known[name]), name


def test_what_the_analysis_answers_is_allowed() -> None:
    answered = {*scalars._METHODS, *texts.METHODS, *days.METHODS, *FUNCTIONS}
    assert not sorted(answered - set(syntax.ALLOWED))


def test_a_class_that_is_not_listed_is_refused() -> None:
    looked_at = 0
    for name in set(classes()) - set(syntax.ALLOWED):
        kind = getattr(exp, name, None)
        if kind is not None and issubclass(kind, exp.Expression):
            looked_at += 1
            with pytest.raises(QueryRefused):
                syntax._check_node(kind())
    assert looked_at > 900


@pytest.mark.parametrize("name", sorted(syntax.ALLOWED))
def test_an_argument_that_is_not_listed_is_refused(name: str) -> None:
    kind = getattr(exp, name)
    for argument in set(kind.arg_types) - syntax.ALLOWED[name]:
        node = kind()
        node.args[argument] = exp.Boolean(this=True)
        with pytest.raises(QueryRefused):
            syntax._check_node(node)


def test_the_parser_that_fails_says_nothing() -> None:
    for junk in ("select 'card", "select count(*) frm persons where x = 'card'", "select ((1"):
        with pytest.raises(QueryRefused) as refused:
            syntax.read(junk)
        assert "card" not in str(refused.value)


def test_what_sqlglot_would_log_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(QueryRefused):
        syntax.read("call pragma_version('card')")
    assert not caplog.records


if __name__ == "__main__":
    REVIEWED.write_text(_written(), "utf-8")


@pytest.mark.parametrize(
    "chain",
    [
        lambda inner: f"({inner} + 1)",
        lambda inner: f"(1 - {inner})",
        lambda inner: f"cast({inner} as integer)",
        lambda inner: f"round({inner}, 0)",
        lambda inner: f"case when sex = 'F' then {inner} else 1 end",
        lambda inner: f"coalesce({inner}, 1)",
    ],
)
def test_a_chain_of_expressions_takes_no_more_looks_than_it_has_links(
    chain: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    looked = Scalars.any

    def counted(self: Scalars, node: Any) -> Any:
        nonlocal looks
        looks += 1
        return looked(self, node)

    monkeypatch.setattr(Scalars, "any", counted)
    text, links = "income", 12
    for _ in range(links):
        text = chain(text)
    compile_statement(f"select count(*) as n from persons where {text} > 0", example())
    assert looks <= 10 * links
