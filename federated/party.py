"""An organisation's side of every run: what it was asked, what it agreed to, what it answers.

A party never believes the hub: it measures each request against the terms it accepted at set-up
(:class:`~federated.protocols.secure_sum.JobTerms`), which it made from its own roster, its own
imported key and the study as the hub showed it.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from federated.anchors import Anchors
from federated.cohort import Failure, Reply, Request
from federated.data import Standardiser, moments, prepare
from federated.evidence import Evidence, PartyLog
from federated.layouts import LOSS_CAP
from federated.leave import take_leave
from federated.metrics import score_histogram
from federated.norms import bounded
from federated.notary import cosign
from federated.orders import take_order
from federated.parameters import decode_parameters, draw_of, model_digest
from federated.privacy.contribution import Part
from federated.protocols.contributor import Contributor
from federated.protocols.secure_sum import Contribution, Gate
from federated.protocols.statements import HUB, RoundManifest, read, same
from federated.requests import number, text, texts
from federated.study import Study
from federated.terms import agree
from federated.training import train_local
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.packing import quantise
from fusion.errors import ContributionRefused, FusionError, JobUnknown, MessageInvalid, Refused
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from federated.data import Prepared
    from federated.leave import Desk, Leave, Ungranted
    from federated.models.registry import Model
    from federated.privacy.contribution import Incoming
    from federated.protocols.secure_sum import JobTerms
    from fusion.connectors.files import Table
    from fusion.crypto.paillier.threshold import ThresholdKey
    from fusion.crypto.signing import SigningKey
    from fusion.identity.roster import Roster
    from fusion.ports import Clock
    from fusion.services.logbook import LogBook
    from fusion.types import OrgId

_JOB: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_JOBS: Final = 4
"""Jobs kept prepared in memory; an older one is set up again when it is asked for."""


class Keyring(Protocol):
    """The key material an organisation has imported."""

    def key(self, fingerprint: str) -> tuple[ThresholdKey, tuple[str, ...]]:
        """Return a key and its holders.

        Raises:
            fusion.errors.KeyRefused: It was never imported.
        """
        ...

    def share(self, fingerprint: str) -> int | None:
        """Return the own share of a key, if there is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What an organisation brings to every run.

    Attributes:
        organisation: Its identifier.
        key: Signs its statements.
        roster: Returns the roster as the organisation knows it now.
        keyring: Imported keys and shares.
        log: What must survive a restart.
        read: Returns the columns of a dataset by the study's name for it.
        min_group: The organisation's own floor on the size of a sum.
        studies: Digests of the studies that are allowed; empty when all are.
        clock: For how long steps took.
        note: Writes a line to the organisation's own log.
        book: Its log of evidence, with the keys that it cosigns other logs with.
        witnesses: How many of a study's organisations have to have cosigned that the hub logged a
            round before this one opens it; 0 for more than half.
        desk: Where it decides what its grants allow; ``None`` if it works without grants.
    """

    organisation: OrgId
    key: SigningKey
    roster: Callable[[], Roster]
    keyring: Keyring
    log: PartyLog
    read: Callable[[Study], Table]
    min_group: int
    studies: frozenset[str] = frozenset()
    clock: Clock
    note: Callable[[str], None]
    book: LogBook
    witnesses: int = 0
    desk: Desk | None


@dataclass(slots=True)
class _Job:
    """A job this party takes part in."""

    study: Study
    terms: JobTerms
    model: Model
    contributor: Contributor
    gate: Gate | None
    data: Prepared
    leave: Leave | Ungranted
    roster: Roster
    standardised: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=dict
    )

    def standardise(
        self, document: Mapping[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return train and hold-out rows under a standardisation; the last one is kept."""
        name = canonical.encode(dict(document))
        if name not in self.standardised:
            by = Standardiser.from_json(dict(document))
            by.check(self.study)
            self.standardised = {name: (by.apply(self.data.train_x), by.apply(self.data.holdout_x))}
        return self.standardised[name]


