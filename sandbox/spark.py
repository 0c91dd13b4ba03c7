"""Runs compiled cores in Spark SQL: only a core is pushed down, release and the rest stay here.

The session is the owner's: a local one, or that of a cluster, as Spark's own configuration says
(``spark.master``). Each request has a session of its own, set up alike: no value of the data raises
(ANSI mode off; the compiler knows that nothing overflows), texts are not searched for variables,
days know no time zone. Any failure has one text.
"""

from __future__ import annotations

import re
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np

from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid, QueryFailed
from sandbox.dialects import quoted
from sandbox.partials import reply_bytes, request_of
from sandbox.sets import COHORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandbox.policy import Policy

PREFIX: Final = "spark+parquet:"
DEFAULT_SECONDS: Final = 300.0
SETTINGS: Final = {
    "spark.sql.ansi.enabled": "false",
    # '${env:NAME}' in a text would be replaced.
    "spark.sql.variable.substitute": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "false",
    "spark.sql.groupByOrdinal": "false",
    "spark.sql.orderByOrdinal": "false",
    "spark.sql.legacy.exponentLiteralAsDecimal.enabled": "false",
    # Fewer files than there were would be fewer people.
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
}
"""Of every session that a core runs in."""

_LOCAL: Final = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Other accounts of the machine reach its ports.
    "spark.authenticate": "true",
}
"""Of a session on this machine alone."""


@dataclass(frozen=True, slots=True)
class Lake:
    """Tables in a folder that every machine of a Spark session has under the same path.

    Attributes:
        folder: With ``NAME.parquet`` of each table, a file or a folder of files.
        frozen: Where copies go.
        master: Of the session; as Spark is configured if empty.
    """

    folder: Path
    frozen: Path
    master: str = ""


def lake_of(source: str) -> Lake:
    """Return what ``spark+parquet:///FOLDER?master=MASTER&frozen=FOLDER`` names.

    Raises:
        InputInvalid: It names no folder, no master that is known, or something else.
    """
    try:
        parts = urlsplit(source)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
                       if parts.query else [])  # fmt: skip
    except ValueError:
        raise InputInvalid("This is no URI of a folder for Spark.", hint=_NAMED) from None
    folder = Path(unquote(parts.path))
    frozen = Path(options.pop("frozen", str(folder)))
    if parts.netloc or not parts.path or not folder.is_dir():
        raise InputInvalid(
            "A folder of Parquet tables is named spark+parquet:///FOLDER.", hint=_NAMED
        )
    if not frozen.is_absolute() or not frozen.is_dir():
        raise InputInvalid("The folder for frozen tables is not there.", hint=_NAMED)
    master = options.pop("master", "")
    if options or parts.fragment or not _MASTER.fullmatch(master):
        raise InputInvalid(
            "A source on Spark takes master=MASTER and frozen=FOLDER alone.",
            hint="A master is local, local[*], local[N], spark://HOST:PORT, yarn or k8s://...; "
            "Spark Connect (sc://) is not supported.",
        )
    return Lake(folder, frozen, master)


_NAMED: Final = "The folder has NAME.parquet for each table, a file or a folder of files."
_MASTER: Final = re.compile(r"(local(\[(\*|[0-9]{1,3})\])?|yarn|(spark|k8s)://[!-~]{1,500})?")


@contextmanager
def session(settings: Mapping[str, str] | None = None, master: str = "") -> Iterator[Any]:
    """Give a Spark session: the one that is configured, else one on this machine.

    Args:
        settings: Beside those that are configured.
        master: In place of the one that is configured.

    Raises:
        EnvironmentUnfit: PySpark or Java is not installed, or the master can't be reached.
    """
    try:
        from pyspark import SparkConf, SparkContext  # noqa: PLC0415 - optional, and large
        from pyspark.sql import SparkSession  # noqa: PLC0415 - the same
    except ImportError:
        raise EnvironmentUnfit(
            "Spark can't be reached: PySpark is not installed.",
            hint="Install banyan-fusion[spark], and Java 17 or newer.",
        ) from None
    with tempfile.TemporaryDirectory(prefix="fusion-spark-") as warehouse:
        try:
            # Before Java is up nothing is known of what is configured.
            SparkContext._ensure_initialized()  # noqa: SLF001 - there is no public way
            used = master or SparkConf().get("spark.master", "") or "local[*]"
            own = {
                "spark.ui.enabled": "false",
                "spark.ui.showConsoleProgress": "false",
                "spark.scheduler.mode": "FAIR",
                "spark.sql.warehouse.dir": warehouse,
            }
            own |= _LOCAL if used.startswith("local") else {}
            builder = SparkSession.builder.appName("banyan").master(used)
            for name, value in (own | dict(settings or {})).items():
                builder = builder.config(name, value)
            made = builder.getOrCreate()
        except Exception as error:  # noqa: BLE001 - whatever Java says
            unfit = EnvironmentUnfit(
                "No Spark session could be started.",
                hint="Is Java installed, and is the master there?",
            )
            unfit.add_note(f"{type(error).__name__}: {error}"[:2000])
            raise unfit from None
        # Plans, which it would print, hold what an analyst wrote.
        made.sparkContext.setLogLevel("OFF")
        try:
            yield made
        finally:
            made.stop()


