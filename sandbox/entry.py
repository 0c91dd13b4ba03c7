"""Restricted queries as the command line finds them: every verb about policies, in one object.

Registered as ``queries`` in the entry points ``fusion.engines``; see
:class:`fusion.engine_ports.QueryEngine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.crypto import rng
from sandbox.noise import SECRET_BYTES
from sandbox.reading import parse_policy
from sandbox.template import TEMPLATE
from sandbox.weak import weaker_than_usual

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.engine_ports import QueryService
    from fusion.grants.python_job import Returns
    from fusion.services.homes import NodeHome


class Engine:
    """:class:`fusion.engine_ports.QueryEngine`."""

    def policy_template(self) -> str:
        """Return a policy to begin with."""
        return TEMPLATE

    def policy(self, text: str, origin: str) -> dict[str, Any]:
        """Check a policy; return it with its digest and what in it is weaker than usual.

        Raises:
            PolicyInvalid: A rule is broken; names the line.
        """
        policy = parse_policy(text, origin)
        return {
            "digest": policy.digest,
            "policy": policy.document(),
            "warnings": weaker_than_usual(policy),
        }

    def try_policy(
        self,
        text: str,
        origin: str,
        statements: str,
        data: Path | None,
        *,
        execute: bool,
        source: str = "",
    ) -> dict[str, Any]:
        """Say of each statement whether the policy answers it, and what leaves.

        Noise is that of a secret made for this call: a trial shows no noise of the node.

        Raises:
            PolicyInvalid: A rule is broken; names the line.
            InputInvalid: A table has no file, or the source is of no known kind.
            DataInvalid: A file can't be read, or a column has no fitting type.
            EnvironmentUnfit: The engine of the source is not installed.
        """
        from sandbox.inspecting import warnings_of  # noqa: PLC0415 - imports DuckDB
        from sandbox.trying import attempt, engine_of  # noqa: PLC0415 - as above

        policy = parse_policy(text, origin)
        with engine_of(policy, data, source, read=execute) as tried:
            secret, run = rng.token(SECRET_BYTES), tried.execute if execute else None
            found = attempt(policy, statements, run, secret, tried.dialect, tried.public)
            tables = {name: each.document() for name, each in tried.looked.items()}
            return found | {"tables": tables, "warnings": warnings_of(policy, tried.looked)}

    def source_sql(self, text: str, origin: str, database: str, schema: str) -> str:
        """Return SQL that makes the two roles of PostgreSQL that a policy needs.

        Raises:
            PolicyInvalid: A rule is broken; names the line.
            DataInvalid: A name has a character that no name has.
        """
        from sandbox.postgres_roles import source_sql  # noqa: PLC0415 - imports what few need

        return source_sql(parse_policy(text, origin), database, schema)

    def attach_policy(
        self,
        node: NodeHome,
        text: str,
        origin: str,
        dataset: str,
        data: Path | None,
        *,
        source: str = "",
        reader: str = "",
    ) -> dict[str, Any]:
        """Attach a policy to a dataset: its tables are frozen, the policy is signed.

        Raises:
            PolicyInvalid: A rule is broken; names the line.
            InputInvalid: A table has no file, the dataset no such name, or the source does not go
                with the other options or with the policy's mode.
            DataInvalid: A file or a database can't be read.
            Refused: The dataset is core data, or a role of the database may do more than read.
            QueryFailed: The people of the tables could not be listed.
            EnvironmentUnfit: The database can't be asked, there is no Spark, or the disk is full.
        """
        from sandbox.attached import Origin, attach_and_tell  # noqa: PLC0415 - imports DuckDB
        from sandbox.inspecting import warnings_of  # noqa: PLC0415 - as above
        from sandbox.postgres_roles import uri_of  # noqa: PLC0415 - as above
        from sandbox.spark import PREFIX  # noqa: PLC0415 - as above

        lake = source if source.startswith(PREFIX) else ""
        keeper, asked = (uri_of(each) if each else "" for each in ("" if lake else source, reader))
        where = Origin(data, keeper, asked, lake)
        found, told = attach_and_tell(node, text, origin, dataset, where)
        return {
            "dataset": f"{found.owner}/{found.dataset}",
            "revision": found.revision,
            "unchanged": told.unchanged,
            "people": found.people,
            "tables": {name: each.document() for name, each in told.tables.items()},
            "digest": found.policy.digest,
            "schema_digest": found.schema_digest,
            "columns": list(found.columns),
            "warnings": [
                *weaker_than_usual(found.policy),
                *warnings_of(found.policy, told.tables),
            ],
        }

    def attached(self, node: NodeHome, dataset: str) -> dict[str, Any] | None:
        """Return ``schema_digest`` and ``columns`` of a dataset with a policy, as grants name them.

        None if it has no policy.

        Raises:
            VerificationFailed: It is not signed by the node's organisation for this dataset, or a
                frozen table is missing.
            InputInvalid: The text can't be the name of a dataset.
        """
        from sandbox.attached import attached  # noqa: PLC0415 - imports DuckDB

        found = attached(node, dataset)
        if found is None:
            return None
        return {"schema_digest": found.schema_digest, "columns": list(found.columns)}

    def try_python(
        self, script: str, returns: Returns, data: Path, *, person: str, seconds: int, account: str
    ) -> dict[str, Any]:
        """Run a script over a folder of samples, confined; return its table, or why it has none.

        Raises:
            InputInvalid: A table has no file.
            IsolationUnavailable: Nothing here confines untrusted work.
        """
        from sandbox.python_trying import try_script  # noqa: PLC0415 - imports DuckDB

        return try_script(script, returns, data, person=person, seconds=seconds, account=account)

    def service(self, node: NodeHome, say: Callable[[str], None]) -> QueryService:
        """Return what answers other organisations' queries at an owner's node.

        Raises:
            IsolationUnavailable: Nothing here confines untrusted work.
            EnvironmentUnfit: A file can't be opened.
        """
        from sandbox.service import Service  # noqa: PLC0415 - imports DuckDB

        return Service(node, say)


ENGINE: Final = Engine()
