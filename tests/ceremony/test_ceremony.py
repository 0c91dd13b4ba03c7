"""A ceremony with real folders, real primes, real seals: who gets what, and who gets nothing."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from fusion.crypto.paillier import threshold
from fusion.crypto.sealing import SealingKey
from fusion.errors import (
    FusionError,
    InputInvalid,
    KeyRefused,
    MessageInvalid,
    Refused,
    SealBroken,
    UnknownOrganisation,
)
from fusion.identity.ceremony import KeyDocument
from fusion.services import ceremony, keys
from fusion.services.homes import NodeHome
from tests.ceremony.dealing import HOLDERS, Dealing, imported
from tests.keys import encrypted, numbers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.keys import Dealt

# -------------------------------------------------------------------- the dealer's files


def test_the_dealer_leaves_one_sealed_file_a_holder_and_a_public_one(dealing: Dealing) -> None:
    out = dealing.held.document.parent
    assert sorted(path.name for path in out.iterdir()) == [
        "a.example.share", "b.example.share", "c.example.share", "key.json",
    ]  # fmt: skip
    assert list(dealing.held.files) == list(HOLDERS)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (out, *out.iterdir())}
    assert modes.pop("key.json") == 0o644
    assert modes.pop("out") == 0o700
    assert set(modes.values()) == {0o600}


def test_the_public_file_says_what_was_asked_for(dealing: Dealing) -> None:
    document, key = dealing.document(), dealing.document().key()
    assert (document.threshold, tuple(document.holders)) == (2, HOLDERS)
    assert (key.public.bits, key.public.fingerprint) == (2048, dealing.held.fingerprint)
    assert document.transcript() == dealing.held.transcript
    roster = dealing.hub.roster()
    assert document.sealed_to == [roster.member(name).sealing_key.hex for name in HOLDERS]
    assert all(dealing.share_file(name).document == document for name in HOLDERS)


def test_the_dealer_hears_of_progress(dealing: Dealing) -> None:
    assert dealing.progress
    assert dealing.progress == sorted(dealing.progress)
    assert dealing.progress[-1].found == 2


@pytest.mark.parametrize(
    ("holders", "needed", "bits", "error"),
    [
        pytest.param(HOLDERS, 1, 2048, KeyRefused, id="no majority"),
        pytest.param((*HOLDERS, "d.example"), 2, 2048, KeyRefused, id="half of them"),
        pytest.param(HOLDERS, 4, 2048, KeyRefused, id="more than there are"),
        pytest.param(HOLDERS, 0, 2048, KeyRefused, id="nobody needed"),
        pytest.param((*HOLDERS, "a.example"), 3, 2048, InputInvalid, id="a holder twice"),
        pytest.param((), 0, 2048, InputInvalid, id="no holder"),
        pytest.param(HOLDERS, 2, 1024, InputInvalid, id="too short"),
        pytest.param(HOLDERS, 2, 2047, InputInvalid, id="a length of its own"),
        pytest.param(("a.example", "z.example"), 2, 2048, UnknownOrganisation, id="a stranger"),
    ],
)
def test_what_can_not_be_dealt_is_refused_before_primes_are_searched(
    dealing: Dealing,
    tmp_path: Path,
    holders: tuple[str, ...],
    needed: int,
    bits: int,
    error: type[FusionError],
) -> None:
    searched: list[ceremony.Search] = []
    with pytest.raises(FusionError) as refused:
        ceremony.hold(dealing.hub.roster(), holders, needed, bits, tmp_path / "o", searched.append)
    assert type(refused.value) is error
    assert not searched
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_in_use_is_refused_before_primes_are_searched(
    dealing: Dealing, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
    (out / "file" if kind == "folder" else out).write_text("kept", "utf-8")
    searched: list[ceremony.Search] = []
    with pytest.raises(InputInvalid, match="in use"):
        ceremony.hold(dealing.hub.roster(), HOLDERS, 2, 2048, out, searched.append)
    assert not searched
    assert (out / "file" if kind == "folder" else out).read_text("utf-8") == "kept"


# -------------------------------------------------------------------- the holders


def test_each_holder_gets_its_share_and_two_of_them_decrypt(
    dealing: Dealing, nodes: dict[str, NodeHome]
) -> None:
    for name in HOLDERS:
        info = keys.import_share(nodes[name], dealing.held.files[name], dealing.held.transcript)
        document = nodes[name].paillier / info.fingerprint / "key.json"
        moment = datetime.fromtimestamp(document.stat().st_mtime, UTC)
        assert info == keys.KeyInfo(
            fingerprint=dealing.held.fingerprint,
            bits=2048,
            security_bits=112,
            scheme="Paillier, g = N + 1",
            ciphertext_bytes=512,
            proof_roots=8,
            randomiser="djn-half",
            threshold=2,
            holders=HOLDERS,
            share=True,
            transcript=dealing.held.transcript,
            imported_at=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    rings = [keys.keyring_of(nodes[name]) for name in HOLDERS]
    key, holders = rings[0].key(dealing.held.fingerprint)
    assert holders == HOLDERS
    ciphertexts = encrypted(key.public, [42])
    partials = {}
    for number, ring in enumerate(rings, start=1):
        share = ring.share(dealing.held.fingerprint)
        assert share is not None
        partials[number] = threshold.partial(key, share, ciphertexts)
    for pair in itertools.combinations(partials, 2):
        chosen = {number: partials[number] for number in pair}
        assert numbers(threshold.combine(key, chosen, ciphertexts)) == [42]


def test_an_imported_share_is_for_its_owners_eyes(
    dealing: Dealing, nodes: dict[str, NodeHome]
) -> None:
    node = nodes["a.example"]
    keys.import_share(node, dealing.held.files["a.example"], dealing.held.transcript)
    folder = node.paillier / dealing.held.fingerprint
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "share").stat().st_mode & 0o777 == 0o600
    share = keys.keyring_of(node).share(dealing.held.fingerprint)
    assert share is not None
    # Neither a file that travelled nor the one that is kept has it in the clear.
    for path in (dealing.held.document, *dealing.held.files.values()):
        assert f"{share:x}" not in path.read_text("utf-8")
    raw = share.to_bytes((share.bit_length() + 7) // 8, "big")
    assert not any(raw in path.read_bytes() for path in node.path.rglob("*") if path.is_file())


def test_a_transcript_is_compared_as_people_write_it(
    dealing: Dealing, nodes: dict[str, NodeHome]
) -> None:
    groups = ceremony.grouped(dealing.held.transcript)
    assert [len(group) for group in groups.split(" ")] == [4] * 16
    file = dealing.held.files["a.example"]
    for spoken in (f"  {dealing.held.transcript.upper()}\n", groups, groups.replace(" ", "-")):
        assert keys.import_share(nodes["a.example"], file, spoken).share


@pytest.mark.parametrize("change", ["a digit", "cut short", "nothing"])
def test_a_transcript_that_differs_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome], change: str
) -> None:
    right = dealing.held.transcript
    last = "0" if right[-1] != "0" else "1"
    wrong = {"a digit": right[:-1] + last, "cut short": right[:-1], "nothing": ""}[change]
    node = nodes["a.example"]
    with pytest.raises(KeyRefused, match="transcript"):
        keys.import_share(node, dealing.held.files["a.example"], wrong)
    with pytest.raises(KeyRefused, match="transcript"):
        keys.import_public(node, dealing.held.document, wrong)
    assert not imported(node)


def test_the_share_of_another_organisation_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome]
) -> None:
    for name in ("b.example", "d.example"):
        with pytest.raises(Refused, match=r"the share of a\.example, not of"):
            keys.import_share(nodes[name], dealing.held.files["a.example"], dealing.held.transcript)
        assert not imported(nodes[name])


def test_a_file_readdressed_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome], tmp_path: Path
) -> None:
    readdressed = dealing.share_file("a.example").model_copy(update={"organisation": "b.example"})
    (tmp_path / "share").write_bytes(readdressed.to_bytes())
    with pytest.raises(SealBroken):
        keys.import_share(nodes["b.example"], tmp_path / "share", dealing.held.transcript)
    outsider = dealing.share_file("a.example").model_copy(update={"organisation": "d.example"})
    (tmp_path / "share").write_bytes(outsider.to_bytes())
    with pytest.raises(Refused, match="not of"):
        keys.import_share(nodes["d.example"], tmp_path / "share", dealing.held.transcript)
    assert not imported(nodes["b.example"])
    assert not imported(nodes["d.example"])


def test_a_share_sealed_to_another_node_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome]
) -> None:
    class Impostor(NodeHome):
        """The same organisation's name, other keys."""

        @property
        def sealing_key(self) -> SealingKey:
            return SealingKey.generate()

    node = Impostor(nodes["a.example"].path, nodes["a.example"].config)
    with pytest.raises(KeyRefused, match="not this node's"):
        keys.import_share(node, dealing.held.files["a.example"], dealing.held.transcript)
    assert not imported(node)


