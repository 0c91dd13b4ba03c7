"""One secure sum as the hub drives it: commit, list, submit, decrypt, combine.

An attempt whose list does not complete is void: who is missing is left out, and the round is tried
again without them. What is about to be opened goes to the journal first, so that a restarted hub
asks the holders for exactly the same opening; they would refuse any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from federated.cohort import Reply, Request
from federated.evidence import log_sum
from federated.parameters import model_digest
from federated.protocols.secure_sum import (
    Aggregate,
    Contribution,
    aggregate,
    combine,
    list_commitments,
    read_partials,
    verify_contribution,
)
from federated.protocols.statements import (
    HUB,
    Commitment,
    ContributionList,
    RoundManifest,
    read,
    sign,
)
from fusion.errors import FusionError, MessageInvalid, QuorumLost, VerificationFailed
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.attendance import Absence, Attendance
    from federated.protocols.secure_sum import Sum
    from federated.protocols.statements import Purpose
    from federated.run import Run
    from fusion.crypto.paillier.residues import Rows

MAX_ATTEMPTS: Final = 8
"""Void lists of one round before the run is given up."""


@dataclass(slots=True)
class Meter:
    """Seconds and bytes of one sum, attempt after attempt."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("train", "encrypt", "wait", "aggregate", "decrypt", "combine", "total"), 0.0
        )
    )
    bytes: int = 0

    def add(self, what: str, seconds: float) -> None:
        """Add time to one of the parts."""
        self.seconds[what] += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SumResult:
    """An opened sum.

    Attributes:
        purpose: What was summed.
        totals: Each tensor's sum.
        contributors: Whose contributions are in it.
        absent: Who was left out, since when and why.
        attempts: Lists it took.
        seconds: train and encrypt (the slowest party's), wait (for others and the transport),
            aggregate, decrypt (until t holders answered), combine, total.
        bytes: Bytes to and from all parties together.
    """

    purpose: Purpose
    totals: Sum
    contributors: tuple[OrgId, ...]
    absent: tuple[Absence, ...]
    attempts: int
    seconds: Mapping[str, float]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """Exactly what the holders are asked to open."""

    manifest: RoundManifest
    signed_manifest: bytes
    listing: bytes
    contributions: tuple[Contribution, ...]
    contributors: tuple[OrgId, ...]

    def document(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return {
            "manifest": self.signed_manifest,
            "listing": self.listing,
            "contributors": list(self.contributors),
            "submissions": [c.submission for c in self.contributions],
            "vectors": [c.vector for c in self.contributions],
        }


class Gather(Protocol):
    """Waits until enough parties are there; see :meth:`RoundEngine._gather`."""

    def __call__(self, doing: str, *, welcome: bool = True) -> None:
        """Wait, or raise :class:`~fusion.errors.QuorumLost`."""
        ...


class SumRunner:
    """Drives the sums of a run."""

    def __init__(
        self,
        run: Run,
        attendance: Attendance,
        gather: Gather,
    ) -> None:
        """Take the run, who is there, and a way to wait for the quorum."""
        self._run = run
        self._attendance = attendance
        self._gather = gather

    def run(
        self, purpose: Purpose, number: int, model: bytes, standardisation: Mapping[str, Any]
    ) -> SumResult:
        """Sum over as many parties as answer in time.

        Raises:
            QuorumLost: Fewer than the quorum could be summed, or fewer than t holders answered.
            VerificationFailed: The holders' answers do not open the sum.
        """
        began = self._run.clock.monotonic()
        meter = Meter()
        opening = self._resumed(number)
        fresh = True
        while opening is None:
            self._gather(f"round {number}", welcome=fresh)
            fresh = False
            opening = self._collect(purpose, number, model, standardisation, meter)
        totals = self._open(opening, meter)
        meter.seconds["total"] = self._run.clock.monotonic() - began
        # What is not computing is waiting: for others, for the transport, for a void list.
        computing = sum(v for k, v in meter.seconds.items() if k not in {"wait", "total"})
        meter.seconds["wait"] = max(0.0, meter.seconds["total"] - computing)
        return SumResult(
            purpose=purpose,
            totals=totals,
            contributors=opening.contributors,
            absent=self._attendance.absent(),
            attempts=opening.manifest.attempt,
            seconds=dict(meter.seconds),
            bytes=meter.bytes,
        )

    # ------------------------------------------------------------------ collecting

    def _collect(
        self,
        purpose: Purpose,
        number: int,
        model: bytes,
        standardisation: Mapping[str, Any],
        meter: Meter,
    ) -> _Opening | None:
        """Try one list; return None when it is void."""
        run = self._run
        attempt = run.journal.next_attempt(number)
        if attempt > MAX_ATTEMPTS:
            doing = f"round {number} after {attempt - 1} tries"
            raise self._attendance.lost(run.terms.quorum, run.terms.key.threshold, doing)
        manifest = self._manifest(purpose, number, attempt, model, standardisation)
        signed = sign(manifest, run.authority, HUB)
        head = {
            "job": run.terms.job,
            "manifest": signed.decode(),
            "standardisation": dict(standardisation),
            "notices": self._attendance.news(),
        }
        request = Request("contribute", head, {"model": model})
        commitments = self._commitments(manifest, request, meter)
        if len(commitments) < run.terms.quorum:
            return None  # gathering waits for those who are out, or gives up
        listing = list_commitments(run.terms, manifest, list(commitments.values()), run.authority)
        contributions = self._submissions(manifest, signed, listing, meter)
        if len(contributions) < len(commitments):
            return None
        opening = _Opening(
            manifest=manifest,
            signed_manifest=signed,
            listing=listing,
            contributions=tuple(contributions[org] for org in sorted(contributions)),
            contributors=tuple(sorted(contributions)),
        )
        run.journal.keep_opening(number, opening.document())
        return opening

    def _manifest(
        self,
        purpose: Purpose,
        number: int,
        attempt: int,
        model: bytes,
        standardisation: Mapping[str, Any],
    ) -> RoundManifest:
        terms = self._run.terms
        layout = terms.layouts[purpose]
        return RoundManifest(
            job=terms.job,
            study=terms.study,
            round=number,
            attempt=attempt,
            purpose=purpose,
            key=terms.key.public.fingerprint,
            layout=layout.digest,
            contributors=layout.contributors,
            quorum=terms.quorum,
            model=model_digest(model, standardisation),
        )

    def _commitments(
        self, manifest: RoundManifest, request: Request, meter: Meter
    ) -> dict[OrgId, bytes]:
        """Ask everyone present to compute, encrypt and commit."""
        phase = "moments" if manifest.purpose == "moments" else "train"
        phase = "evaluate" if manifest.purpose == "evaluate" else phase
        replies = self._ask(phase, manifest, request, self._attendance.present(), meter)
        commitments: dict[OrgId, bytes] = {}
        slowest = {"train": 0.0, "encrypt": 0.0}
        for organisation, reply in replies.items():
            try:
                data = _text(reply, "commitment")
                statement = read(Commitment, data, self._run.terms.parties)
                if statement.organisation != organisation:
                    msg = f"{organisation} sent a commitment of {statement.organisation}."
                    raise MessageInvalid(msg)
            except FusionError as error:
                self._leave_out(organisation, f"sent an invalid commitment: {error.message}", error)
                continue
            commitments[organisation] = data
            slowest = {what: max(s, _seconds(reply, what)) for what, s in slowest.items()}
        for what, seconds in slowest.items():
            meter.add(what, seconds)
        return commitments

    def _submissions(
        self,
        manifest: RoundManifest,
        signed_manifest: bytes,
        listing: bytes,
        meter: Meter,
    ) -> dict[OrgId, Contribution]:
        """Ask the listed to release their vectors."""
        listed = read(ContributionList, listing, {HUB: self._run.terms.authority})
        head = {
            "job": manifest.job,
            "manifest": signed_manifest.decode(),
            "list": listing.decode(),
        }
        whom = tuple(OrgId(name) for name in listed.organisations())
        replies = self._ask("submit", manifest, Request("submit", head), whom, meter)
        contributions: dict[OrgId, Contribution] = {}
        for organisation, reply in replies.items():
            try:
                contribution = Contribution(
                    _text(reply, "submission"), reply.blobs.get("vector", b"")
                )
                name, _ = verify_contribution(self._run.terms, manifest, listed, contribution)
                if name != organisation:
                    msg = f"{organisation} sent the submission of {name}."
                    raise MessageInvalid(msg)
            except FusionError as error:
                self._leave_out(organisation, f"sent an invalid submission: {error.message}", error)
                continue
            contributions[organisation] = contribution
        return contributions

    def _resumed(self, number: int) -> _Opening | None:
        """Return what was about to be opened before a restart."""
        kept = self._run.journal.opening(number)
        if kept is None:
            return None
        return _Opening(
            manifest=read(RoundManifest, kept["manifest"], {HUB: self._run.terms.authority}),
            signed_manifest=kept["manifest"],
            listing=kept["listing"],
            contributions=tuple(
                Contribution(submission, vector)
                for submission, vector in zip(kept["submissions"], kept["vectors"], strict=True)
            ),
            contributors=tuple(kept["contributors"]),
        )

    # ------------------------------------------------------------------ opening

    def _open(self, opening: _Opening, meter: Meter) -> Sum:
        """Have t holders open the sum; holders that answer wrongly are named.

        Raises:
            QuorumLost: Fewer than t holders answered, however often they were asked.
            VerificationFailed: All holders answered, and no t of them agree.
        """
        run = self._run
        began = run.clock.monotonic()
        # The hub checks first: what it would not open itself, it need not ask for.
        total = aggregate(run.terms, opening.manifest, opening.listing, opening.contributions)
        listed = read(ContributionList, opening.listing, {HUB: run.terms.authority})
        log_sum(run, opening.manifest, listed, total, opening.contributors)
        meter.add("aggregate", run.clock.monotonic() - began)
        partials: dict[OrgId, Rows] = {}
        for _ in range(MAX_ATTEMPTS):
            began = run.clock.monotonic()
            self._ask_holders(opening, partials, meter)
            meter.add("decrypt", run.clock.monotonic() - began)
            opened = self._combine(opening, total, partials, meter)
            if opened is not None:
                return opened
            if len(partials) == len(run.terms.holders):
                break
            self._gather(f"opening round {opening.manifest.round}")
        msg = (
            f"Round {opening.manifest.round} could not be opened: {len(partials)} of "
            f"{len(run.terms.holders)} holders answered, {run.terms.key.threshold} have to agree."
        )
        if len(partials) >= run.terms.key.threshold:
            raise VerificationFailed(msg, hint="Ask the holders to check the share they imported.")
        raise QuorumLost(msg, hint="Start the missing holders' nodes and run the study again.")

    def _ask_holders(self, opening: _Opening, partials: dict[OrgId, Rows], meter: Meter) -> None:
        """Collect partial decryptions until there are t more chances to combine."""
        run = self._run
        present = set(self._attendance.present())
        holders = [OrgId(h) for h in run.terms.holders if h in present and h not in partials]
        missing = max(1, run.terms.key.threshold - len(partials))
        request = Request(
            "decrypt",
            {
                "job": run.terms.job,
                "manifest": opening.signed_manifest.decode(),
                "list": opening.listing.decode(),
                "submissions": [c.submission.decode() for c in opening.contributions],
            },
            {str(i): c.vector for i, c in enumerate(opening.contributions)},
        )
        replies = self._ask(
            "decrypt", opening.manifest, request, holders, meter, stop_at=missing, leave=False
        )
        for organisation, reply in replies.items():
            try:
                data = reply.blobs.get("partials", b"")
                partials[organisation] = read_partials(run.terms, opening.manifest, data)
            except FusionError as error:
                self._leave_out(organisation, f"sent an invalid partial decryption: {error}", error)

    def _combine(
        self,
        opening: _Opening,
        total: Aggregate,
        partials: Mapping[OrgId, Rows],
        meter: Meter,
    ) -> Sum | None:
        """Combine, or return None when more holders are needed."""
        run = self._run
        if len(partials) < run.terms.key.threshold:
            return None
        run.phase("combine", opening.manifest.round, (), tuple(partials))
        numbered: dict[str, Rows] = {str(org): p for org, p in partials.items()}
        began = run.clock.monotonic()
        try:
            totals, wrong = combine(
                run.terms, opening.manifest, total.product, numbered, len(opening.contributors)
            )
        except VerificationFailed:
            if len(partials) == len(run.terms.holders):
                raise
            return None
        finally:
            meter.add("combine", run.clock.monotonic() - began)
        for organisation in wrong:
            msg = f"The partial decryption of {organisation} is wrong."
            self._refusal(OrgId(organisation), VerificationFailed(msg))
        return totals

    # ------------------------------------------------------------------ asking

    def _ask(
        self,
        phase: str,
        manifest: RoundManifest,
        request: Request,
        whom: Sequence[OrgId],
        meter: Meter,
        *,
        stop_at: int | None = None,
        leave: bool = True,
    ) -> dict[OrgId, Reply]:
        """Ask, report as answers come, and return the good ones; others are left out by name."""
        run = self._run
        seconds = {
            "submit": run.study.deadlines.submit,
            "decrypt": run.study.deadlines.decrypt,
        }.get(phase, run.study.deadlines.train)
        good: dict[OrgId, Reply] = {}

        def note(reply: Reply) -> None:
            meter.bytes += reply.size
            if reply.failure is None:
                good[reply.organisation] = reply
            waiting = tuple(org for org in whom if org not in good)
            run.phase(phase, manifest.round, waiting, tuple(good))

        run.phase(phase, manifest.round, whom, ())
        meter.bytes += request.size * len(whom)
        replies = run.cohort.ask(
            dict.fromkeys(whom, request),
            seconds=seconds,
            enough=None if stop_at is None else lambda _: len(good) >= stop_at,
            on_reply=note,
        )
        for organisation in whom:
            reply = replies.get(organisation)
            if reply is not None and reply.failure is not None:
                failure = reply.failure
                self._leave(organisation, f"refused {phase}: {failure.message}")
                self._refused(organisation, failure.code, failure.message)
            elif reply is None and (leave or len(good) < (stop_at or 0)):
                self._leave(organisation, f"did not answer {phase} within {seconds:g} s")
        return good

    def _leave_out(self, organisation: OrgId, reason: str, error: FusionError) -> None:
        self._leave(organisation, reason)
        self._refusal(organisation, error)

    def _leave(self, organisation: OrgId, reason: str) -> None:
        self._attendance.leave(organisation, since=self._run.now(), reason=reason)

    def _refusal(self, organisation: OrgId, error: FusionError) -> None:
        self._refused(organisation, error.code, error.message)

    def _refused(self, organisation: OrgId, code: str, message: str) -> None:
        self._run.emit(
            {"event": "refusal", "organisation": organisation, "code": code, "message": message}
        )


def _text(reply: Reply, name: str) -> bytes:
    """Read a text from a reply's head.

    Raises:
        MessageInvalid: It is missing or no text.
    """
    value = reply.head.get(name)
    if not isinstance(value, str):
        msg = f"The reply of {reply.organisation} lacks {name!r}."
        raise MessageInvalid(msg)
    return value.encode()


def _seconds(reply: Reply, what: str) -> float:
    """Read how long a party says a step took; it only informs, so nonsense counts as nothing."""
    seconds = reply.head.get("seconds")
    value = seconds.get(what) if isinstance(seconds, dict) else None
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e6 else 0.0
