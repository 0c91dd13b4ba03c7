"""The command line's entry: groups, global options, and the one place where errors end.

Every error of :mod:`fusion.errors` leaves as two lines and its exit code; what nobody expected
leaves as one line and exit code 1, with the traceback under ``--debug``.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable

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
from fusion.errors import FusionError
from fusion.services.passphrases import VARIABLE as PASSPHRASE_VARIABLE
from fusion.services.tether import tie_if_asked

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


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


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; return the exit code."""
    settings = Settings()
    try:
        command = plain_help(typer.main.get_command(app))
        code = command.main(
            args=list(arguments), standalone_mode=False, obj=settings, prog_name="fusion"
        )
    except (typer.Abort, KeyboardInterrupt):
        output.note("interrupted")
        return INTERRUPTED
    except FusionError as error:
        if settings.debug:
            traceback.print_exc()
        output.failure(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output left; there is nobody to tell.
        sys.stdout = None
        return 1
    except Exception as error:  # noqa: BLE001 - the edge of the process: one line, not a traceback
        if isinstance(error, _WrongUsage):
            error.show()
            return error.exit_code
        return _unexpected(error, debug=settings.debug)
    # typer has already turned Ctrl-C into this code.
    if code == INTERRUPTED:
        output.note("interrupted")
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception, *, debug: bool) -> int:
    """Report what nobody expected; its text might hold anything, so it is shown on demand."""
    if debug:
        traceback.print_exc()
    output.note(f"{FusionError.code}: stopped unexpectedly ({type(error).__name__})")
    if not debug:
        output.note("-> run it again as fusion --debug ... to see where")
    return FusionError.exit_code


def main() -> None:
    """Run the command line of this process."""
    tie_if_asked()
    output.soften_streams()
    sys.exit(run(sys.argv[1:]))
