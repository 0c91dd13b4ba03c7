"""The decision: a grant, a request, what was used before, the time; a permit or a refusal.

Pure, total, default deny: every check has to pass, what is not stated is refused, an action or a
limit that this module does not know is refused. It is made at every data owner on its own, from
that owner's copy of the grant and its own view of the request. All that is wrong is reported, not
only the first thing, so that the repair makes the request pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, get_args

from fusion.grants.budget import COUNTERS, NOTHING, cap_of, cost_of
from fusion.grants.document import (
    Align,
    AlignOutcome,
    Mock,
    ModelKind,
    OutputKind,
    Purpose,
    Query,
    Score,
    Train,
    moment_of,
)
from fusion.grants.permit import Permit, _issue
from fusion.grants.refusal import Change, Clause, Code, Refusal
from fusion.grants.signing import Standing, stamp, standing
from fusion.identity.members import AUTHORITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.grants.budget import Amount, Counter, Permission
    from fusion.grants.document import Grant
    from fusion.grants.request import Request
    from fusion.grants.signing import SignedGrant

_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "train": (
        "model", "k", "rounds", "epsilon_micro",
        "membership_permille", "label_leak_permille", "smallest_leaf",
    ),
    "align": ("set_size", "outcome", "minimum_intersection", "minimum_overlap_permille"),
    "query": ("output", "rows", "epsilon_micro", "code"),
    "score": ("rows", "model_names"),
    "mock": ("rows", "epsilon_micro"),
}  # fmt: skip
"""What a request of an action has to say, but for what a grant may leave open."""

_LIMITS: Final = tuple(dict.fromkeys(name for names in _FIELDS.values() for name in names))
_TELLS: Final[dict[str, tuple[Code, bool]]] = {
    "membership_permille": (Code.MEMBERSHIP, False),
    "label_leak_permille": (Code.LABEL_LEAK, False),
    "smallest_leaf": (Code.SMALLEST_LEAF, True),
}
"""What a study promises of its model, each with its code and whether more of it is better."""

_LEAST: Final[dict[str, Any]] = {
    "model": "logistic",
    "k": 3,
    "rounds": 1,
    "set_size": 1,
    "outcome": "size",
    "minimum_intersection": 1,
    "minimum_overlap_permille": 0,
    "output": "table",
    "rows": 1,
    "epsilon_micro": 1,
    "membership_permille": 1,
    "label_leak_permille": 1,
}
_SPENT: Final[dict[Counter, Code]] = {
    "runs": Code.RUNS,
    "epsilon_micro": Code.EPSILON,
    "rows": Code.ROWS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a decision depends on beside the documents.

    Attributes:
        revoked: Whether a signer has revoked the grant.
        used: What was reserved or committed for this action under this grant at this party.
    """

    revoked: bool = False
    used: Amount = NOTHING


def decide(signed: SignedGrant, request: Request, state: State, now: datetime) -> Permit | Refusal:
    """Return a permit for a request, or everything that speaks against it.

    Args:
        signed: A grant, its signatures verified.
        request: What is wanted.
        state: Revocation and use so far.
        now: The time.
    """
    grant = signed.grant
    permission = grant.permission(request.action)
    clauses = (
        *_standing(signed, state),
        *_time(grant, now),
        *_named(signed, request),
        *_parties(grant, request),
        *_data(grant, request),
        *_purpose(grant, request),
        *_extra(request),
        *(_action(grant, request) if permission is None else _limits(permission, request, state)),
    )
    if clauses or permission is None:
        return Refusal(party=request.party, grant=signed.id, job=request.job, clauses=clauses)
    return _issue(
        grant=signed.id,
        request=request,
        cost=cost_of(request, permission),
        cap=cap_of(permission),
        expires=moment_of(grant.not_after),
    )


def no_grant(request: Request) -> Refusal:
    """Return the refusal of a request that no grant is about, of those that it names if it does."""
    if request.grants:
        clause = Clause(Code.NAMED, "", list(request.grants), None, ())
        return Refusal(party=request.party, grant=None, job=request.job, clauses=(clause,))
    clause = Clause(Code.NO_GRANT, "", f"{request.dataset} of {request.party}", None, ())
    return Refusal(party=request.party, grant=None, job=request.job, clauses=(clause,))


def still(permit: Permit, *, revoked: bool, now: datetime) -> Refusal | None:
    """Return why work under a permit has to stop, if it has to: revoked, or over.

    Args:
        permit: It may have been spent: the work goes on under it.
        revoked: Whether the grant was revoked since.
        now: The time.
    """
    moment = now.astimezone(UTC)
    if revoked:
        again = _grant("/replaces", permit.grant)
        clause = Clause(Code.REVOKED, "", Standing.TERMINATED.value, None, (again,))
    elif moment >= permit.expires:
        later = _grant("/not_after", stamp(moment + timedelta(days=1)))
        clause = Clause(Code.EXPIRED, "/not_after", stamp(moment), stamp(permit.expires), (later,))
    else:
        return None
    request = permit.request
    return Refusal(party=request.party, grant=permit.grant, job=request.job, clauses=(clause,))


