"""The query shell: what a line or a statement does. Where lines come from is not its business."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fusion.cli import answers, output
from fusion.errors import FusionError, InputInvalid, PartyUnreachable, VerificationFailed
from fusion.services.query_messages import MAX_RHO, MAX_ROWS
from fusion.services.statements import is_blank, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fusion.cli.answers import Form
    from fusion.services.query_description import Described
    from fusion.services.query_messages import Left
    from fusion.services.query_session import Questions

COMMANDS: Final = (
    ("\\d", "tables, or the columns of one: \\d TABLE"),
    ("\\df", "functions that are answered"),
    ("\\budget", "what the grants have left"),
    ("\\history", "what was asked from this node, and what became of it"),
    ("\\rows", "most rows of an answer, which are charged: \\rows 20"),
    ("\\rho", "what a query spends of a privacy budget, in millionths: \\rho 20000"),
    ("\\table", "show answers as tables"),
    ("\\csv", "show answers as CSV"),
    ("\\json", "show answers as JSON documents"),
    ("\\explain", "say or don't say by which policy an answer came about"),
    ("\\timing", "say or don't say how long an answer took"),
    ("\\?", "this list"),
    ("\\q", "leave"),
)
MAX_PENDING: Final = 64 * 1024
_SHOWN_HISTORY: Final = 20
_REFUSED: Final = 4


class Shell:
    """What is asked, and how it is shown.

    Attributes:
        described: What may be asked about, once it is known.
        exit_code: 0, or 4 when something was refused, or the code of what failed otherwise.
    """

    def __init__(self, questions: Questions, *, rows: int, attended: bool) -> None:
        """Begin with tables.

        Args:
            questions: Whom to ask.
            rows: Most rows of an answer.
            attended: Whether somebody sits there: who can interrupt a query and wants to know what
                was charged for it.
        """
        self.described: Described | None = None
        self.exit_code = 0
        self._questions = questions
        self._rows = rows
        self._rho: int | None = None
        self._attended = attended
        self._form: Form = "table"
        self._explain = self._timing = False
        self._pending = ""

    # ------------------------------------------------------------------ lines

    def feed(self, line: str) -> bool:
        """Take a line: a command, or more of a statement, which runs when its semicolon is there.

        Returns:
            Whether to go on.

        Raises:
            InputInvalid: What is not yet a statement has become too long.
            FusionError: Nothing more can be asked.
        """
        if is_blank(self._pending) and line.lstrip().startswith("\\"):
            self._pending = ""
            return self.command(line.strip())
        statements, self._pending = split(self._pending + line)
        if len(self._pending) > MAX_PENDING:
            self._pending = ""
            raise InputInvalid("A statement does not end.", hint="End it with a semicolon.")
        for statement in statements:
            self.ask(statement)
        return True

    def finish(self) -> None:
        """Take the end of the input for that of a statement."""
        pending, self._pending = self._pending.strip(), ""
        if not is_blank(pending):
            self.ask(pending)

    # ------------------------------------------------------------------ statements

    def ask(self, statement: str) -> None:
        """Ask a question and show what comes back.

        Raises:
            PartyUnreachable: Nobody answers, and nobody sits there to try again.
            VerificationFailed: Likewise, what answers is not as it has to be.
        """
        before: list[Left] | None = None
        try:
            before = self._left() if self._attended else None
            began = time.monotonic()
            with output.waiting("asking"):
                table = self._questions.query(statement, self._rows, self._rho)
        except KeyboardInterrupt:
            if not self._attended:
                raise
            answers.show_interrupted(before, None if before is None else self._left())
            return
        except FusionError as error:
            if error.exit_code == _REFUSED:
                answers.show_refused(statement, getattr(error, "start", None))
            self._failed(error)
            return
        answers.show_table(table, self._form)
        if self._explain:
            answers.show_explained(table, self.described or self.describe())
        if self._timing:
            output.note(f"{1000 * (time.monotonic() - began):.0f} ms")

    def _failed(self, error: FusionError) -> None:
        if self._attended:
            output.failure(error)
            return
        if isinstance(error, PartyUnreachable | VerificationFailed):
            raise error
        output.failure(error)
        if self.exit_code in {0, _REFUSED}:
            self.exit_code = error.exit_code

    def _left(self) -> list[Left] | None:
        try:
            return self._questions.budget()
        except FusionError:
            return None

    # ------------------------------------------------------------------ commands

    def command(self, line: str) -> bool:
        """Carry out a command; return whether to go on."""
        name, _, rest = line.partition(" ")
        rest = rest.strip().removesuffix(";")
        if name == "\\q":
            return False
        does: dict[str, Callable[[str], None]] = {
            "\\d": self._describe,
            "\\df": self._functions,
            "\\budget": lambda _: answers.show_left(self._questions.budget()),
            "\\history": self._history,
            "\\rows": self._set_rows,
            "\\rho": self._set_rho,
            "\\explain": self._set_explain,
            "\\timing": self._set_timing,
            "\\?": lambda _: output.facts(COMMANDS),
            "\\table": lambda _: self._set_form("table"),
            "\\csv": lambda _: self._set_form("csv"),
            "\\json": lambda _: self._set_form("json"),
        }
        try:
            if name not in does:
                raise InputInvalid(f"{name[:40]} is no command.", hint="\\? lists them.")
            does[name](rest)
        except FusionError as error:
            self._failed(error)
        return True

    def describe(self) -> Described:
        """Ask anew what may be asked about, for completion as well; return it.

        Raises:
            FusionError: Nobody answers, or no grant holds.
        """
        self.described = self._questions.describe()
        return self.described

    def _describe(self, name: str) -> None:
        described = self.describe()
        if not name:
            answers.show_tables(described)
            return
        found = {table.name.lower(): table.name for table in described.tables}
        if name.lower() not in found:
            raise InputInvalid(f"{name[:63]} is no table here.", hint="\\d lists them.")
        answers.show_columns(described, found[name.lower()])

    def _functions(self, _: str) -> None:
        output.result(", ".join(self.describe().functions))

    def _history(self, _: str) -> None:
        answers.show_history(self._questions.history()[-_SHOWN_HISTORY:])

    def _set_rows(self, text: str) -> None:
        if not (text.isdecimal() and len(text) < 7 and 1 <= int(text) <= MAX_ROWS):
            raise InputInvalid(f"An answer has 1 to {MAX_ROWS} rows.", hint="\\rows 20")
        self._rows = int(text)
        output.note(f"an answer has at most {self._rows} rows, which are charged")

    def _set_rho(self, text: str) -> None:
        if not text:
            self._rho = None
            output.note("a query spends what the policy says")
            return
        if not (text.isdecimal() and len(text) < 17 and 1 <= int(text) <= MAX_RHO):
            raise InputInvalid(
                "Rho is a whole number of millionths, 1 and more.",
                hint="\\rho 20000, or \\rho alone for what the policy says.",
            )
        self._rho = int(text)
        output.note(f"a query of mode dp spends {self._rho} millionths of rho")

    def _set_form(self, form: Form) -> None:
        self._form = form

    def _set_explain(self, _: str) -> None:
        self._explain = not self._explain
        output.note(f"explanations are {'on' if self._explain else 'off'}")

    def _set_timing(self, _: str) -> None:
        self._timing = not self._timing
        output.note(f"timing is {'on' if self._timing else 'off'}")


def run_piped(shell: Shell, lines: Iterable[str]) -> int:
    """Take lines one after the other; return what the command ends with.

    Raises:
        FusionError: Nothing more could be asked.
    """
    if all(shell.feed(line) for line in lines):
        shell.finish()
    return shell.exit_code
