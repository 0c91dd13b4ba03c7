"""The round engine over an in-process cohort: what is learned, who is left out, who comes back."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated.cohort import Reply, Request
from federated.comparison import compare
from federated.data import Standardiser, prepare
from federated.metrics import auc
from federated.models.registry import build
from federated.parameters import encode_parameters, model_digest
from federated.party import Party
from federated.protocols.statements import HUB, RoundManifest, sign
from federated.tables import read_columns
from federated.terms import agree
from fusion.crypto.paillier.engines.selection import current
from fusion.errors import FusionError, PartyFailed, QuorumLost
from fusion.stores.journal import SqliteJournal
from tests.federation import NAMES, STUDY, federation, write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.keys import Dealt


def test_four_parties_train_a_model_that_is_better_than_chance(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)
    run.run().run()
    metrics = run.of("metrics")
    assert [event["round"] for event in metrics] == [0, 1, 2]
    assert metrics[-1]["auc"] > 0.7
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert [event["contributors"] for event in run.of("round")] == [sorted(NAMES)] * 4


def test_the_mean_update_is_that_computed_in_the_clear(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    run.journal = SqliteJournal(tmp_path / "journal.sqlite")
    run.run().run()
    tables = {str(name): tmp_path / f"{name}.csv" for name in NAMES}
    result = compare(run.study, tables, tmp_path / "journal.sqlite")
    # max_rows is five times an organisation's rows here, and so is the error.
    assert result["max_abs_error_vs_plain"] < 5e-6
    assert [row["id"] for row in result["organisations"]] == list(NAMES)
    assert result["auc"]["joint"] > 0.7


def test_the_summed_histogram_gives_the_auc_on_all_hold_outs(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    parameters = run.run().run()
    last = run.journal.last_round()
    assert last is not None
    standardiser = Standardiser.from_json(dict(last[1]["standardisation"]))
    data = [prepare(run.study, read_columns(run.study, tmp_path / f"{n}.csv")) for n in NAMES]
    model = build(run.study, data[0].train_x.shape[1])
    scores = np.concatenate(
        [model.scores(parameters, standardiser.apply(d.holdout_x)) for d in data]
    )
    labels = np.concatenate([d.holdout_y for d in data])
    assert run.of("metrics")[-1]["auc"] == pytest.approx(auc(scores, labels), abs=0.01)


@pytest.mark.parametrize("optimiser", ["fedavg", "fedavgm", "fedadam"])
def test_every_optimiser_learns(tmp_path: Path, dealt: Dealt, optimiser: str) -> None:
    study = STUDY.replace('kind = "fedavg"', f'kind = "{optimiser}"')
    run = federation(tmp_path, dealt, study=study.replace("rounds = 2", "rounds = 3"))
    run.run().run()
    assert run.of("metrics")[-1]["auc"] > run.of("metrics")[0]["auc"]


def _during(kind: str, *, round_number: int) -> Callable[[Request], bool]:
    """Be away for one kind of request in one round, and for greetings until the round after."""

    def away(request: Request) -> bool:
        number = re.search(rb'"round":(\d+)', _manifest_bytes(request))
        return request.kind == kind and number is not None and int(number[1]) == round_number

    return away


def _manifest_bytes(request: Request) -> bytes:
    text = request.head.get("manifest")
    if not isinstance(text, str):
        return b""
    return base64.b64decode(json.loads(text)["payload"])


def test_a_holder_lost_at_the_opening_is_not_needed(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    run.parties[NAMES[0]].away = lambda request: request.kind == "decrypt"
    run.run().run()
    assert all(len(event["contributors"]) == 4 for event in run.of("round"))


@pytest.mark.parametrize(("kind", "phase"), [("contribute", "train"), ("submit", "submit")])
def test_a_party_lost_in_mid_round_is_left_out_and_comes_back(
    tmp_path: Path, dealt: Dealt, kind: str, phase: str
) -> None:
    run = federation(tmp_path, dealt)
    run.study = replace(run.study, rounds=3)
    run.parties[NAMES[0]].away = _during(kind, round_number=1)
    run.run().run()
    rounds = {event["round"]: event for event in run.of("round")}
    assert [entry["organisation"] for entry in rounds[1]["absent"]] == [NAMES[0]]
    assert rounds[1]["absent"][0]["since"]
    assert phase in rounds[1]["absent"][0]["reason"]
    assert len(rounds[1]["contributors"]) == 3
    assert len(rounds[2]["contributors"]) == 4
    assert not rounds[2]["absent"]
    assert [event["organisation"] for event in run.of("setup") if event["status"] == "back"] == [
        NAMES[0]
    ]


def test_a_restarted_run_knows_since_when_a_party_is_out(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    run.journal.keep_absences({NAMES[0]: "2026-01-01T00:00:00Z", NAMES[1]: "2026-01-02T00:00:00Z"})
    run.parties[NAMES[0]].away = lambda _: True
    run.run().run()
    assert {entry["since"] for entry in run.of("round")[0]["absent"]} == {"2026-01-01T00:00:00Z"}
    # Who is there again is no longer out.
    assert set(run.journal.absences()) == {NAMES[0]}


def test_others_are_told_who_is_out_and_why(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    run.parties[NAMES[0]].away = lambda request: request.kind == "contribute"
    run.run().run()
    assert any(f"{NAMES[0]} is left out at" in note for note in run.notes[NAMES[1]])


def test_below_quorum_the_run_stops_and_says_who_is_missing_since_when(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)
    for name in NAMES[:2]:
        run.parties[name].away = lambda request: request.kind != "setup"
    with pytest.raises(QuorumLost, match=r"north since \d{4}-.*east since \d{4}-") as caught:
        run.run().run()
    assert caught.value.exit_code == 6


def test_below_quorum_at_set_up_nothing_is_trained(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    for name in NAMES[:2]:
        run.parties[name].away = lambda _: True
    with pytest.raises(QuorumLost):
        run.run().run()
    assert "contribute" not in run.parties[NAMES[3]].asked


def test_too_few_holders_stop_the_run(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    for name in NAMES[:2]:
        run.parties[name].away = lambda request: request.kind in {"decrypt", "hello"}
    with pytest.raises(QuorumLost):
        run.run().run()


def test_a_wrong_partial_decryption_is_named_and_the_round_completes(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)

    def instead(request: Request, reply: Reply) -> Reply:
        if request.kind != "decrypt":
            return reply
        data = bytearray(reply.blobs["partials"])
        data[-1] ^= 1
        return replace(reply, blobs={**reply.blobs, "partials": bytes(data)})

    run.parties[NAMES[0]].instead = instead
    run.run().run()
    assert {event["organisation"] for event in run.of("refusal")} == {NAMES[0]}


@pytest.mark.parametrize(
    "damage",
    [
        lambda reply: replace(reply, head={}),
        lambda reply: replace(reply, head={"commitment": "{}", "submission": "{}"}),
        lambda reply: replace(reply, head={"commitment": 5, "submission": 5}),
        lambda reply: replace(reply, head={"commitment": "x" * 2**20, "submission": ""}),
    ],
)
def test_a_party_that_answers_nonsense_is_left_out_by_name(
    tmp_path: Path, dealt: Dealt, damage: Callable[[Reply], Reply]
) -> None:
    run = federation(tmp_path, dealt)
    run.parties[NAMES[2]].instead = lambda request, reply: (
        damage(reply) if request.kind in {"contribute", "submit"} else reply
    )
    run.run().run()
    assert all(NAMES[2] not in event["contributors"] for event in run.of("round"))
    assert {event["organisation"] for event in run.of("refusal")} == {NAMES[2]}


def test_a_vector_that_is_not_what_was_signed_does_not_stop_the_others(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)

    def instead(request: Request, reply: Reply) -> Reply:
        if request.kind != "submit":
            return reply
        return replace(reply, blobs={**reply.blobs, "vector": reply.blobs["vector"][:-1]})

    run.parties[NAMES[2]].instead = instead
    run.run().run()
    assert all(NAMES[2] not in event["contributors"] for event in run.of("round"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,work,rich\n", "empty"),
        ("age,work,rich\n" + "40,desk,yes\n" * 50, "class"),
        ("age,work,rich\n" + "40,desk,yes\nnan,desk,no\n" * 50, "age"),
        ("age,work,rich\n" + "40,desk,yes\ninf,desk,no\n" * 50, "age"),
        ("age,work,rich\n" + "40,desk,yes\nold,desk,no\n" * 50, "age"),
        ("age,work,rich\n" + "40,desk,yes\n41,sea,no\n" * 50, "work"),
        ("age,rich\n" + "40,yes\n41,no\n" * 50, "work"),
    ],
)
def test_bad_data_stops_the_run_before_it_starts_and_names_the_party(
    tmp_path: Path, dealt: Dealt, text: str, message: str
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(text, "utf-8")
    run = federation(tmp_path, dealt, tables={"south": bad})
    with pytest.raises(PartyFailed, match=f"^south: .*{message}") as caught:
        run.run().run()
    assert caught.value.exit_code == 2
    assert all("contribute" not in party.asked for party in run.parties.values())
    assert "sea" not in str(caught.value)
    assert "old" not in str(caught.value).split()


def test_a_refusal_says_which_key_of_the_study_it_is_about(tmp_path: Path, dealt: Dealt) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("age,work,rich\n" + "40,desk,yes\n41,sea,no\n" * 50, "utf-8")
    run = federation(tmp_path, dealt, tables={"south": bad})
    keys: list[str] = []

    def look(_: Request, reply: Reply) -> Reply:
        keys.extend([reply.failure.study_key] if reply.failure else [])
        return reply

    run.parties[NAMES[2]].instead = look
    with pytest.raises(PartyFailed):
        run.run().run()
    assert keys == ["columns.work"]


def test_an_update_beyond_the_clip_is_counted_and_reported(tmp_path: Path, dealt: Dealt) -> None:
    study = STUDY.replace("[deadlines]", "[aggregation]\nclip = 0.0001\n\n[deadlines]")
    run = federation(tmp_path, dealt, study=study)
    run.run().run()
    assert run.of("round")[1]["clipped"] > 0
    assert any("clipped" in note for note in run.notes[NAMES[0]])


def test_a_restarted_hub_goes_on_where_it_was(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    run.journal = SqliteJournal(tmp_path / "journal.sqlite")

    class Killed(BaseException):
        """Stands for kill -9 at this point."""

    def die(request: Request, reply: Reply) -> Reply:
        if request.kind == "decrypt" and len(run.of("round")) == 2:
            raise Killed
        return reply

    run.parties[NAMES[1]].instead = die
    with pytest.raises(Killed):
        run.run().run()
    run.parties[NAMES[1]].instead = None
    before = [party.asked.count("contribute") for party in run.parties.values()]
    run.run().run()
    assert [event["round"] for event in run.of("round")] == [0, 1, 2, 3]
    # The sum that was about to be opened is opened; nobody computes it again.
    after = [party.asked.count("contribute") for party in run.parties.values()]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1] * 4
    assert run.of("metrics")[-1]["auc"] > 0.7


def test_a_restarted_party_goes_on_where_it_was(tmp_path: Path, dealt: Dealt) -> None:
    """All that a party holds in memory can be lost between any two requests."""
    run = federation(tmp_path, dealt)

    class Forgetful:
        def __init__(self, seat: object) -> None:
            self.seat = seat

        def handle(self, request: Request) -> Reply:
            return Party(self.seat).handle(request)  # type: ignore[arg-type]

    run.parties[NAMES[0]].party = Forgetful(run.parties[NAMES[0]].party._seat)  # type: ignore[assignment]
    run.run().run()
    assert len(run.of("round")[-1]["contributors"]) == 4
    assert not run.of("refusal")


def test_a_quorum_below_a_partys_own_floor_is_refused(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt, study=STUDY.replace("quorum = 3", "quorum = 2"))
    with pytest.raises(PartyFailed, match="at least 3") as caught:
        run.run().run()
    assert caught.value.exit_code == 4


def test_every_party_says_which_engine_computes(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    run.parties[NAMES[1]].instead = lambda request, reply: (
        Reply(reply.organisation, {"engine": "<abacus>"}) if request.kind == "setup" else reply
    )
    run.run().run()
    said = {event["organisation"]: event.get("engine") for event in run.of("setup")}
    assert said == {name: None if name == NAMES[1] else current().name for name in NAMES}


def test_the_hub_sees_no_count_mean_or_score_of_a_party(tmp_path: Path, dealt: Dealt) -> None:
    """What a party sends is a commitment, a submission, a ciphertext and a partial decryption."""
    run = federation(tmp_path, dealt)
    seen: dict[str, set[str]] = {}

    def look(request: Request, reply: Reply) -> Reply:
        seen.setdefault(request.kind, set()).update(reply.head, reply.blobs)
        return reply

    run.parties[NAMES[0]].instead = look
    run.run().run()
    assert seen == {
        "setup": {"engine"},  # which of three names
        "contribute": {"commitment", "seconds"},
        # Cosignatures of the hub's log, with the keys they are made with, are public.
        "submit": {"submission", "vector", "proof", "cosigned", "log_keys"},
        "decrypt": {"partials", "proof"},
    }


def test_same_data_same_seed_same_model(tmp_path: Path, dealt: Dealt) -> None:
    first = federation(tmp_path, dealt)
    second = federation(tmp_path, dealt)
    assert first.run().run().tolist() == second.run("other").run().tolist()


def test_every_failure_is_an_error_with_a_code(tmp_path: Path, dealt: Dealt) -> None:
    empty = write_table(tmp_path / "few.csv", rows=1)
    run = federation(tmp_path, dealt, tables={"north": empty})
    with pytest.raises(FusionError) as caught:
        run.run().run()
    assert re.fullmatch(r"F-\d{3}", caught.value.code)


@pytest.mark.parametrize(
    ("parameter", "standardisation"),
    [
        (1e7, {"mean": [50.0], "scale": [20.0]}),
        (float("nan"), {"mean": [50.0], "scale": [20.0]}),
        (0.0, {"mean": [50.0], "scale": [1e-12]}),
        (0.0, {"mean": [500.0], "scale": [20.0]}),
        (0.0, {"mean": [50.0], "scale": [2000.0]}),
        (0.0, {"mean": [], "scale": []}),
    ],
)
def test_what_no_training_leads_to_is_refused_before_data_is_touched(
    tmp_path: Path, dealt: Dealt, parameter: float, standardisation: dict[str, list[float]]
) -> None:
    """A hub that chose these freely could read a cell from whether a round fails."""
    run = federation(tmp_path, dealt)
    run.run().run()
    party = run.parties[NAMES[0]].party
    terms, model = agree(run.study, "another", run.roster, run.key, NAMES)
    setup = {
        "job": "another",
        "study": run.study.canonical().decode(),
        "key": run.key.public.fingerprint,
    }
    assert party.handle(Request("setup", setup)).failure is None
    blob = encode_parameters(np.full(model.initial(1).size, parameter))
    manifest = RoundManifest(
        job="another",
        study=terms.study,
        round=1,
        attempt=1,
        purpose="train",
        key=terms.key.public.fingerprint,
        layout=terms.layouts["train"].digest,
        contributors=4,
        quorum=3,
        model=model_digest(blob, standardisation),
    )
    head = {
        "job": "another",
        "manifest": sign(manifest, run.hub, HUB).decode(),
        "standardisation": standardisation,
    }
    failure = party.handle(Request("contribute", head, {"model": blob})).failure
    assert failure is not None
    assert failure.code == "F-503"


def test_a_study_that_was_not_allowed_is_refused_by_its_digest(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)
    seat = run.parties[NAMES[0]].party._seat
    run.parties[NAMES[0]].party = Party(replace(seat, studies=frozenset({"0" * 64})))
    with pytest.raises(PartyFailed, match=run.study.digest()):
        run.run().run()
    run.parties[NAMES[0]].party = Party(replace(seat, studies=frozenset({run.study.digest()})))
    run.run("second").run()


def test_another_attempt_draws_other_batches_and_is_replayed_as_it_was(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)
    run.journal = SqliteJournal(tmp_path / "journal.sqlite")
    run.parties[NAMES[0]].away = _during("submit", round_number=1)
    run.run().run()
    assert run.of("round")[1]["attempts"] == 2
    tables = {str(name): tmp_path / f"{name}.csv" for name in NAMES}
    result = compare(run.study, tables, tmp_path / "journal.sqlite")
    assert result["max_abs_error_vs_plain"] < 5e-6


MASKED = STUDY.replace("[deadlines]", "[aggregation]\nmasks = true\n\n[deadlines]")


def test_masked_sums_give_the_same_model(tmp_path: Path, dealt: Dealt) -> None:
    bare = federation(tmp_path, dealt)
    masked = federation(tmp_path, dealt, study=MASKED)
    assert masked.run().run().tolist() == bare.run().run().tolist()
    assert masked.parties[NAMES[0]].asked.count("join") == 4
    assert "join" not in bare.parties[NAMES[0]].asked
    assert {event["phase"] for event in masked.of("phase")} >= {"join", "train", "submit"}


@pytest.mark.parametrize("kind", ["join", "contribute", "submit"])
def test_a_party_lost_in_a_masked_round_voids_its_attempt_and_is_left_out(
    tmp_path: Path, dealt: Dealt, kind: str
) -> None:
    run = federation(tmp_path, dealt, study=MASKED)
    run.parties[NAMES[0]].away = lambda request: request.kind in {kind, "hello"}
    run.run().run()
    rounds = run.of("round")
    assert all(NAMES[0] not in event["contributors"] for event in rounds)
    assert rounds[0]["attempts"] == (1 if kind == "join" else 2)
    assert run.of("metrics")[-1]["auc"] > 0.7