def _ask(path: str, value: Any) -> Change:  # noqa: ANN401 - a JSON value
    return Change("request", "replace", path, value)


def _grant(path: str, value: Any) -> Change:  # noqa: ANN401 - a JSON value
    return Change("grant", "replace", path, value)


def _standing(signed: SignedGrant, state: State) -> Iterator[Clause]:
    where = standing(signed, revoked=state.revoked)
    if where is Standing.TERMINATED:
        yield Clause(Code.REVOKED, "", where.value, None, (_grant("/replaces", signed.id),))
    elif where is not Standing.FINALIZED:
        changes = tuple(Change("signatures", "add", "/-", name) for name in signed.missing)
        yield Clause(Code.NOT_SIGNED, "/signers", where.value, list(signed.missing), changes)


def _time(grant: Grant, now: datetime) -> Iterator[Clause]:
    moment = now.astimezone(UTC)
    if moment < moment_of(grant.not_before):
        wait = Change("time", "replace", "", grant.not_before)
        yield Clause(Code.NOT_YET, "/not_before", stamp(moment), grant.not_before, (wait,))
    if moment >= moment_of(grant.not_after):
        later = stamp(moment + timedelta(days=1))
        change = _grant("/not_after", later)
        yield Clause(Code.EXPIRED, "/not_after", stamp(moment), grant.not_after, (change,))


def _named(signed: SignedGrant, request: Request) -> Iterator[Clause]:
    if request.grants and signed.id not in request.grants:
        change = _ask("/grants", [signed.id])
        yield Clause(Code.NAMED, "", list(request.grants), signed.id, (change,))


def _parties(grant: Grant, request: Request) -> Iterator[Clause]:
    changes: tuple[Change, ...]
    if request.assignee != grant.assignee:
        place = next(i for i, signer in enumerate(grant.signers) if signer.role == "operator")
        operator = {"role": "operator", "organisation": request.assignee}
        changes = (_grant("/assignee", request.assignee), _grant(f"/signers/{place}", operator))
        if request.assignee == AUTHORITY:
            changes = ()
        yield Clause(Code.ASSIGNEE, "/assignee", request.assignee, grant.assignee, changes)
    if request.party not in grant.assigners:
        owner = {"role": "owner", "organisation": request.party}
        changes = (
            Change("grant", "add", "/assigners/-", request.party),
            Change("grant", "add", "/signers/-", owner),
        )
        if request.party == AUTHORITY:
            changes = ()
        yield Clause(Code.PARTY, "/assigners", request.party, list(grant.assigners), changes)


def _data(grant: Grant, request: Request) -> Iterator[Clause]:
    dataset = grant.dataset
    columns = list(dict.fromkeys((*request.columns, *request.needed)))
    other = request.dataset != dataset.id
    if not columns:
        every = () if other else (_ask("/columns", list(dataset.columns)),)
        yield Clause(Code.COLUMNS, "/dataset/columns", [], list(dataset.columns), every)
    if other:
        whole = {
            "id": request.dataset,
            "columns": columns,
            "schema_digest": request.schema_digest,
        }
        change = _grant("/dataset", whole)
        yield Clause(Code.DATASET, "/dataset/id", request.dataset, dataset.id, (change,))
        return
    if request.schema_digest != dataset.schema_digest:
        change = _grant("/dataset/schema_digest", request.schema_digest)
        yield Clause(
            Code.SCHEMA,
            "/dataset/schema_digest",
            request.schema_digest,
            dataset.schema_digest,
            (change,),
        )
    granted = frozenset(dataset.columns)
    beyond = [name for name in columns if name not in granted]
    if beyond:
        yield Clause(
            Code.COLUMNS,
            "/dataset/columns",
            beyond,
            list(dataset.columns),
            _without(columns, beyond, request.needed),
        )


def _without(columns: list[str], beyond: list[str], needed: tuple[str, ...]) -> tuple[Change, ...]:
    """Leave columns out where that leaves something; ask for them where they can't be left out."""
    rest = [name for name in columns if name not in beyond]
    if rest and not set(beyond) & set(needed):
        return (_ask("/columns", rest),)
    return tuple(Change("grant", "add", "/dataset/columns/-", name) for name in beyond)


