"""One secure sum as the hub drives it: (join,) commit, list, submit, decrypt, combine.

An attempt whose list does not complete is void: who is missing is left out, and the round is tried
again without them. What is about to be opened goes to the journal first, so that a restarted hub
asks the holders for exactly the same opening; they would refuse any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from federated.asking import Asker, Meter, seconds_of, text_of
from federated.cohort import Request
from federated.disputes import settle
from federated.evidence import list_key, log_list, log_sum
from federated.openings import Opening
from federated.parameters import model_digest
from federated.protocols.cohorts import read_join
from federated.protocols.secure_sum import (
    Aggregate,
    Contribution,
    Opened,
    Verified,
    add_verified,
    combine,
    list_commitments,
    read_partials,
    sum_of,
    verify_all,
    verify_contribution,
)
from federated.protocols.statements import (
    HUB,
    Commitment,
    ContributionList,
    Join,
    RoundManifest,
    read,
    sign,
)
from fusion.errors import (
    FusionError,
    MessageInvalid,
    QuorumLost,
    SumDisputed,
    VerificationFailed,
)
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.attendance import Absence, Attendance
    from federated.protocols.secure_sum import Sum
    from federated.protocols.statements import Purpose
    from federated.run import Run
    from fusion.crypto.paillier.residues import Rows
    from fusion.crypto.paillier.share_proofs import Answer

MAX_ATTEMPTS: Final = 8
"""Void lists of one round before the run is given up."""


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
        self._asker = Asker(run, attendance)

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
    ) -> Opening | None:
        """Try one list; return None when it is void."""
        run = self._run
        attempt = run.journal.next_attempt(number)
        if attempt > MAX_ATTEMPTS:
            doing = f"round {number} after {attempt - 1} tries"
            raise self._attendance.lost(run.terms.quorum, run.terms.key.threshold, doing)
        joins = self._joins(number, attempt, meter) if run.terms.masks else {}
        if run.terms.masks and len(joins) < run.terms.quorum:
            return None
        manifest = self._manifest(
            purpose, number, attempt, model_digest(model, standardisation), joins
        )
        signed = sign(manifest, run.authority, HUB)
        head = {
            "job": run.terms.job,
            "manifest": signed.decode(),
            "standardisation": dict(standardisation),
            "joins": [joins[name][1].decode() for name in sorted(joins)],
            "notices": self._attendance.news(),
        }
        request = Request("contribute", head, {"model": model})
        whom = tuple(sorted(joins)) if joins else self._attendance.present()
        commitments = self._commitments(manifest, request, whom, meter)
        # Gathering waits for those who are out, or gives up; masks cancel in the whole cohort only.
        if len(commitments) < max(run.terms.quorum, len(joins)):
            return None
        listing = list_commitments(run.terms, manifest, list(commitments.values()), run.authority)
        contributions = self._submissions(manifest, signed, listing, meter)
        if len(contributions) < len(commitments):
            return None
        opening = Opening(
            manifest=manifest,
            signed_manifest=signed,
            listing=listing,
            contributions=tuple(contributions[org][0] for org in sorted(contributions)),
            contributors=tuple(sorted(contributions)),
            verified=tuple(contributions[org][1] for org in sorted(contributions)),
        )
        run.journal.keep_opening(number, opening.document())
        return opening

    def _manifest(
        self,
        purpose: Purpose,
        number: int,
        attempt: int,
        model: str,
        joins: Mapping[OrgId, tuple[Join, bytes]],
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
            model=model,
            cohort=[joins[name][0].joined() for name in sorted(joins)],
        )

    def _joins(self, number: int, attempt: int, meter: Meter) -> dict[OrgId, tuple[Join, bytes]]:
        """Ask everyone present to join a masked sum; the cohort is frozen with who answers."""
        terms = self._run.terms
        head = {"job": terms.job, "round": number, "attempt": attempt}
        whom = self._attendance.present()
        replies = self._asker.ask("join", number, Request("join", head), whom, meter)
        joins: dict[OrgId, tuple[Join, bytes]] = {}
        for organisation, reply in replies.items():
            try:
                data = text_of(reply, "join")
                statement = read_join(terms, number, attempt, data)
                if statement.organisation != organisation:
                    msg = f"{organisation} sent the join of {statement.organisation}."
                    raise MessageInvalid(msg)
            except FusionError as error:
                self._asker.leave_out(organisation, f"sent no valid join: {error.message}", error)
                continue
            joins[organisation] = statement, data
        return joins

    def _commitments(
        self, manifest: RoundManifest, request: Request, whom: Sequence[OrgId], meter: Meter
    ) -> dict[OrgId, bytes]:
        """Ask these to compute, encrypt and commit."""
        phase = "moments" if manifest.purpose == "moments" else "train"
        phase = "evaluate" if manifest.purpose == "evaluate" else phase
        replies = self._asker.ask(phase, manifest.round, request, whom, meter)
        commitments: dict[OrgId, bytes] = {}
        slowest = {"train": 0.0, "encrypt": 0.0}
        for organisation, reply in replies.items():
            try:
                data = text_of(reply, "commitment")
                statement = read(Commitment, data, self._run.terms.parties)
                if statement.organisation != organisation:
                    msg = f"{organisation} sent a commitment of {statement.organisation}."
                    raise MessageInvalid(msg)
            except FusionError as error:
                self._asker.leave_out(
                    organisation, f"sent an invalid commitment: {error.message}", error
                )
                continue
            commitments[organisation] = data
            slowest = {what: max(s, seconds_of(reply.head, what)) for what, s in slowest.items()}
        for what, seconds in slowest.items():
            meter.add(what, seconds)
        return commitments

    def _submissions(
        self,
        manifest: RoundManifest,
        signed_manifest: bytes,
        listing: bytes,
        meter: Meter,
    ) -> dict[OrgId, tuple[Contribution, Verified]]:
        """Ask the listed to release their vectors, and verify each as it would be opened."""
        listed = read(ContributionList, listing, {HUB: self._run.terms.authority})
        log_list(self._run, manifest, listed)
        head = {
            "job": manifest.job,
            "manifest": signed_manifest.decode(),
            "list": listing.decode(),
            "announced": self._run.notary.announce(),
        }
        whom = tuple(OrgId(name) for name in listed.organisations())
        replies = self._asker.ask("submit", manifest.round, Request("submit", head), whom, meter)
        contributions: dict[OrgId, tuple[Contribution, Verified]] = {}
        for organisation, reply in replies.items():
            try:
                contribution = Contribution(
                    text_of(reply, "submission"),
                    reply.blobs.get("vector", b""),
                    reply.blobs.get("proof", b""),
                )
                verified = verify_contribution(self._run.terms, manifest, listed, contribution)
                self._run.notary.take(reply)
                if verified.organisation != organisation:
                    msg = f"{organisation} sent the submission of {verified.organisation}."
                    raise MessageInvalid(msg)
            except FusionError as error:
                self._asker.leave_out(
                    organisation, f"sent an invalid submission: {error.message}", error
                )
                continue
            contributions[organisation] = contribution, verified
        return contributions

    def _resumed(self, number: int) -> Opening | None:
        """Return what was about to be opened before a restart."""
        kept = self._run.journal.opening(number)
        return None if kept is None else Opening.of(kept, self._run.terms.authority)

    # ------------------------------------------------------------------ opening

    def _open(self, opening: Opening, meter: Meter) -> Sum:
        """Have t holders open the sum; holders that answer wrongly are named.

        Raises:
            QuorumLost: Fewer than t holders answered, however often they were asked.
            VerificationFailed: All holders answered, and fewer than t of them rightly.
            SumDisputed: The sum can't be one of well-formed contributions; names who made it so.
        """
        run = self._run
        began = run.clock.monotonic()
        # The hub checks first: what it would not open itself, it need not ask for.
        what = (run.terms, opening.manifest, opening.listing)
        verified = opening.verified or verify_all(*what, opening.contributions)
        total = add_verified(*what, verified)
        listed = read(ContributionList, opening.listing, {HUB: run.terms.authority})
        log_list(run, opening.manifest, listed)
        log_sum(run, opening.manifest, listed, total, verified)
        meter.add("aggregate", run.clock.monotonic() - began)
        self._have_witnessed(opening.manifest, meter)
        answers: dict[OrgId, Answer] = {}
        tried: set[OrgId] = set()
        for _ in range(MAX_ATTEMPTS):
            began = run.clock.monotonic()
            self._ask_holders(opening, answers, tried, meter)
            meter.add("decrypt", run.clock.monotonic() - began)
            plaintexts = self._combine(opening, total, answers, meter)
            if plaintexts is not None:
                try:
                    return sum_of(run.terms, opening.manifest, total, plaintexts)
                except SumDisputed as disputed:
                    raise settle(
                        run.terms, self._asker, opening, verified, disputed, meter
                    ) from None
            if len(tried) == len(run.terms.holders):
                break
            self._gather(f"opening round {opening.manifest.round}")
        msg = (
            f"Round {opening.manifest.round} could not be opened: {len(answers)} of "
            f"{len(run.terms.holders)} holders answered rightly, {run.terms.key.threshold} have to."
        )
        if len(tried) >= run.terms.key.threshold:
            raise VerificationFailed(msg, hint="Ask the holders to check the share they imported.")
        raise QuorumLost(msg, hint="Start the missing holders' nodes and run the study again.")

    def _have_witnessed(self, manifest: RoundManifest, meter: Meter) -> None:
        """Have the log cosigned if the cosignatures that came with the vectors are not enough.

        Raises:
            QuorumLost: Too few cosign, however often they are asked.
        """
        run, notary = self._run, self._run.notary
        for _ in range(MAX_ATTEMPTS):
            if notary.anchor(list_key(manifest)) is not None:
                return
            # Who has seen more, or less, than was announced says so, and is shown the way from it.
            announced = notary.announce()
            missing = set(notary.missing())
            whom = [name for name in self._attendance.present() if name in missing]
            request = Request("witness", {"job": run.terms.job, "announced": announced})
            replies = self._asker.ask("witness", manifest.round, request, whom, meter, leave=False)
            for organisation, reply in replies.items():
                try:
                    notary.take(reply)
                except FusionError as error:
                    self._asker.leave_out(organisation, f"did not cosign: {error.message}", error)
            if not replies:
                self._gather(f"the witnesses of round {manifest.round}")
        msg = (
            f"Round {manifest.round} is not opened: of {', '.join(run.study.organisations)}, "
            f"{notary.quorum} have to cosign that the hub logged it."
        )
        raise QuorumLost(msg, hint="Start the missing organisations' nodes; their logs say more.")

    def _ask_holders(
        self, opening: Opening, answers: dict[OrgId, Answer], tried: set[OrgId], meter: Meter
    ) -> None:
        """Collect partial decryptions until there are t more chances to combine."""
        run = self._run
        present = set(self._attendance.present())
        holders = [OrgId(h) for h in run.terms.holders if h in present and h not in tried]
        missing = max(1, run.terms.key.threshold - len(answers))
        request = Request(
            "decrypt",
            {
                "job": run.terms.job,
                "manifest": opening.signed_manifest.decode(),
                "list": opening.listing.decode(),
                "submissions": [c.submission.decode() for c in opening.contributions],
                "anchor": run.notary.anchor(list_key(opening.manifest)) or "",
            },
            opening.blobs(),
        )
        replies = self._asker.ask(
            "decrypt", opening.manifest.round, request, holders, meter, stop_at=missing, leave=False
        )
        for organisation, reply in replies.items():
            try:
                opened = Opened(reply.blobs.get("partials", b""), reply.blobs.get("proof", b""))
                answers[organisation] = read_partials(run.terms, opening.manifest, opened)
                tried.add(organisation)
            except FusionError as error:
                self._asker.leave_out(
                    organisation, f"sent an invalid partial decryption: {error}", error
                )

    def _combine(
        self,
        opening: Opening,
        total: Aggregate,
        answers: dict[OrgId, Answer],
        meter: Meter,
    ) -> Rows | None:
        """Combine, or return None when more holders are needed; drop and name wrong answers."""
        run = self._run
        if len(answers) < run.terms.key.threshold:
            return None
        run.phase("combine", opening.manifest.round, (), tuple(answers))
        began = run.clock.monotonic()
        try:
            named = {str(organisation): answer for organisation, answer in answers.items()}
            plaintexts, wrong = combine(run.terms, total, named)
        finally:
            meter.add("combine", run.clock.monotonic() - began)
        for organisation in map(OrgId, wrong):
            del answers[organisation]
            msg = f"The partial decryption of {organisation} is wrong."
            self._asker.refusal(organisation, VerificationFailed(msg))
        return plaintexts
