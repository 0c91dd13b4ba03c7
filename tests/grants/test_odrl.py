"""The export says everything that the grant says, in terms that are written out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fusion.grants.document import Align, Mock, Query, Score, Train
from fusion.grants.odrl import CONTEXT, LIMITS, export
from fusion.grants.signing import Standing
from tests.grants.fields import at, values_of
from tests.grants.grants import DOCUMENT, grant_from, signed_by

SIGNED = signed_by(grant_from(DOCUMENT))
EXPORT = export(SIGNED, Standing.FINALIZED)


def _terms(value: Any) -> set[str]:  # noqa: ANN401 - JSON
    """Return every prefixed term that is used as a key or an identifier."""
    if isinstance(value, dict):
        keys = {key for key in value if not key.startswith("@")}
        return keys.union(
            *({value["@id"]} if "@id" in value else set(),), *map(_terms, value.values())
        )
    return set().union(*map(_terms, value)) if isinstance(value, list) else set()


def test_there_is_one_agreement_between_two_for_each_assigner() -> None:
    assert [policy["@id"] for policy in EXPORT["@graph"]] == [
        f"urn:sha256:{SIGNED.id}#customs",
        f"urn:sha256:{SIGNED.id}#tax",
    ]
    for policy, assigner in zip(EXPORT["@graph"], ("customs", "tax"), strict=True):
        assert policy["@type"] == "odrl:Agreement"
        assert policy["odrl:assigner"] == {"@id": f"urn:fusion:organisation:{assigner}"}
        assert policy["odrl:assignee"] == {"@id": "urn:fusion:organisation:bank"}


@pytest.mark.parametrize("state", [state for state in Standing if state != "FINALIZED"])
def test_what_does_not_hold_is_an_offer(state: Standing) -> None:
    for policy in export(SIGNED, state)["@graph"]:
        assert policy["@type"] == "odrl:Offer"
        assert policy["fusion:state"] == state.value


def test_every_limit_has_its_operand() -> None:
    fields = {name for part in (Train, Align, Query, Score, Mock) for name in part.model_fields}
    assert set(LIMITS) == fields


def test_every_value_of_the_grant_is_in_the_export() -> None:
    text = json.dumps(EXPORT, ensure_ascii=False)
    for pointer, _ in values_of(DOCUMENT):
        value = "1200.00" if pointer.endswith("/cents") else str(at(DOCUMENT, pointer))
        # The kind of a duty is its action; the schema is another one here.
        assert value in text or pointer == "/schema" or pointer.endswith("/kind"), pointer


def test_every_term_has_a_prefix_of_the_context() -> None:
    for term in _terms(EXPORT["@graph"]):
        prefix = term.partition(":")[0]
        assert prefix in CONTEXT or prefix == "urn", term
    assert all(re.match(r"https?://|urn:", address) for address in CONTEXT.values())


def test_each_permission_carries_time_purpose_and_its_limits() -> None:
    for policy in EXPORT["@graph"]:
        assert len(policy["odrl:permission"]) == 5
        for permission in policy["odrl:permission"]:
            lefts = [each["odrl:leftOperand"]["@id"] for each in permission["odrl:constraint"]]
            assert lefts[:3] == ["odrl:dateTime", "odrl:dateTime", "odrl:purpose"]
            assert "odrl:count" in lefts