def _purpose(grant: Grant, request: Request) -> Iterator[Clause]:
    if request.purpose == grant.purpose:
        return
    # A purpose is what it is: what has to change is the grant, unless there is no such purpose.
    if request.purpose in get_args(Purpose):
        change = _grant("/purpose", request.purpose)
    else:
        change = _ask("/purpose", grant.purpose)
    yield Clause(Code.PURPOSE, "/purpose", request.purpose, grant.purpose, (change,))


def _extra(request: Request) -> Iterator[Clause]:
    """Refuse limits that the action does not know: nobody would check them."""
    for name in _LIMITS:
        known = _FIELDS.get(request.action, ())
        if name not in known and getattr(request, name) is not None:
            change = _ask(f"/{name}", None)
            yield Clause(Code.NOT_OF_ACTION, "/permissions", name, None, (change,))


def _action(grant: Grant, request: Request) -> Iterator[Clause]:
    """Refuse an action that is not permitted; what would pass is the least that this one needs."""
    permitted = [name for name in _FIELDS if grant.permission(name) is not None]
    values: dict[str, Any] = {}
    changes: list[Change] = []
    for name in _FIELDS.get(request.action, ()):
        value = getattr(request, name)
        if not _possible(name, value) and name in _LEAST and not _open(request.action, name, value):
            value = _LEAST[name]
            changes.append(_ask(f"/{name}", value))
        values[name] = value
    permission = _least(request.action, values)
    if permission is not None:
        changes.append(Change("grant", "add", f"/permissions/{request.action}", permission))
    changes = [] if permission is None else changes
    yield Clause(
        Code.ACTION,
        f"/permissions/{request.action}",
        request.action,
        permitted,
        tuple(changes),
    )


def _open(action: str, name: str, value: object) -> bool:
    """Whether an action may leave this out: training without differential privacy or promises."""
    return value is None and action == "train" and name in {"epsilon_micro", *_TELLS}


def _possible(name: str, value: object) -> bool:
    """Whether a grant could permit a value at all."""
    match name:
        case "model":
            return value in get_args(ModelKind)
        case "output":
            return value in get_args(OutputKind)
        case "outcome":
            return value in get_args(AlignOutcome)
        case "minimum_intersection":
            return isinstance(value, int) and value >= 1
        case "k":
            return isinstance(value, int) and 2 <= value <= 1000
        case "rounds":
            return isinstance(value, int) and value <= 10_000
        case "membership_permille" | "label_leak_permille":
            return isinstance(value, int) and value <= 1000
        case _:
            return value is not None


def _least(action: str, values: dict[str, Any]) -> dict[str, Any] | None:
    """Return the smallest permission under which a request with these values passes."""
    match action:
        case "train":
            kept = {name: values[name] for name in ("k", "rounds", "epsilon_micro", *_TELLS)}
            return {"models": [values["model"]], "runs": 1, **kept}
        case "query":
            code = values.pop("code")
            if (values["output"] == "python") != (code is not None):
                return None
            kept = {name: values[name] for name in ("rows", "epsilon_micro")}
            listed = [] if code is None else [code]
            return {"outputs": [values["output"]], "code": listed, "runs": 1, **kept}
        case "align":
            kept = {name: value for name, value in values.items() if name != "outcome"}
            return {"outcomes": [values["outcome"]], "runs": 1, **kept}
        case "score":
            names = values["model_names"]
            only = [] if names is None else [names[0]]
            return {"runs": 1, "rows": values["rows"], "only_models": only}
        case "mock":
            return {"runs": 1, **values}
        case _:
            return None


def _limits(permission: Permission, request: Request, state: State) -> Iterator[Clause]:
    base = f"/permissions/{request.action}"
    match permission:
        case Train():
            yield from _one_of(request, "model", f"{base}/models", permission.models, Code.MODEL)
            yield from _at_least(request, "k", f"{base}/k", permission.k, Code.CONTRIBUTORS)
            yield from _at_most(request, "rounds", f"{base}/rounds", permission.rounds, Code.ROUNDS)
            yield from _promises(request, permission, base)
        case Align():
            yield from _align(permission, request, base)
        case Query():
            yield from _one_of(
                request, "output", f"{base}/outputs", permission.outputs, Code.OUTPUT
            )
            yield from _code(request, permission, base)
        case Score():
            yield from _bound(request, permission, base)
        case Mock():
            pass  # what it limits is counted
    yield from _budget(permission, request, state, base)


def _align(permission: Align, request: Request, base: str) -> Iterator[Clause]:
    size, least = permission.set_size, permission.minimum_intersection
    yield from _at_most(request, "set_size", f"{base}/set_size", size, Code.SET_SIZE)
    yield from _one_of(request, "outcome", f"{base}/outcomes", permission.outcomes, Code.OUTCOME)
    name = "minimum_intersection"
    yield from _at_least(request, name, f"{base}/{name}", least, Code.INTERSECTION)
    name, share = "minimum_overlap_permille", permission.minimum_overlap_permille
    yield from _at_least(request, name, f"{base}/{name}", share, Code.OVERLAP)


