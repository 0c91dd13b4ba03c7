"""An in-memory counterpart of an owner's node, for tests of the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.errors import FusionError
from fusion.services.query_messages import Left, Refusal, Table
from sandbox.describe import describe
from sandbox.query import compile_statement
from sandbox.reading import parse_policy
from tests.queries.world import COLUMNS, POLICY

if TYPE_CHECKING:
    from fusion.services.query_description import Described

RULES = parse_policy(POLICY, "policy.yaml")


class Answering:
    """Refuses by a real policy, answers everything else with one number, charges first."""

    def __init__(self, runs: int = 10) -> None:
        """Take how many queries may be asked."""
        self.runs = runs
        self.asked: list[tuple[str, int]] = []
        self.rho: list[int | None] = []
        self.raises: BaseException | None = None

    def query(self, statement: str, rows: int, rho_micro: int | None = None) -> Table:
        """Answer, or refuse as the compiler does."""
        self.asked.append((statement, rows))
        self.rho.append(rho_micro)
        try:
            compile_statement(statement, RULES)
        except FusionError as error:
            raise Refusal.of(error).error() from None
        self.runs -= 1
        if self.raises is not None:
            raise self.raises
        return Table(
            job=f"q-{'0' * 32}", policy=RULES.digest, columns=["n"], rows=[[1200]], notes=[]
        )

    def budget(self) -> list[Left]:
        """Return what is left."""
        return [
            Left(
                grant="a" * 64,
                runs=self.runs,
                rows=100 * self.runs,
                not_after="2099-01-01T00:00:00Z",
            )
        ]

    def describe(self) -> Described:
        """Describe the policy to somebody who may ask about all of it."""
        return describe(RULES, COLUMNS)

    def history(self) -> list[dict[str, Any]]:
        """Return what was asked."""
        return [
            {
                "at": "now",
                "dataset": "tax/persons",
                "outcome": "answered",
                "code": "",
                "statement": s,
            }
            for s, _ in self.asked
        ]