def test_another_share_under_the_right_seal_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome], tmp_path: Path
) -> None:
    node, right = nodes["a.example"], dealing.share_file("a.example")
    share = int.from_bytes(
        node.sealing_key.open(bytes.fromhex(right.sealed), right.context()), "big"
    )
    sealed = node.sealing_key.public.seal((share + 1).to_bytes(256, "big"), right.context())
    wrong = right.model_copy(update={"sealed": sealed.hex()})
    (tmp_path / "share").write_bytes(wrong.to_bytes())
    with pytest.raises(KeyRefused, match="does not belong"):
        keys.import_share(node, tmp_path / "share", dealing.held.transcript)
    assert not imported(node)


def test_a_changed_byte_anywhere_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome], tmp_path: Path
) -> None:
    node, right = nodes["a.example"], dealing.held.files["a.example"].read_bytes()
    path = tmp_path / "share"
    seal = right.index(b'"sealed":"') + 10
    for at in (*range(0, len(right), 41), *range(seal, len(right), 97), len(right) - 1):
        data = bytearray(right)
        # A digit stays a digit, so that it is not only the form that refuses.
        data[at] = ord("0") if data[at] != ord("0") else ord("1")
        path.write_bytes(data)
        with pytest.raises((MessageInvalid, Refused, SealBroken)):
            keys.import_share(node, path, dealing.held.transcript)
    assert not imported(node)