def _undeclared(name: str, path: str, passes: Any, value: Any) -> Clause:  # noqa: ANN401 - JSON values
    return Clause(Code.UNDECLARED, path, name, passes, (_ask(f"/{name}", value),))


def _one_of(
    request: Request, name: str, path: str, allowed: tuple[str, ...], code: Code
) -> Iterator[Clause]:
    value = getattr(request, name)
    # With Python, the digest of the code would have to change as well.
    first = next((item for item in allowed if item != "python"), allowed[0])
    if value is None:
        yield _undeclared(name, path, list(allowed), first)
    elif value not in allowed:
        yield Clause(code, path, value, list(allowed), (_ask(f"/{name}", first),))


def _at_least(request: Request, name: str, path: str, limit: int, code: Code) -> Iterator[Clause]:
    value = getattr(request, name)
    if value is None:
        yield _undeclared(name, path, limit, limit)
    elif value < limit:
        yield Clause(code, path, value, limit, (_ask(f"/{name}", limit),))


def _at_most(request: Request, name: str, path: str, limit: int, code: Code) -> Iterator[Clause]:
    value = getattr(request, name)
    if value is None:
        yield _undeclared(name, path, limit, limit)
    elif value > limit:
        yield Clause(code, path, value, limit, (_ask(f"/{name}", limit),))


def _promises(request: Request, permission: Train, base: str) -> Iterator[Clause]:
    """Hold what a study promises of its model to what the grant limits; the rest is its own."""
    for name, (code, more) in _TELLS.items():
        limit = getattr(permission, name)
        if limit is not None:
            yield from (_at_least if more else _at_most)(
                request, name, f"{base}/{name}", limit, code
            )


def _code(request: Request, permission: Query, base: str) -> Iterator[Clause]:
    """Python runs by the digest of its job; everything else names no code.

    A grant that lists none permits what the owner approves, which the owner's node looks at.
    """
    path, listed = f"{base}/code", list(permission.code)
    python = request.output == "python"
    # An output that is refused may be repaired into one that needs code.
    becomes = request.output not in permission.outputs and set(permission.outputs) == {"python"}
    needs = becomes or (python and "python" in permission.outputs)
    if not needs:
        if request.code is not None and (not python or "python" not in permission.outputs):
            yield Clause(Code.CODE, path, request.code, None, (_ask("/code", None),))
    elif listed and request.code not in listed:
        change = _ask("/code", listed[0])
        if request.code is None and python:
            yield _undeclared("code", path, listed, listed[0])
        else:
            yield Clause(Code.CODE, path, request.code, listed, (change,))
    elif request.code is None:
        # Which jobs there are is not for a grant to know: no repair is proposed.
        yield Clause(Code.UNDECLARED, path, "code", "jobs that the owner has approved", ())


def _bound(request: Request, permission: Score, base: str) -> Iterator[Clause]:
    """Hold scoring to the models that the grant lists, by whatever name it lists them."""
    path, listed = f"{base}/only_models", list(permission.only_models)
    if not listed or set(listed) & set(request.model_names or ()):
        return
    if request.model_names is None:
        yield _undeclared("model_names", path, listed, listed[:1])
    else:
        # A model is what it is: what has to change is the grant, by no more than this model.
        names = list(request.model_names)
        change = Change("grant", "add", f"{path}/-", names[0])
        yield Clause(Code.ANOTHER_MODEL, path, names, listed, (change,))


def _budget(permission: Permission, request: Request, state: State, base: str) -> Iterator[Clause]:
    cap = cap_of(permission)
    left = cap.left(state.used)
    for name in COUNTERS[1:]:
        if getattr(cap, name) is not None and getattr(request, name) is None:
            value = getattr(left, name) or getattr(cap, name)
            yield _undeclared(name, f"{base}/{name}", getattr(left, name), value)
            if not getattr(left, name):
                yield _spent(name, value, 0, base)
    for name in cap.exceeded(state.used, cost_of(request, permission)):
        asked = getattr(cost_of(request, permission), name)
        yield _spent(name, asked, getattr(left, name), base)


def _spent(name: Counter, asked: int, left: int, base: str) -> Clause:
    """Ask for what is left; where nothing is, a new grant has to bring what is asked for."""
    path = f"{base}/{name}"
    change = _ask(f"/{name}", left) if left and name != "runs" else _grant(path, asked)
    return Clause(_SPENT[name], path, asked, left, (change,))
