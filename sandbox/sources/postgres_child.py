"""The process that speaks to PostgreSQL for one query, started by :mod:`sandbox.child`."""

from __future__ import annotations

import base64
import json

import adbc_driver_postgresql.dbapi  # noqa: F401 - so that it is there when work comes
import pyarrow as pa  # noqa: F401 - the same

from sandbox import postgres
from sandbox.child import serve


def work(request: bytes) -> bytes:
    """Do what the node's :class:`sandbox.sources.postgres.Postgres` asks."""
    asked = json.loads(request)
    uri, schema, seconds = asked["uri"], asked["schema"], asked["seconds"]
    if "tables" in asked:
        return postgres.digests(uri, schema, asked["tables"], seconds=seconds)
    cores = base64.b64decode(asked["cores"])
    return postgres.execute_sets(cores, asked["sets"], uri, seconds=seconds, schema=schema)


if __name__ == "__main__":
    serve(work)