class Party:
    """Answers the requests of runs; see :class:`federated.cohort.Request` for their kinds."""

    def __init__(self, seat: Seat) -> None:
        """Take a seat."""
        self._seat = seat
        self._log = Evidence(seat.log, seat.clock)
        self._jobs: dict[str, _Job] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def organisation(self) -> OrgId:
        """Whose it is."""
        return self._seat.organisation

    def handle(self, request: Request) -> Reply:
        """Answer one request; a refusal is an answer, and is noted in the own log."""
        answer = {
            "hello": self._hello,
            "setup": self._set_up,
            "join": self._join,
            "contribute": self._contribute,
            "submit": self._submit,
            "witness": self._witness,
            "decrypt": self._decrypt,
            "dispute": self._dispute,
            "close": self._close,
        }[request.kind]
        try:
            for notice in texts(request.head, "notices"):
                self._seat.note(f"the hub reports: {notice}")
            if request.kind == "hello":
                return answer(request)
            # Requests of one job are answered one after the other, whichever run they came by.
            with self._lock_of(text(request.head, "job")):
                return answer(request)
        except FusionError as error:
            self._note_error(f"{request.kind} refused", error)
            return Reply(self._seat.organisation, failure=Failure.of(error))

    def _note_error(self, what: str, error: FusionError) -> None:
        """Write an error to the own log, with the details that nobody else is told."""
        self._seat.note(f"{what}: {error}")
        for detail in getattr(error, "__notes__", []):
            self._seat.note(f"  {detail}")

    def _lock_of(self, job: str) -> threading.Lock:
        if not _JOB.fullmatch(job):
            msg = "A request names no job."
            raise MessageInvalid(msg)
        with self._lock:
            return self._locks.setdefault(job, threading.Lock())

    # ------------------------------------------------------------------ set-up

    def _hello(self, request: Request) -> Reply:
        del request
        return self._reply({})

    def _set_up(self, request: Request) -> Reply:
        """Agree to a study, or say why not, before anything is computed for it."""
        name = text(request.head, "job")
        study = Study.from_canonical(text(request.head, "study").encode())
        fingerprint = text(request.head, "key")
        kept = self._seat.log.job(name)
        if kept is not None and kept != (study.canonical(), fingerprint):
            msg = f"Job {name} was set up with another study or key."
            raise Refused(msg, hint="Start a new job.")
        if name not in self._jobs:
            try:
                order = text(request.head, "order").encode() if "order" in request.head else None
                self._remember(name, self._agree(name, study, fingerprint, order))
            except FusionError as error:
                self._log.refused(name, study, error.code)
                raise
        self._jobs[name].leave.check()
        if kept is None:
            self._log.agreed(name, study, fingerprint)
            self._seat.note(f"job {name}: study {study.name} ({study.digest()[:16]}) agreed to")
        return self._reply({"engine": current().name})

    def _remember(self, name: str, job: _Job) -> None:
        with self._lock:
            self._jobs[name] = job
            while len(self._jobs) > MAX_JOBS:
                self._jobs.pop(next(iter(self._jobs)))

    def _agree(self, name: str, study: Study, fingerprint: str, order: bytes | None) -> _Job:
        seat = self._seat
        roster = seat.roster()
        if seat.organisation not in study.organisations:
            msg = f"The study {study.name} does not name {seat.organisation}."
            raise Refused(msg)
        if study.quorum < seat.min_group:
            msg = (
                f"{seat.organisation} only contributes to sums of at least {seat.min_group} "
                f"organisations; the study's quorum is {study.quorum}."
            )
            raise Refused(msg, hint="Raise `quorum` in the study.", study_key="study.quorum")
        if seat.studies and study.digest() not in seat.studies:
            msg = f"{seat.organisation} has not allowed the study {study.name} ({study.digest()})."
            raise Refused(msg, hint="Its operator adds the digest to `studies` in node.toml.")
        key, holders = seat.keyring.key(fingerprint)
        terms, model = agree(study, name, roster, key, holders, floor=seat.min_group)
        take_order(self._log, roster, name, study, order, seat.clock)
        # Charged before data is read, and not given back for what is found in it: whether a
        # column fits is an answer too.
        leave = take_leave(seat.desk, seat.organisation, name, study, seat.clock)
        data = prepare(study, seat.read(study))
        for notice in data.notices:
            seat.note(f"job {name}: {notice}")
        share = seat.keyring.share(fingerprint)
        evidence = Anchors(seat.book, roster, study.organisations, seat.witnesses)
        gate = None if share is None else Gate(terms, seat.organisation, share, self._log, evidence)
        contributor = Contributor(terms, seat.organisation, seat.key, self._log)
        return _Job(study, terms, model, contributor, gate, data, leave, roster)

    # ------------------------------------------------------------------ a round

    def _join(self, request: Request) -> Reply:
        """Join an attempt of a masked sum."""
        job = self._job(request)
        job.leave.begin()
        join = job.contributor.join(number(request.head, "round"), number(request.head, "attempt"))
        return self._reply({"join": join.decode()})

    def _contribute(self, request: Request) -> Reply:
        """Compute, encrypt and commit."""
        job = self._job(request)
        manifest = self._manifest(job, request)
        job.contributor.check(manifest)
        began = self._seat.clock.monotonic()
        commitment = job.contributor.committed(manifest)
        trained = began
        if commitment is None:
            slots = self._slots(job, manifest, request)
            trained = self._seat.clock.monotonic()
            job.leave.begin()
            joins = [text.encode() for text in texts(request.head, "joins")]
            commitment = job.contributor.commit(manifest, slots, joins)
            if job.study.noise is not None:
                began = trained  # how long training takes tells how many rows there are
        done = self._seat.clock.monotonic()
        # Encrypting is not interrupted; what came of it stays here if the grant is gone.
        job.leave.check()
        return self._reply(
            {
                "commitment": commitment.decode(),
                "seconds": {"train": trained - began, "encrypt": done - trained},
            }
        )

    def _slots(self, job: _Job, manifest: RoundManifest, request: Request) -> NDArray[np.uint64]:
        """Compute a contribution as whole numbers, with its noise if the study is private."""
        layout, moments_only = job.terms.layout(manifest), manifest.purpose == "moments"
        if job.study.noise is not None:
            incoming = None if moments_only else self._model_of(job, manifest, request)
            part = Part(job.study, job.model, job.data, job.leave.watch)
            return part.slots(layout, manifest.purpose, incoming)
        values = self._values(job, manifest, request)
        quantised = quantise(layout, values)
        if quantised.clipped and manifest.purpose == "train":
            values["clipped"] = np.array([float(quantised.clipped)])
            quantised = quantise(layout, values)
            self._seat.note(
                f"job {manifest.job}, round {manifest.round}: {quantised.clipped} coordinates "
                f"of the update were clipped to {job.study.aggregation.clip}"
            )
        return quantised.slots

    def _model_of(self, job: _Job, manifest: RoundManifest, request: Request) -> Incoming:
        """Return the model that came in, and the rows that train and judge, standardised.

        Raises:
            ContributionRefused: It is not the model that the manifest names.
            MessageInvalid: Model or standardisation is not well formed.
        """
        blob = request.blobs.get("model", b"")
        standardisation = request.head.get("standardisation")
        if not isinstance(standardisation, dict):
            msg = "A round needs its standardisation."
            raise MessageInvalid(msg)
        if not same(manifest.model, model_digest(blob, standardisation)):
            msg = "The model that came is not the one the manifest names."
            raise ContributionRefused(msg)
        params = decode_parameters(blob, job.terms.layouts["train"].tensors[0].size)
        return params, *job.standardise(standardisation)

    def _values(
        self, job: _Job, manifest: RoundManifest, request: Request
    ) -> dict[str, NDArray[np.float64]]:
        """Compute the tensors of a contribution in the clear; they never leave this process."""
        if manifest.purpose == "moments":
            return {"moments": moments(job.study, job.data.train_x)}
        params, train_x, holdout_x = self._model_of(job, manifest, request)
        # Within the bounds on model and standardisation scores are numbers; if not, no reply tells.
        scores = np.nan_to_num(job.model.scores(params, holdout_x), nan=0.5)
        values = quality(job.study, scores, job.data.holdout_y)
        if manifest.purpose == "train":
            update = train_local(
                job.study, job.model, params, train_x, job.data.train_y,
                round_number=draw_of(manifest.round, manifest.attempt), org=self._seat.organisation,
                watch=job.leave.watch,
            )  # fmt: skip
            values["update"] = bounded(job.study, update.delta) * (update.rows / job.study.max_rows)
            values["rows"] = np.array([float(update.rows)])
            values["clipped"] = np.zeros(1)
        return values

    def _submit(self, request: Request) -> Reply:
        """Release the vector for the list, with its proof."""
        job = self._job(request)
        manifest = self._manifest(job, request)
        # First: nothing leaves for a hub that shows another history than before.
        cosigned = self._cosigned(job, request) if "announced" in request.head else {}
        released = job.contributor.submit(manifest, text(request.head, "list").encode())
        return self._reply(
            {"submission": released.submission.decode(), **cosigned},
            {"vector": released.vector, "proof": released.proof},
        )

    def _witness(self, request: Request) -> Reply:
        """Cosign the hub's log, if it goes on from what was seen of it."""
        return self._reply(self._cosigned(self._job(request), request))

    def _cosigned(self, job: _Job, request: Request) -> Mapping[str, Any]:
        return cosign(self._seat.book, job.roster, text(request.head, "announced"))

    def _decrypt(self, request: Request) -> Reply:
        """Check everything again, and partially decrypt the sum."""
        job = self._job(request)
        manifest = self._manifest(job, request)
        job.contributor.check_listed(manifest, text(request.head, "list").encode())
        if job.gate is None:
            msg = f"{self._seat.organisation} holds no share of the study's key."
            raise Refused(msg, hint="Name only holders that imported their share.")
        job.leave.begin()
        contributions = [
            Contribution(
                text.encode(),
                request.blobs.get(f"vector-{index}", b""),
                request.blobs.get(f"proof-{index}", b""),
            )
            for index, text in enumerate(texts(request.head, "submissions"))
        ]
        listing, anchor = (text(request.head, name).encode() for name in ("list", "anchor"))
        opened = job.gate.open(manifest, listing, contributions, anchor)
        self._seat.note(
            f"job {manifest.job}, round {manifest.round}: sum opened ({manifest.purpose})"
        )
        return self._reply({}, {"partials": opened.partials, "proof": opened.proof})

    def _dispute(self, request: Request) -> Reply:
        """Prove that a contribution to an opened sum was in range where the sum is not."""
        job = self._job(request)
        manifest = self._manifest(job, request)
        index = number(request.head, "plaintext")
        self._seat.note(
            f"job {manifest.job}, round {manifest.round}: the sum is disputed (plaintext {index})"
        )
        listing = text(request.head, "list").encode()
        defence, proof = job.contributor.defend(manifest, listing, index)
        return self._reply({"defence": defence.decode()}, {"proof": proof})

    def _close(self, request: Request) -> Reply:
        """Forget the vectors of a finished job."""
        name = text(request.head, "job")
        with self._lock:
            job = self._jobs.pop(name, None)
            self._locks.pop(name, None)
        if job is not None:
            job.leave.give_up()
        status = text(request.head, "status")
        self._log.ended(name, done=status == "done")
        self._seat.note(f"job {name}: {status}")
        return self._reply({})

    # ------------------------------------------------------------------ reading requests

    def _job(self, request: Request) -> _Job:
        name = text(request.head, "job")
        job = self._jobs.get(name)
        if job is not None:
            job.leave.check()
            return job
        kept = self._seat.log.job(name)
        if kept is None:
            msg = f"{self._seat.organisation} was not set up for job {name[:63]!r}."
            raise JobUnknown(msg, hint="The hub sets the party up again.")
        # Agreed to before this process started: the same checks, the same terms.
        job = self._agree(name, Study.from_canonical(kept[0]), kept[1], self._log.order(name))
        self._remember(name, job)
        return job

    def _manifest(self, job: _Job, request: Request) -> RoundManifest:
        data = text(request.head, "manifest").encode()
        return read(RoundManifest, data, {HUB: job.terms.authority})

    def _reply(self, head: Mapping[str, Any], blobs: Mapping[str, bytes] | None = None) -> Reply:
        return Reply(self._seat.organisation, head, blobs or {})


def quality(
    study: Study, scores: NDArray[np.float64], labels: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return loss and score histogram of a model on the hold-out, ready for the sum."""
    right = np.where(labels > 0, scores, 1.0 - scores)
    losses = np.minimum(-np.log(np.maximum(right, 1e-300)), LOSS_CAP)
    return {
        "loss": np.array([float(losses.sum()) / (LOSS_CAP * study.max_rows)]),
        "histogram": score_histogram(scores, labels, study.aggregation.score_bins),
    }
