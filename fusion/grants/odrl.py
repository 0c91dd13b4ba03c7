"""A grant as ODRL 2.2 in JSON-LD, for catalogues and data spaces: exported, never evaluated.

ODRL's model has no evaluator, and a signature over RDF does not cover what a JSON reader sees
(``docs/adr/0011-one-grant-one-decision.md``): what counts is the signed document, whose digest is
in the identifier. An agreement is between two, so there is one for each assigner. The context is
written out; nothing has to be fetched in order to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.grants.document import Attribute, Delete, Pay, Permissions
from fusion.grants.signing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.grants.budget import Permission
    from fusion.grants.document import Grant
    from fusion.grants.signing import SignedGrant

PROFILE: Final = "urn:fusion:odrl:1"
CONTEXT: Final[dict[str, str]] = {
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "fusion": "urn:fusion:odrl:1#",
}
LIMITS: Final[dict[str, tuple[str, str]]] = {
    "models": ("fusion:modelKind", "odrl:isAnyOf"),
    "outputs": ("fusion:outputKind", "odrl:isAnyOf"),
    "code": ("fusion:codeDigest", "odrl:isAnyOf"),
    "only_models": ("fusion:model", "odrl:isAnyOf"),
    "k": ("fusion:contributors", "odrl:gteq"),
    "rounds": ("fusion:rounds", "odrl:lteq"),
    "runs": ("odrl:count", "odrl:lteq"),
    "epsilon_micro": ("fusion:epsilonMicro", "odrl:lteq"),
    "membership_permille": ("fusion:membershipPermille", "odrl:lteq"),
    "label_leak_permille": ("fusion:labelLeakPermille", "odrl:lteq"),
    "smallest_leaf": ("fusion:smallestLeaf", "odrl:gteq"),
    "rows": ("fusion:rows", "odrl:lteq"),
    "set_size": ("fusion:setSize", "odrl:lteq"),
    "outcomes": ("fusion:alignmentOutcome", "odrl:isAnyOf"),
    "minimum_intersection": ("fusion:minimumIntersection", "odrl:gteq"),
    "minimum_overlap_permille": ("fusion:minimumOverlapPermille", "odrl:gteq"),
    "minimum_difference": ("fusion:minimumDifference", "odrl:gteq"),
}
"""Each limit of a permission as left operand and operator."""


def export(signed: SignedGrant, state: Standing) -> dict[str, Any]:
    """Return a grant as JSON-LD: an agreement where it holds, an offer where it does not yet.

    Args:
        signed: The grant.
        state: Where it stands.
    """
    return {
        "@context": CONTEXT,
        "@graph": [_policy(signed, assigner, state) for assigner in signed.grant.assigners],
    }


def _policy(signed: SignedGrant, assigner: str, state: Standing) -> dict[str, Any]:
    grant = signed.grant
    final = state is Standing.FINALIZED
    policy: dict[str, Any] = {
        "@id": f"urn:sha256:{signed.id}#{assigner}",
        "@type": "odrl:Agreement" if final else "odrl:Offer",
        "odrl:profile": {"@id": PROFILE},
        "dct:title": grant.title,
        "fusion:state": state.value,
        "odrl:assigner": _organisation(assigner),
        "odrl:assignee": _organisation(grant.assignee),
        "odrl:target": {
            "@id": f"urn:fusion:dataset:{assigner}:{grant.dataset.id}",
            "@type": "dcat:Dataset",
            "dct:identifier": grant.dataset.id,
            "fusion:column": list(grant.dataset.columns),
            "fusion:schemaDigest": f"sha256:{grant.dataset.schema_digest}",
        },
        "odrl:permission": [
            {
                "odrl:action": {"@id": f"fusion:{action}"},
                "odrl:constraint": [*_frame(grant), *_limits(permission)],
            }
            for action in Permissions.model_fields
            if (permission := grant.permission(action)) is not None
        ],
        "odrl:prohibition": [{"odrl:action": {"@id": "odrl:distribute"}}],
    }
    if grant.duties:
        policy["odrl:obligation"] = [_duty(grant, duty) for duty in grant.duties]
    if grant.product is not None:
        policy["fusion:product"] = grant.product
    if grant.replaces is not None:
        policy["dct:replaces"] = {"@id": f"urn:sha256:{grant.replaces}"}
    policy["fusion:feeClass"] = {"@id": f"fusion:{grant.fee.kind}"}
    policy["fusion:feeCeilingCents"] = grant.fee.ceiling_cents
    policy["fusion:currency"] = grant.fee.currency
    policy["fusion:signer"] = [
        {"fusion:role": signer.role, "fusion:organisation": _organisation(signer.organisation)}
        for signer in grant.signers
    ]
    return policy


def _organisation(name: str) -> dict[str, str]:
    return {"@id": f"urn:fusion:organisation:{name}"}


def _moment(text: str) -> dict[str, str]:
    return {"@value": text, "@type": "xsd:dateTime"}


def _constraint(left: str, operator: str, right: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "@type": "odrl:Constraint",
        "odrl:leftOperand": {"@id": left},
        "odrl:operator": {"@id": operator},
        "odrl:rightOperand": right,
    }


def _frame(grant: Grant) -> Iterator[dict[str, Any]]:
    """Yield what holds for every permission: time and purpose."""
    yield _constraint("odrl:dateTime", "odrl:gteq", _moment(grant.not_before))
    yield _constraint("odrl:dateTime", "odrl:lt", _moment(grant.not_after))
    yield _constraint("odrl:purpose", "odrl:eq", {"@id": grant.purpose})


def _limits(permission: Permission) -> Iterator[dict[str, Any]]:
    for name in type(permission).model_fields:
        value = getattr(permission, name)
        if value is None or value == ():
            continue
        left, operator = LIMITS[name]
        yield _constraint(left, operator, list(value) if isinstance(value, tuple) else value)


def _duty(grant: Grant, duty: Delete | Pay | Attribute) -> dict[str, Any]:
    match duty:
        case Delete():
            by = _constraint("odrl:dateTime", "odrl:lteq", _moment(duty.by))
            return {"odrl:action": {"@id": "odrl:delete"}, "odrl:constraint": [by]}
        case Pay():
            # ODRL's amounts are decimal; the signed document's are whole cents.
            text = f"{duty.cents // 100}.{duty.cents % 100:02d}"
            value = {"@value": text, "@type": "xsd:decimal"}
            amount = _constraint("odrl:payAmount", "odrl:eq", value)
            amount["odrl:unit"] = {"@id": f"urn:iso:std:iso:4217:{grant.fee.currency}"}
            by = _constraint("odrl:dateTime", "odrl:lteq", _moment(duty.by))
            return {"odrl:action": {"@id": "odrl:compensate"}, "odrl:constraint": [amount, by]}
        case Attribute():
            return {"odrl:action": {"@id": "odrl:attribute"}, "fusion:words": duty.text}
