"""What a key holder refuses to open: whatever it is not shown to be in a witnessed log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from federated.cohort import Reply
from federated.notary import Notary, cosign
from federated.protocols.statements import HUB, ContributionList, read
from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, LedgerBroken, Unwitnessed, VerificationFailed
from fusion.identity.members import AUTHORITY
from fusion.ledger import entry as entries
from fusion.ledger.anchor import Anchor, Announcement
from fusion.ledger.checkpoint import parse
from fusion.ledger.entry import encode
from fusion.services.logbook import LogBook
from fusion.stores.memory_ledger import MemoryLedger
from fusion.types import OrgId
from tests.books import memory_book
from tests.federation import NAMES, Flaky
from tests.federation import federation as whole_federation
from tests.ledger.made import AT
from tests.sums import NAMES as LETTERS
from tests.sums import Federation, federation_of

if TYPE_CHECKING:
    from pathlib import Path

    from federated.cohort import Request
    from federated.protocols.secure_sum import Contribution
    from federated.protocols.statements import RoundManifest
    from tests.keys import Dealt


@dataclass
class Round:
    """A round that is ready to be opened, and what shows so."""

    federation: Federation
    manifest: RoundManifest
    listing: bytes
    contributions: list[Contribution]
    anchor: Anchor

    def open(self, anchor: bytes | Anchor, name: str = "a") -> None:
        data = anchor if isinstance(anchor, bytes) else anchor.to_bytes()
        gate = self.federation.gate(name).gate
        gate.open(self.manifest, self.listing, self.contributions, data)

    def refused(self, anchor: bytes | Anchor, name: str = "a") -> tuple[str, str]:
        """Return code and text of the refusal; nothing was consumed."""
        with pytest.raises(FusionError) as found:
            self.open(anchor, name)
        assert not self.federation.logs[name]._openings
        return found.value.code, str(found.value)


@pytest.fixture
def ready(dealt: Dealt) -> Round:
    """Four contributions, listed, logged and cosigned by all."""
    federation = federation_of(dealt)
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    anchor = Anchor.from_bytes(federation.witnessed(manifest, listing))
    return Round(federation, manifest, listing, contributions, anchor)


def test_what_is_logged_and_witnessed_is_opened_and_the_holder_logs_under_what(
    ready: Round,
) -> None:
    ready.open(ready.anchor)
    ledger = ready.federation.logs["a"].ledger
    assert ready.federation.logs["a"]._openings
    seen = entries.decode(next(ledger.entries(ledger.size() - 1, ledger.size())))
    head = parse(ready.anchor.cosigned.encode())
    assert isinstance(seen, entries.CheckpointSeen)
    assert (seen.organisation, seen.size, seen.root) == ("hub", head.size, head.root.hex())


def test_without_a_proof_nothing_is_opened(ready: Round) -> None:
    code, text = ready.refused(b"")
    assert code == "F-407"
    assert "inclusion proof under a cosigned checkpoint" in text
    assert ready.refused(b"{}")[0] == "F-503"


def test_a_proof_of_another_leaf_is_refused(ready: Round) -> None:
    federation = ready.federation
    other = federation.manifest(number=2)
    listing, _ = federation.collect(other)
    # A true proof, of another round's list.
    anchor = Anchor.from_bytes(federation.witnessed(other, listing))
    code, text = ready.refused(anchor)
    assert code == "F-407"
    assert "about another round" in text
    # The right entry, which is not what the path leads from.
    swapped = anchor.model_copy(update={"entry": ready.anchor.entry})
    assert ready.refused(swapped)[0] == "F-407"
    # An entry of the log that is no list.
    ledger = federation.notary.book.ledger
    made = anchor.model_copy(
        update={
            "entry": next(iter(ledger.entries(0, 1))).decode(),
            "number": 0,
            "path": [h.hex() for h in ledger.inclusion_proof(0, ledger.size())],
        }
    )
    code, text = ready.refused(made)
    assert (code, "organisation-made" in text) == ("F-407", True)


CHANGES: dict[str, dict[str, Any]] = {
    "number": {"number": 0},
    "a path cut short": {"path": []},
    "a path too long": {"path": ["0" * 64] * 40},
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_path_that_leads_elsewhere_is_refused(ready: Round, case: str) -> None:
    assert ready.refused(ready.anchor.model_copy(update=CHANGES[case]))[0] == "F-407"


@pytest.mark.parametrize("change", ["attempt", "opening", "commitments", "contributors"])
def test_an_entry_that_says_something_else_of_the_list_is_refused(
    ready: Round, change: str
) -> None:
    """A hub that logs a list otherwise than it shows it to a holder."""
    said = entries.decode(ready.anchor.entry.encode())
    assert isinstance(said, entries.RoundListed)
    changes: dict[str, Any] = {
        "attempt": 2,
        "opening": "0" * 64,
        "commitments": said.commitments[::-1],
        "contributors": said.contributors[:3],
    }
    notary = ready.federation.notary
    notary.log("other", said.model_copy(update={change: changes[change]}))
    announced = notary.announce()
    for name in LETTERS:
        book = ready.federation.books[name]
        notary.take(Reply(OrgId(name), cosign(book, notary.roster, announced)))
    assert ready.refused((notary.anchor("other") or "").encode())[0] == "F-407"


# ----------------------------------------------------------------------------- cosignatures


def _signed_by(ready: Round, *names: str) -> Anchor:
    """The anchor with the signatures of these alone, as often as they are named."""
    note = parse(ready.anchor.cosigned.encode())
    lines = {line.name.rpartition("/")[2]: line for line in note.signatures}
    bare = note.with_only(note.origin)
    return ready.anchor.model_copy(
        update={"cosigned": bare.with_signatures([lines[n] for n in names]).note().decode()}
    )


def test_three_of_four_are_enough_and_two_are_not(ready: Round) -> None:
    code, text = ready.refused(_signed_by(ready, "a", "b"))
    assert code == "F-407"
    assert "2 witnesses cosigned" in text
    assert "3 of a, b, c, d" in text
    assert "`witnesses` in this node's node.toml" in text
    ready.open(_signed_by(ready, "b", "c", "d"))


def test_the_same_organisation_counts_once(ready: Round) -> None:
    assert ready.refused(_signed_by(ready, "a", "b", "b", "b"))[0] == "F-407"
    # Nor does it count for more under several keys that it states.
    federation = ready.federation
    roster, announced = federation.notary.roster, federation.notary.announce()
    twin = memory_book("b", federation.keys["b"])
    extra = cosign(twin, roster, announced)
    note = parse(str(extra["cosigned"]).encode())
    two = _signed_by(ready, "a", "b")
    both = parse(two.cosigned.encode()).with_signatures(note.signatures)
    forged = two.model_copy(
        update={
            "cosigned": both.note().decode(),
            "statements": [*two.statements, str(extra["log_keys"])],
        }
    )
    assert ready.refused(forged)[0] == "F-407"


def test_the_hub_and_strangers_do_not_count(ready: Round) -> None:
    federation = ready.federation
    roster = federation.notary.roster
    head = parse(ready.anchor.cosigned.encode()).with_only(f"test/{AUTHORITY}")
    bare = _signed_by(ready, "a", "b")
    for name, key in (("hub", federation.hub), ("x", SigningKey.generate())):
        book = memory_book(name, key)
        line = head.cosigned(book.keys(roster).origin, book.witness_key, 1_800_000_000)
        signed = parse(bare.cosigned.encode()).with_signatures(line.signatures[-1:])
        forged = bare.model_copy(
            update={
                "cosigned": signed.note().decode(),
                "statements": [*bare.statements, book.stated_keys(roster).decode()],
            }
        )
        assert ready.refused(forged)[0] == "F-407"


def test_a_cosignature_of_another_checkpoint_does_not_count(ready: Round) -> None:
    federation = ready.federation
    federation.notary.log("more", _anything(federation, "more"))
    later = federation.notary.book.head(federation.notary.roster)
    forged = ready.anchor.model_copy(update={"cosigned": later.note().decode()})
    assert ready.refused(forged)[0] == "F-407"


def test_a_quorum_of_ones_own_is_kept(dealt: Dealt, ready: Round) -> None:
    del dealt
    anchor = _signed_by(ready, "a", "b", "c")
    strict = ready.federation.gate("a").gate
    strict._evidence._quorum = 4  # type: ignore[attr-defined]  # as node.toml sets it
    with pytest.raises(Unwitnessed, match="not 4"):
        strict.open(ready.manifest, ready.listing, ready.contributions, anchor.to_bytes())


# -------------------------------------------------------------------------- other histories


def _anything(federation: Federation, word: str) -> entries.RoundListed:
    manifest = federation.manifest(number=4)
    return entries.RoundListed(
        at=AT, job=word, round=1, attempt=1, manifest="0" * 64, listing="0" * 64,
        opening="0" * 64, contributors=("a",), commitments=(manifest.digest().hex(),),
    )  # fmt: skip


def _forked(ready: Round, *, keep: int, more: int) -> Notary:
    """A hub whose log has another history after its first entries, under the same keys."""
    notary = ready.federation.notary
    book, ledger = notary.book, MemoryLedger()
    ledger.append(list(book.ledger.entries(0, keep)))
    ledger._once["made"] = 0
    twin = memory_book("hub", ready.federation.hub, ledger)
    twin._log_key, twin.witness_key = book._log_key, book.witness_key  # type: ignore[misc]
    for number in range(more):
        twin.ledger.append([encode(_anything(ready.federation, f"other-{number}"))])
    return Notary(twin, notary.roster, LETTERS)


def _forgetful(federation: Federation, name: str) -> LogBook:
    """An organisation that cosigns with its own keys, and remembers nothing."""
    book = federation.books[name]
    return LogBook(
        MemoryLedger(),
        name,
        statement_key=book._statement_key,
        log_key=book._log_key,
        witness_key=book.witness_key,
        clock=book.clock,
    )


def _fooled(ready: Round, forked: Notary, names: str) -> bytes:
    """Log the list in the other history, and have accomplices cosign it without looking."""
    forked.log("list", entries.decode(ready.anchor.entry.encode()))
    announced = forked.announce()
    for name in names:
        accomplice = _forgetful(ready.federation, name)
        forked.take(Reply(OrgId(name), cosign(accomplice, forked.roster, announced)))
    return (forked.anchor("list") or "").encode()


def test_a_fork_of_the_same_size_is_refused_by_who_saw_the_other(ready: Round) -> None:
    size = parse(ready.anchor.cosigned.encode()).size
    forked = _forked(ready, keep=1, more=size - 2)
    data = _fooled(ready, forked, "bcd")
    assert parse(Anchor.from_bytes(data).cosigned.encode()).size == size
    code, text = ready.refused(data)
    assert (code, "two histories" in text) == ("F-506", True)


def test_a_longer_fork_is_refused(ready: Round) -> None:
    data = _fooled(ready, _forked(ready, keep=1, more=20), "bcd")
    assert ready.refused(data)[0] == "F-500"


def test_a_log_that_went_back_is_refused(ready: Round) -> None:
    federation = ready.federation
    for number in range(3):
        federation.notary.log(f"more {number}", _anything(federation, f"more-{number}"))
        announced = federation.notary.announce()
        cosign(federation.books["a"], federation.notary.roster, announced)
    code, text = ready.refused(_fooled(ready, _forked(ready, keep=1, more=1), "bcd"))
    assert (code, "has gone back" in text) == ("F-506", True)


def test_a_party_gives_no_cosignature_to_another_history(ready: Round) -> None:
    federation = ready.federation
    size = parse(ready.anchor.cosigned.encode()).size
    same = _forked(ready, keep=1, more=size - 1)
    with pytest.raises(LedgerBroken):
        cosign(federation.books["a"], same.roster, same.announce())
    shorter = _forked(ready, keep=1, more=0)
    assert cosign(federation.books["a"], same.roster, shorter.announce()) == {"seen": size}
    longer = _forked(ready, keep=1, more=20)
    assert "cosigned" not in cosign(federation.books["a"], same.roster, longer.announce())
    longer.take(Reply(OrgId("a"), {"seen": size}))
    announced = Announcement.from_bytes(longer.announce().encode())
    assert [proof.size for proof in announced.published.proofs] == [size]
    with pytest.raises(VerificationFailed):
        cosign(federation.books["a"], same.roster, longer.announce())


def test_an_older_checkpoint_of_the_same_history_is_fine_after_a_restart(ready: Round) -> None:
    federation = ready.federation
    notary = federation.notary
    notary.log("more", _anything(federation, "more"))
    later = Notary(notary.book, notary.roster, LETTERS)
    cosign(federation.books["a"], notary.roster, later.announce())
    # What this process remembers of its own cosignatures is gone; the proof is not needed before.
    federation.books["a"]._extended.clear()
    assert ready.refused(ready.anchor)[0] == "F-506"
    key = f"{ready.manifest.digest().hex()} {_digest(ready)}"
    ready.open((notary.anchor(key) or "").encode())


def _digest(ready: Round) -> str:
    return read(ContributionList, ready.listing, {HUB: ready.federation.hub.public}).digest().hex()


# ------------------------------------------------------------------------------ whole rounds


def test_a_run_takes_no_exchange_more(tmp_path: Path, dealt: Dealt) -> None:
    made = whole_federation(tmp_path, dealt)
    made.run().run()
    for name in NAMES:
        assert "witness" not in made.parties[name].asked
    assert all(len(parse(note).signatures) >= 4 for note in made.book.ledger.heads().values())


def test_who_cosigned_too_little_with_the_vectors_is_asked_again(
    tmp_path: Path, dealt: Dealt
) -> None:
    """As after a restart of the hub: the cosignatures that came with the vectors are gone."""
    made = whole_federation(tmp_path, dealt)

    def lose(request: Request, reply: Reply) -> Reply:
        if request.kind != "submit" or reply.failure is not None:
            return reply
        head = {k: v for k, v in reply.head.items() if k != "cosigned"}
        return Reply(reply.organisation, head, reply.blobs)

    for name in NAMES:
        made.parties[name] = Flaky(made.parties[name].party, instead=lose)
    made.run().run()
    assert all("witness" in made.parties[name].asked for name in NAMES)
    assert made.of("refusal") == []


def test_a_round_that_too_few_witness_is_not_opened(tmp_path: Path, dealt: Dealt) -> None:
    made = whole_federation(tmp_path, dealt)

    def mute(request: Request, reply: Reply) -> Reply:
        del request
        head = {k: v for k, v in reply.head.items() if k != "cosigned"}
        return Reply(reply.organisation, head, reply.blobs, reply.failure)

    for name in NAMES[:2]:
        made.parties[name] = Flaky(made.parties[name].party, instead=mute)
    with pytest.raises(FusionError, match="have to cosign that the hub logged it") as found:
        made.run().run()
    assert found.value.code == "F-601"
    assert all("decrypt" not in made.parties[name].asked for name in NAMES)