@pytest.mark.parametrize("what", ["missing", "folder", "junk", "cut short", "the public file"])
def test_a_file_that_is_no_share_is_refused(
    dealing: Dealing, nodes: dict[str, NodeHome], tmp_path: Path, what: str
) -> None:
    path = tmp_path / "file"
    match what:
        case "folder":
            path.mkdir()
        case "junk":
            path.write_bytes(b"junk")
        case "cut short":
            path.write_bytes(dealing.held.files["a.example"].read_bytes()[:-3])
        case "the public file":
            path.write_bytes(dealing.held.document.read_bytes())
        case _:
            pass
    with pytest.raises(InputInvalid if what in {"missing", "folder"} else MessageInvalid):
        keys.import_share(nodes["a.example"], path, dealing.held.transcript)


# -------------------------------------------------------------------- those without a share


def test_the_hub_gets_the_key_and_no_share(dealing: Dealing) -> None:
    hub = dealing.hub
    info = keys.import_public(hub, dealing.held.document, dealing.held.transcript)
    assert (info.fingerprint, info.share) == (dealing.held.fingerprint, False)
    ring = keys.Keyring(hub.paillier)
    assert ring.key(dealing.held.fingerprint)[1] == HOLDERS
    assert ring.share(dealing.held.fingerprint) is None
    files = [path.name for path in hub.paillier.rglob("*") if path.is_file()]
    assert files == ["key.json"]


def test_a_share_file_is_no_public_file(dealing: Dealing, nodes: dict[str, NodeHome]) -> None:
    with pytest.raises(MessageInvalid, match="no KeyDocument"):
        keys.import_public(
            nodes["d.example"], dealing.held.files["a.example"], dealing.held.transcript
        )
    assert not imported(nodes["d.example"])


def test_the_public_file_takes_no_share_away(dealing: Dealing, nodes: dict[str, NodeHome]) -> None:
    node = nodes["a.example"]
    keys.import_share(node, dealing.held.files["a.example"], dealing.held.transcript)
    assert keys.import_public(node, dealing.held.document, dealing.held.transcript).share
    assert keys.keyring_of(node).share(dealing.held.fingerprint) is not None


