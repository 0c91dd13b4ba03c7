"""The command line's entry: groups, global options, and the one place where errors end.

Every error of :mod:`fusion.errors` leaves as two lines and its exit code; what nobody expected
leaves as one line and exit code 1, with the traceback under ``--debug``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, runtime_checkable

import typer

from fusion.cli import (
    align,
    data,
    demo,
    doctor,
    grant,
    hub,
    key,
    ledger,
    model,
    node,
    order,
    org,
    output,
    policy,
    python,
    query,
    score,
    simulate,
    train,
)
from fusion.cli.help import plain_help
from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid
from fusion.services.passphrases import VARIABLE as PASSPHRASE_VARIABLE
from fusion.services.tether import tie_if_asked

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
ERROR: Final = "fusion.error/1"
"""Schema of the document that an error is with ``--json``: code, message, hint, exit code."""


@dataclass(slots=True)
class Settings:
    """What the global options say.

    Attributes:
        debug: Whether an error shows its traceback.
    """

    debug: bool = False


@runtime_checkable
class _WrongUsage(Protocol):
    """What typer raises when a command line can't be parsed; it has no public name for it."""

    exit_code: int

    def show(self) -> None:
        """Print usage and reason to stderr."""
        ...

    def format_message(self) -> str:
        """Return the reason."""
        ...


app = typer.Typer(
    name="fusion",
    help="Joint models and restricted queries over data that never leaves its owner.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(hub.app, name="hub")
app.add_typer(org.app, name="org")
app.add_typer(node.app, name="node")
app.add_typer(key.app, name="key")
app.add_typer(data.app, name="data")
app.add_typer(grant.app, name="grant")
app.add_typer(policy.app, name="policy")
app.add_typer(query.app, name="query")
app.add_typer(python.app, name="python")
app.add_typer(align.app, name="align")
app.command("train")(train.train)
app.add_typer(order.app, name="order")
app.add_typer(model.app, name="model")
app.add_typer(score.app, name="score")
app.add_typer(simulate.app, name="simulate")
app.command("demo")(demo.demo)
app.add_typer(ledger.app, name="ledger")
app.command("audit")(ledger.audit)
app.command("doctor")(doctor.doctor)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - a typer callback
    if wanted:
        output.result(f"banyan-fusion {importlib.metadata.version('banyan-fusion')}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="Holds the passphrase of private keys; else $FUSION_PASSPHRASE_FILE.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback ends the program
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Read the global options, which stand before the verb."""
    if isinstance(context.obj, Settings):
        context.obj.debug = debug
    if passphrase_file is not None:
        # In the environment, because a hub's or node's own processes need it too.
        os.environ[PASSPHRASE_VARIABLE] = str(passphrase_file.resolve())


@functools.cache
def _command() -> Any:  # noqa: ANN401 - click's, which typer brings and we do not name
    """Return the whole table of verbs."""
    return plain_help(typer.main.get_command(app))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; return the exit code.

    With ``--json`` an error is the document that is printed, unless the verb printed its own.
    """
    output.begin()
    code, error = _carried_out(arguments)
    try:
        if error is not None and _wants_json(arguments) and not output.documented():
            output.document(ERROR, error)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return _unheard()
    except output.OutputUnwritableError as failed:
        return _unwritten(failed)
    return code


def _carried_out(arguments: Sequence[str]) -> tuple[int, dict[str, Any] | None]:
    """Carry out one command line; return the exit code, and the error as a document has it."""
    settings = Settings()
    try:
        code = _command().main(
            args=list(arguments), standalone_mode=False, obj=settings, prog_name="fusion"
        )
    except (typer.Abort, KeyboardInterrupt):
        output.note("interrupted")
        return INTERRUPTED, None
    except FusionError as error:
        if settings.debug:
            traceback.print_exc()
        output.failure(error)
        return error.exit_code, _error(error.code, error.message, error.hint, error.exit_code)
    except BrokenPipeError:
        return _unheard(), None
    except output.OutputUnwritableError as failed:
        return _unwritten(failed), None
    except Exception as error:  # noqa: BLE001 - the edge of the process: one line, not a traceback
        if isinstance(error, _WrongUsage):
            error.show()
            said = _error(InputInvalid.code, error.format_message(), "", error.exit_code)
            return error.exit_code, said
        return _unexpected(error, debug=settings.debug)
    # typer has already turned Ctrl-C into this code.
    if code == INTERRUPTED:
        output.note("interrupted")
    return code if isinstance(code, int) else 0, None


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for a document, also one that can't be parsed."""
    words = list(arguments)
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def _error(code: str, message: str, hint: str, exit_code: int) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint, "exit_code": exit_code}


def _unheard() -> int:
    """End where the reader of our output has left; there is nobody to tell."""
    sys.stdout = None
    return 1


def _unwritten(failed: OSError) -> int:
    """Say that the output is not whole; what is left of it in memory goes nowhere."""
    sys.stdout = None
    error = EnvironmentUnfit(
        f"The output could not be written: {failed.strerror}.",
        hint="Is there room where it goes? What was printed is not whole.",
    )
    output.failure(error)
    return error.exit_code


def _unexpected(error: Exception, *, debug: bool) -> tuple[int, dict[str, Any]]:
    """Report what nobody expected; its text might hold anything, so it is shown on demand."""
    if debug:
        traceback.print_exc()
    message = f"stopped unexpectedly ({type(error).__name__})"
    output.note(f"{FusionError.code}: {message}")
    hint = "run it again as fusion --debug ... to see where"
    if not debug:
        output.note(f"-> {hint}")
    code = FusionError.exit_code
    return code, _error(FusionError.code, message, hint, code)


def main() -> None:
    """Run the command line of this process."""
    tie_if_asked()
    output.soften_streams()
    output.watch_stdout()
    sys.exit(run(sys.argv[1:]))
