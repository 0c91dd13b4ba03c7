"""Runs compiled cores in Spark SQL: only a core is pushed down, release and the rest stay here.

The session is the owner's: a local one, or that of a cluster, as Spark's own configuration says
(``spark.master``). Each request has a session of its own, set up alike: no value of the data raises
(ANSI mode off; the compiler knows that nothing overflows), texts are not searched for variables,
days know no time zone. Any failure has one text.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid, QueryFailed
from sandbox.dialects import quoted
from sandbox.partials import reply_bytes, request_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
}
"""Of every session that a core runs in."""


@contextmanager
def session(settings: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Give a Spark session: the one that is configured, else one on this machine.

    Args:
        settings: Beside those that are configured.

    Raises:
        EnvironmentUnfit: PySpark or Java is not installed.
    """
    try:
        from pyspark import SparkConf  # noqa: PLC0415 - an optional dependency, and a large one
        from pyspark.sql import SparkSession  # noqa: PLC0415 - the same
    except ImportError:
        raise EnvironmentUnfit(
            "Spark can't be reached: PySpark is not installed.",
            hint="Install banyan-fusion[spark], and Java 17 or newer.",
        ) from None
    builder = SparkSession.builder.appName("banyan").config("spark.ui.enabled", "false")
    if not SparkConf().contains("spark.master"):
        builder = builder.master("local[*]").config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    for name, value in (settings or {}).items():
        builder = builder.config(name, value)
    try:
        made = builder.getOrCreate()
    except Exception as error:  # noqa: BLE001 - whatever Java says
        unfit = EnvironmentUnfit("No Spark session could be started.", hint="Is Java installed?")
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
        source: ``spark+parquet:///FOLDER``.
        policy: The policy.

    Raises:
        InputInvalid: The folder or a table is not there.
    """
    parts = urlsplit(source)
    folder = Path(unquote(parts.path))
    if parts.netloc or not parts.path or not folder.is_dir():
        raise InputInvalid(
            "A folder of Parquet tables is named spark+parquet:///FOLDER.",
            hint="The folder has NAME.parquet for each table, a file or a folder of files.",
        )
    found = {name: folder / f"{name}.parquet" for name in policy.tables}
    for name, path in found.items():
        if not path.exists():
            raise InputInvalid(
                f"The table {name} is not in {folder}.", hint=f"Put {name}.parquet there."
            )
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
        own = session.newSession()
        for name, value in SETTINGS.items():
            own.conf.set(name, value)
        for name in asked.tables:
            table = own.read.parquet(str(inputs[name]))
            table.createOrReplaceTempView(quoted(name, "spark"))
        context.setJobGroup(group, "banyan", interruptOnCancel=True)
        timer.start()
        results = []
        for query in asked.queries:
            rows = [tuple(row) for row in own.sql(query.sql).collect()]
            results.append((query.columns, rows))
        return reply_bytes(results)
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - an engine's message quotes cells
        failed = QueryFailed()
        failed.add_note(f"{type(error).__name__}: {error}"[:2000])
        raise failed from None
    finally:
        timer.cancel()