# -------------------------------------------------------------------- what was imported


def _import_second(node: NodeHome, dealt: Dealt, folder: Path) -> keys.KeyInfo:
    """Import another key of the same description, earlier or later than the ceremony's."""
    p, q = dealt.primes
    other, _ = threshold.deal(p, q, threshold=2, holders=3)
    document = KeyDocument.of(
        other, HOLDERS[::-1], [f"{number:064x}" for number in range(3)], dealt.proof
    )
    path = folder / "second.json"
    path.write_bytes(document.to_bytes())
    return keys.import_public(node, path, document.transcript())


def _imported_at(node: NodeHome, fingerprint: str, seconds: int) -> None:
    os.utime(node.paillier / fingerprint / "key.json", (seconds, seconds))


@pytest.mark.parametrize("newest", ["first", "second"])
def test_the_newest_fitting_key_is_taken_and_all_are_shown(
    dealing: Dealing, nodes: dict[str, NodeHome], dealt: Dealt, tmp_path: Path, newest: str
) -> None:
    node = nodes["a.example"]
    assert keys.show(node) == []
    first = keys.import_share(node, dealing.held.files["a.example"], dealing.held.transcript)
    second = _import_second(node, dealt, tmp_path)
    assert (first.share, second.share) == (True, False)
    _imported_at(node, first.fingerprint, 2_000 if newest == "first" else 1_000)
    _imported_at(node, second.fingerprint, 1_500)
    first_at = "1970-01-01T00:33:20Z" if newest == "first" else "1970-01-01T00:16:40Z"
    first = replace(first, imported_at=first_at)
    second = replace(second, imported_at="1970-01-01T00:25:00Z")
    order = [second, first] if newest == "first" else [first, second]
    assert keys.show(node) == order
    found = keys.Keyring(node.paillier).fitting(2048, 2, (HOLDERS[1], HOLDERS[2], HOLDERS[0]))
    assert found.public.fingerprint == order[-1].fingerprint


@pytest.mark.parametrize(
    ("bits", "needed", "holders"),
    [
        (3072, 2, HOLDERS),
        (2048, 3, HOLDERS),
        (2048, 2, HOLDERS[:2]),
        (2048, 2, (*HOLDERS, "d.example")),
        (2048, 2, ("a.example", "b.example", "d.example")),
    ],
)
def test_a_key_of_another_description_does_not_fit(
    dealing: Dealing,
    nodes: dict[str, NodeHome],
    bits: int,
    needed: int,
    holders: tuple[str, ...],
) -> None:
    node = nodes["d.example"]
    keys.import_public(node, dealing.held.document, dealing.held.transcript)
    with pytest.raises(KeyRefused) as refused:
        keys.Keyring(node.paillier).fitting(bits, needed, holders)
    assert f"No {bits}-bit key of {needed} of {', '.join(sorted(holders))}" in str(refused.value)


def test_a_fingerprint_from_the_wire_names_no_other_file(
    dealing: Dealing, nodes: dict[str, NodeHome]
) -> None:
    node = nodes["d.example"]
    right = keys.import_public(node, dealing.held.document, dealing.held.transcript).fingerprint
    ring = keys.Keyring(node.paillier)
    assert ring.key(right)[1] == HOLDERS
    # Whatever file these would lead to, there is a readable document in each place.
    outside = node.paillier.parent / "outside"
    absolute = str(outside)
    for place in (outside, node.paillier, node.paillier / right[:63], node.paillier / ("A" * 64)):
        place.mkdir(exist_ok=True)
        (place / "key.json").write_bytes(dealing.held.document.read_bytes())
    for fingerprint in (
        "../outside", absolute, "", ".", right[:63], "A" * 64, f"{right}/", f"{right}\n",
        f"{right}/../{right}", f"../{node.paillier.name}/{right}",
    ):  # fmt: skip
        with pytest.raises(KeyRefused, match="not imported"):
            ring.key(fingerprint)


def test_a_key_that_was_never_imported_is_refused(nodes: dict[str, NodeHome]) -> None:
    with pytest.raises(KeyRefused, match="not imported"):
        keys.Keyring(nodes["a.example"].paillier).key("0" * 64)
