"""Doing a job at the hub: from its folder to its end, whatever the cohort and however it ends."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from federated.ending import conclude, done, ended_by
from federated.evidence import log_model, log_start
from federated.notary import Notary
from federated.revocations import revocation_watch
from federated.rounds import RoundEngine
from federated.run import Run
from federated.study import parse_study
from federated.study_lines import place_in
from federated.terms import agree
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.keys import RANDOMISER
from fusion.errors import FusionError
from fusion.services.files import write_atomic
from fusion.services.keys import Keyring
from fusion.services.ledger import Book

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from federated.cohort import Cohort
    from federated.ending import Emit
    from federated.jobs import JobFolder
    from federated.models.registry import Model
    from federated.study import Study
    from fusion.ports import Clock
    from fusion.services.homes import HubHome
    from fusion.types import OrgId


def do_job(
    hub: HubHome,
    job: JobFolder,
    cohort_of: Callable[[Mapping[OrgId, str]], Cohort],
    clock: Clock,
    pause: Callable[[float], None],
) -> None:
    """Run a job to its end and write down how it ended; only a crash leaves it open.

    Args:
        hub: The hub's folder.
        job: The job's folder; the caller holds its lock.
        cohort_of: Makes the cohort from each organisation's fleet key.
        clock: Time.
        pause: Waits some seconds.
    """
    book = Book(hub, clock)

    def work(emit: Emit) -> dict[str, Any]:
        return _worked(hub, job, cohort_of, clock, pause, book, emit)

    conclude(job, book, clock, work)


def _worked(
    hub: HubHome,
    job: JobFolder,
    cohort_of: Callable[[Mapping[OrgId, str]], Cohort],
    clock: Clock,
    pause: Callable[[float], None],
    book: Book,
    emit: Emit,
) -> dict[str, Any]:
    """Run a job; return how it has ended."""
    text = job.study.read_text("utf-8")
    study = parse_study(text, job.origin)
    roster = hub.roster()
    key = Keyring(hub.paillier).fitting(study.key.bits, study.key.threshold, study.key.holders)
    _, holders = Keyring(hub.paillier).key(key.public.fingerprint)
    terms, model = agree(study, job.name, roster, key, holders)
    cohort = cohort_of({org: roster.member(org).fleet_key for org in study.organisations})
    revoked = revocation_watch(hub, study, lambda _: None)
    run = Run(
        study=study, terms=terms, model=model, authority=hub.authority_key, cohort=cohort,
        journal=job.journal(), clock=clock, emit=emit, pause=pause,
        stopping=lambda: job.stop_wanted.exists() or revoked(),
        place=place_in(text, job.origin), order=job.order(),
        notary=Notary(book, roster, study.organisations),
    )  # fmt: skip
    log_start(run)
    emit(start_event(run))
    engine = RoundEngine(run)
    ending = done()
    try:
        parameters = engine.run()
        document = model_document(study, model, parameters, run)
        log_model(run, hashlib.sha256(document).hexdigest())
        write_atomic(job.model, document)
    except FusionError as error:
        ending = ended_by(error)
    engine.close(ending["message"] or "done")
    return ending


def start_event(run: Run) -> dict[str, Any]:
    """Return what is known before anything is asked."""
    study, terms = run.study, run.terms
    layout = terms.layouts["train"]
    return {
        "event": "start",
        "job": terms.job,
        "study": study.name,
        "model": study.model.kind,
        "optimiser": study.optimiser.kind,
        "organisations": list(study.organisations),
        "quorum": terms.quorum,
        "rounds": study.rounds,
        "parameters": layout.tensors[0].size,
        "bytes_per_parameter": layout.plaintexts * layout.key_bits / 4 / layout.size,
        "key": {
            "bits": terms.key.public.bits,
            "holders": len(terms.holders),
            "threshold": terms.key.threshold,
            "randomiser": RANDOMISER,
        },
        "engine": current().name,
        "masks": terms.masks,
        **privacy_facts(study),
    }


def privacy_facts(study: Study) -> dict[str, Any]:
    """Return what is protected, and how much noise that takes; nothing if it is not asked for."""
    if study.privacy is None or study.noise is None:
        return {}
    return {
        "privacy": {
            "unit": "row",
            "epsilon_micro": study.privacy.epsilon_micro,
            "delta": study.privacy.delta,
            "clip_norm": study.privacy.clip_norm,
            "colluders": study.privacy.colluders,
            "noise_multiplier": study.noise.noise_multiplier,
        }
    }


def model_document(study: Study, model: Model, parameters: NDArray[np.float64], run: Run) -> bytes:
    """Return the finished model as JSON: shapes, parameters, standardisation, privacy."""
    last = run.journal.last_round()
    document = {
        "schema": "banyan.model/1",
        "study": study.digest(),
        "kind": study.model.kind,
        "shapes": [[name, list(shape)] for name, shape in model.shapes],
        "parameters": [float(value) for value in parameters],
        "standardisation": last[1]["standardisation"] if last else {},
        **privacy_facts(study),
    }
    return json.dumps(document, indent=1).encode()
