"""The ODRL export of grants validates with SHACL, and the shapes refuse what is no such export."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest
from rdflib.namespace import ODRL2

from fusion.grants.odrl import export
from fusion.grants.signing import Standing
from tests.catalogue.shapes import graph_of, report
from tests.grants.grants import DOCUMENT, document, grant_from, signed_by

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNED = signed_by(grant_from(DOCUMENT))
EXPORT = export(SIGNED, Standing.FINALIZED)
# One of its two policies: what is changed in one is found whatever the other says.
ONE = {**EXPORT, "@graph": EXPORT["@graph"][:1]}
ACTIONS = ["train", "align", "query", "score", "mock"]
Policy = dict[str, Any]


def test_a_grant_of_everything_validates() -> None:
    assert not report(EXPORT, "odrl")


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(each, marks=[] if place % 3 == 0 else [pytest.mark.soak])
        for place, each in enumerate(Standing)
    ],
)
def test_a_grant_in_any_state_validates(state: Standing) -> None:
    permissions = {"align": DOCUMENT["permissions"]["align"]}
    signed = signed_by(grant_from(document({"/permissions": permissions})))
    assert not report(export(signed, state), "odrl")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_grant_of_one_action_validates(action: str) -> None:
    permissions = {action: DOCUMENT["permissions"][action]}
    grant = grant_from(
        document({"/permissions": permissions, "/duties": [], "/product": None, "/replaces": None})
    )
    assert not report(export(signed_by(grant), Standing.FINALIZED), "odrl")


def _permission(policy: Policy, action: str = "train") -> Policy:
    found: Policy = next(
        p for p in policy["odrl:permission"] if p["odrl:action"]["@id"] == f"fusion:{action}"
    )
    return found


def _constraint(policy: Policy, left: str, action: str = "train") -> Policy:
    found: Policy = next(
        c
        for c in _permission(policy, action)["odrl:constraint"]
        if c["odrl:leftOperand"]["@id"] == left
    )
    return found


def _drop(left: str, action: str = "train") -> Callable[[Policy], None]:
    def mutate(policy: Policy) -> None:
        _permission(policy, action)["odrl:constraint"].remove(_constraint(policy, left, action))

    return mutate


def _set(left: str, key: str, value: Any, action: str = "train") -> Callable[[Policy], None]:  # noqa: ANN401 - JSON
    return lambda policy: _constraint(policy, left, action).update({key: value})


def _put(key: str, value: Any) -> Callable[[Policy], None]:  # noqa: ANN401 - JSON
    return lambda policy: policy.update({key: value})


EVIL = {"@id": "urn:fusion:organisation:evil"}
BARE = {"odrl:action": {"@id": "fusion:train"}}
HIDDEN = {"@type": "odrl:Set", "odrl:permission": [{"odrl:action": {"@id": "odrl:use"}}]}
OTHER = {
    "@type": "odrl:Constraint",
    "odrl:leftOperand": {"@id": "odrl:spatial"},
    "odrl:operator": {"@id": "odrl:eq"},
    "odrl:rightOperand": "here",
}
MUTANTS: dict[str, Callable[[Policy], Any]] = {
    "no assigner": lambda p: p.pop("odrl:assigner"),
    "two assigners": lambda p: p.update({"odrl:assigner": [p["odrl:assigner"], EVIL]}),
    "two assignees": lambda p: p.update({"odrl:assignee": [p["odrl:assignee"], EVIL]}),
    "an assignee in words": _put("odrl:assignee", "the bank"),
    "another profile": _put("odrl:profile", {"@id": "urn:fusion:odrl:2"}),
    "no profile": lambda p: p.pop("odrl:profile"),
    "no target": lambda p: p.pop("odrl:target"),
    "no columns": lambda p: p["odrl:target"].pop("fusion:column"),
    "a schema without its digest": lambda p: p["odrl:target"].pop("fusion:schemaDigest"),
    "a target that is no dataset": lambda p: p["odrl:target"].pop("@type"),
    "no permission": lambda p: p.pop("odrl:permission"),
    "no prohibition": lambda p: p.pop("odrl:prohibition"),
    "another prohibition": _put("odrl:prohibition", [{"odrl:action": {"@id": "odrl:print"}}]),
    "an unknown action": lambda p: _permission(p).update({"odrl:action": {"@id": "odrl:use"}}),
    "a second permission without limits": lambda p: p["odrl:permission"].append(BARE),
    "another policy inside": _put("fusion:note", HIDDEN),
    "another policy in the place of a duty": _put("odrl:obligation", [HIDDEN]),
    "a misspelt property": _put("odrl:permision", [BARE]),
    "no end": lambda p: _permission(p)["odrl:constraint"].pop(1),
    "no purpose": _drop("odrl:purpose"),
    "no count": _drop("odrl:count"),
    "no least number of contributors": _drop("fusion:contributors"),
    "no rounds": _drop("fusion:rounds"),
    "no models": _drop("fusion:modelKind"),
    "no set size": _drop("fusion:setSize", "align"),
    "no rows": _drop("fusion:rows", "query"),
    "no epsilon": _drop("fusion:epsilonMicro", "mock"),
    "one contributor": _set("fusion:contributors", "odrl:rightOperand", 1),
    "contributors at most": _set("fusion:contributors", "odrl:operator", {"@id": "odrl:lteq"}),
    "epsilon at least": _set("fusion:epsilonMicro", "odrl:operator", {"@id": "odrl:gteq"}),
    "epsilon in words": _set("fusion:epsilonMicro", "odrl:rightOperand", "two"),
    "epsilon as a fraction": _set("fusion:epsilonMicro", "odrl:rightOperand", 0.5),
    "members told at least": _set(
        "fusion:membershipPermille", "odrl:operator", {"@id": "odrl:gteq"}
    ),
    "members told beyond any rate": _set("fusion:membershipPermille", "odrl:rightOperand", 1001),
    "a label leak in words": _set("fusion:labelLeakPermille", "odrl:rightOperand", "little"),
    "leaves of at most": _set("fusion:smallestLeaf", "odrl:operator", {"@id": "odrl:lteq"}),
    "leaves of nobody": _set("fusion:smallestLeaf", "odrl:rightOperand", 0),
    "two limits in one": _set("odrl:count", "odrl:rightOperand", [5, 5000]),
    "an unknown operand": lambda p: _permission(p)["odrl:constraint"].append(OTHER),
    "an unknown model": _set("fusion:modelKind", "odrl:rightOperand", ["logistic", "tree"]),
    "a purpose in words": _set("odrl:purpose", "odrl:rightOperand", "research"),
    "a purpose of another vocabulary": _set(
        "odrl:purpose", "odrl:rightOperand", {"@id": "urn:fusion:anything"}
    ),
    "a time in words": _set("odrl:dateTime", "odrl:rightOperand", "tomorrow"),
    "an agreement that does not hold": _put("fusion:state", "OFFERED"),
    "an unknown state": _put("fusion:state", "DONE"),
    "an offer that says it holds": _put("@type", "odrl:Offer"),
    "a fee without its class": lambda p: p.pop("fusion:feeClass"),
    "a ceiling below zero": _put("fusion:feeCeilingCents", -1),
    "nobody signs": lambda p: p.pop("fusion:signer"),
    "a signer without a role": lambda p: p["fusion:signer"][0].pop("fusion:role"),
    "a payment without an amount": lambda p: p["odrl:obligation"][1]["odrl:constraint"].pop(0),
    "a payment without a date": lambda p: p["odrl:obligation"][1]["odrl:constraint"].pop(1),
    "a payment without a currency": lambda p: p["odrl:obligation"][1]["odrl:constraint"][0].pop(
        "odrl:unit"
    ),
    "an attribution without words": lambda p: p["odrl:obligation"][2].pop("fusion:words"),
    "an identifier that is no digest": _put("@id", "urn:fusion:grant:1"),
}


def _without_the_rest(policy: Policy) -> None:
    """Leave permissions out that are as they were, but for the first: they would pass anyway."""
    first, *_ = was = ONE["@graph"][0]["odrl:permission"]
    found = policy.get("odrl:permission", [])
    policy["odrl:permission"] = [p for p in found if p == first or p not in was]


# Each takes half a second, and what they are about seldom changes: a third of them every time.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if place % 9 == 0 else [pytest.mark.soak])
        for place, name in enumerate(MUTANTS)
    ],
)
def test_a_mutant_is_refused(name: str) -> None:
    mutant = copy.deepcopy(ONE)
    MUTANTS[name](mutant["@graph"][0])
    assert mutant != ONE
    _without_the_rest(mutant["@graph"][0])
    assert report(mutant, "odrl")


def test_what_the_mutants_are_made_of_validates() -> None:
    whole = copy.deepcopy(ONE)
    _without_the_rest(whole["@graph"][0])
    assert len(whole["@graph"][0]["odrl:permission"]) == 1
    assert not report(whole, "odrl")


def test_its_words_are_odrls() -> None:
    used = set(re.findall(r"'odrl:(\w+)'", str(EXPORT["@graph"])))
    assert len(used) > 25
    for name in used:
        # rdflib knows the vocabulary; asking it for another term warns, which fails.
        assert ODRL2[name]


def test_a_name_that_the_context_lacks_is_not_in_the_rdf() -> None:
    """Why the signed document counts and the export does not: RDF drops this without a word."""
    mutant = copy.deepcopy(ONE)
    mutant["@graph"][0]["permission"] = [BARE]
    assert len(graph_of(mutant)) == len(graph_of(ONE))
    assert not report(mutant, "odrl")
