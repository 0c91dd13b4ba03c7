"""Descriptors and declarations for the tests."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from fusion.catalogue.declaration import Declaration, describe
from fusion.catalogue.descriptor import Descriptor, broken_rules
from fusion.types import OrgId
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = {
    "uscc": "text",
    "region": "text",
    "turnover": "number",
    "rate": "number",
    "founded": "time",
    "kind": "text",
}
DECLARATION: dict[str, Any] = {
    "schema": "fusion.declaration/1",
    "title": {"zh": "企业纳税信用", "en": "Tax credit of firms"},
    "description": {"zh": "每户企业一行。", "en": "One row a firm."},
    "level": "general-3",
    "update_period": "monthly",
    "actions": ["train", "query", "mock"],
    "mock": {"epsilon_micro": 1_000_000, "runs": 3, "rows": 5000},
    "columns": {
        "uscc": {"entity": "enterprise", "nullable": False},
        "region": {"entity": "place", "level": "general-1"},
        "turnover": {
            "unit": "CNY",
            "nullable": False,
            "domain": {"kind": "range", "min": 0, "max": 99, "bins": 10},
        },
        "rate": {"domain": {"kind": "range", "min": -1, "max": 1, "decimals": 2, "bins": 4}},
        "founded": {
            "domain": {"kind": "dates", "first": "2000-01-01", "last": "2019-12-31", "bins": 5}
        },
        "kind": {
            "title": {"zh": "类型", "en": "Kind"},
            "domain": {"kind": "categories", "values": ["shop", "farm", "mill"]},
        },
    },
}


def declaration(changes: Mapping[str, Any] | None = None) -> Declaration:
    """Return the declaration with values at ``/json/pointers`` replaced; ``None`` drops a key."""
    value = copy.deepcopy(DECLARATION)
    for path, new in (changes or {}).items():
        *way, last = path.strip("/").split("/")
        here = value
        for part in way:
            here = here[part]
        if new is None:
            del here[last]
        else:
            here[last] = new
    return Declaration.model_validate_json(canonical.encode(value))


def descriptor(
    changes: Mapping[str, Any] | None = None,
    *,
    owner: str = "tax",
    dataset: str = "firms",
    schema: Mapping[str, str] | None = None,
    revision: int = 1,
    rows: int = 1500,
) -> Descriptor:
    """Return the descriptor of the declaration, with changes."""
    found = describe(
        declaration(changes),
        dataset=dataset,
        owner=OrgId(owner),
        schema=schema or SCHEMA,
        entities={},
        rows=rows,
        revision=revision,
        issued="2026-06-01T12:00:00Z",
    )
    assert not list(broken_rules(found))
    return found


def keyed(name: str, keys: Mapping[str, tuple[str, str]], **more: Any) -> Descriptor:  # noqa: ANN401 - of any kind
    """Return a small descriptor ``OWNER/ID`` with these identifying columns."""
    owner, _, dataset = name.partition("/")
    columns = {
        column: {"entity": entity, "scheme": scheme} for column, (entity, scheme) in keys.items()
    }
    return descriptor(
        {"/columns": columns, **more},
        owner=owner,
        dataset=dataset,
        schema={**dict.fromkeys(keys, "text"), "value": "number"},
    )