def tables_in(source: str, policy: Policy) -> dict[str, Path]:
    """Return the Parquet table, a file or a folder of files, of each table of a policy.

    Args:
        source: See :func:`lake_of`.
        policy: The policy.

    Raises:
        InputInvalid: The folder or a table is not there, or the policy is one of mode ``dp``.
    """
    if policy.mode == "dp":
        raise InputInvalid(
            "A policy of mode `dp` is not answered over Spark.",
            hint="Take PostgreSQL or files for it, or the mode `sdc`.",
        )
    folder = lake_of(source).folder
    found = {name: folder / f"{name}.parquet" for name in policy.tables}
    for name, path in found.items():
        if not path.exists():
            raise InputInvalid(
                f"The table {name} is not in {folder}.", hint=f"Put {name}.parquet there."
            )
    return found


def opened(session: Any, tables: Mapping[str, Path]) -> Any:  # noqa: ANN401 - no types
    """Return a session of its own, set up for cores, in which tables have their names."""
    own = session.newSession()
    for name, value in SETTINGS.items():
        own.conf.set(name, value)
    for name, path in tables.items():
        own.read.parquet(str(path)).createOrReplaceTempView(quoted(name, "spark"))
    return own


def cells(own: Any, request: bytes) -> bytes:  # noqa: ANN401 - as above
    """Run cores in a session that was opened; :func:`sandbox.partials.reply_of` reads the reply.

    Raises:
        MessageInvalid: The request is none.
    """
    results = []
    for query in request_of(request).queries:
        rows = [tuple(row) for row in own.sql(query.sql).collect()]
        results.append((query.columns, rows))
    return reply_bytes(results)


def cells_and_sets(own: Any, request: bytes, codes: Sequence[str]) -> bytes:  # noqa: ANN401 - as above
    """Run cores and sets in a session that was opened; :func:`sandbox.sets.read` reads the reply.

    Args:
        own: See :func:`opened`; the list of people is among its tables.
        request: As :func:`execute` takes it.
        codes: SQL that yields (entity, number of the cell), of each set.

    Raises:
        MessageInvalid: The request is none.
    """
    reply = cells(own, request)
    parts = [len(reply).to_bytes(8, "big"), reply]
    for sql in codes:
        table = own.sql(
            f"SELECT c.n, CAST(s.cell AS INT) AS cell FROM ({sql}) AS s "
            f"JOIN {quoted(COHORT, 'spark')} AS c ON c.e = CAST(s.e AS STRING)"
        ).toArrow()
        columns = [table.column(name).to_numpy() for name in ("n", "cell")]
        pairs = np.column_stack(columns).astype("<i4")
        parts += [len(pairs).to_bytes(8, "big"), pairs.tobytes()]
    return b"".join(parts)


def digests_of(own: Any, tables: Sequence[str]) -> dict[str, str]:  # noqa: ANN401 - as above
    """Return rows and digest of tables of a session, whatever the order of their rows.

    The digest adds 60 bits of the SHA-256 of each row: it finds what was changed by mistake, and is
    no seal against who may write there.
    """
    found = {}
    for name in tables:
        ((rows, total),) = own.sql(
            "SELECT count(*), COALESCE(sum(CAST(conv(substr(sha2(to_json(struct(*)), 256), 1, 15), "
            f"16, 10) AS DECIMAL(38, 0))), 0) FROM {quoted(name, 'spark')}"
        ).collect()
        found[name] = f"{rows}:{total}"
    return found


def execute(
    request: bytes,
    session: Any,  # noqa: ANN401 - an optional dependency
    inputs: Mapping[str, Path],
    *,
    seconds: float = DEFAULT_SECONDS,
) -> bytes:
    """Run cores in Spark; return their cells as :func:`sandbox.engine.execute` does.

    Args:
        request: See :class:`sandbox.partials.Request`; compiled for ``spark``.
        session: See :func:`session`.
        inputs: A Parquet table for each table; more than are asked for may be given.
        seconds: After which Spark is told to cancel.

    Raises:
        QueryFailed: Whatever went wrong with the data or the engine, in one text.
        MessageInvalid: The request is none.
    """
    asked, group = request_of(request), rng.token(8).hex()
    context = session.sparkContext
    timer = threading.Timer(seconds, context.cancelJobGroup, (group,))
    timer.daemon = True
    try:
        own = opened(session, {name: inputs[name] for name in asked.tables})
        context.setJobGroup(group, "banyan", interruptOnCancel=True)
        timer.start()
        return cells(own, request)
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine's message quotes cells
        failed = QueryFailed()
        failed.add_note(f"{type(error).__name__}: {error}"[:2000])
        raise failed from None
    finally:
        timer.cancel()
