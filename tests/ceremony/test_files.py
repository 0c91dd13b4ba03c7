"""The files of a ceremony are read strictly: every field is bound, nothing else is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.crypto.paillier.threshold import deal
from fusion.errors import KeyRefused, MessageInvalid
from fusion.identity.ceremony import MAX_FILE_BYTES, KeyDocument, ShareFile, read_file
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.keys import Dealt

HOLDERS = ("a.example", "b.example", "c.example", "d.example")
SEALED_TO = tuple(f"{number:064x}" for number in range(1, 5))


@pytest.fixture(scope="module")
def document(dealt: Dealt) -> KeyDocument:
    """The public side of the test key."""
    return KeyDocument.of(dealt.key, HOLDERS, SEALED_TO, dealt.proof)


def changed(file: KeyDocument | ShareFile, changes: Mapping[str, Any]) -> bytes:
    """Return a file's bytes with fields changed; ``None`` takes one away."""
    fields = {**canonical.decode(file.to_bytes()), **changes}
    return canonical.encode({name: value for name, value in fields.items() if value is not None})


def test_a_document_comes_back_as_it_was_written(document: KeyDocument, dealt: Dealt) -> None:
    read = read_file(KeyDocument, document.to_bytes())
    assert read == document
    assert read.key() == dealt.key
    assert (tuple(read.holders), tuple(read.sealed_to)) == (HOLDERS, SEALED_TO)
    assert read.transcript() == document.transcript()


def test_a_share_file_comes_back_as_it_was_written(document: KeyDocument) -> None:
    share = ShareFile(document=document, organisation="a.example", sealed="00ff")
    assert read_file(ShareFile, share.to_bytes()) == share


def test_the_seal_is_bound_to_ceremony_and_holder(document: KeyDocument, dealt: Dealt) -> None:
    other = KeyDocument.of(dealt.key, HOLDERS, SEALED_TO[::-1], dealt.proof)
    contexts = {
        ShareFile(document=which, organisation=org, sealed="00").context()
        for which in (document, other)
        for org in HOLDERS[:2]
    }
    assert len(contexts) == 4


@pytest.mark.parametrize("field", ["modulus", "threshold", "holders", "base", "verifiers", "proof"])
def test_the_transcript_covers_the_key(document: KeyDocument, dealt: Dealt, field: str) -> None:
    p, q = dealt.primes
    key, _ = deal(p, q, threshold=4, holders=4)
    other = KeyDocument.of(key, HOLDERS[::-1], SEALED_TO, b"other")
    value = f"{dealt.key.public.modulus + 2:x}" if field == "modulus" else getattr(other, field)
    assert getattr(document, field) != value
    assert document.model_copy(update={field: value}).transcript() != document.transcript()


def test_the_transcript_covers_the_sealing_keys(document: KeyDocument) -> None:
    swapped = document.model_copy(update={"sealed_to": [*SEALED_TO[:3], SEALED_TO[0]]})
    assert swapped.transcript() != document.transcript()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"schema": None}, id="no schema"),
        pytest.param({"schema": "banyan.key/3"}, id="another schema"),
        pytest.param({"schema": "banyan.share/2"}, id="the schema of a share"),
        pytest.param({"note": "x"}, id="a field more"),
        pytest.param({"modulus": None}, id="a field less"),
        pytest.param({"modulus": 7}, id="a number for a text"),
        pytest.param({"modulus": "FF"}, id="upper case"),
        pytest.param({"modulus": "0xff"}, id="a prefix"),
        pytest.param({"modulus": ""}, id="nothing"),
        pytest.param({"modulus": "f" * 8193}, id="too long"),
        pytest.param({"modulus": "ff\n"}, id="a line's end"),
        pytest.param({"threshold": "3"}, id="a text for a number"),
        pytest.param({"threshold": 3.5}, id="a fraction"),
        pytest.param({"threshold": True}, id="a truth value"),
        pytest.param({"threshold": 0}, id="no threshold"),
        pytest.param({"holders": list(HOLDERS[:3])}, id="a holder less"),
        pytest.param({"holders": [*HOLDERS[:3], HOLDERS[0]]}, id="a holder twice"),
        pytest.param({"holders": [*HOLDERS[:3], ""]}, id="a holder without a name"),
        pytest.param({"holders": [*HOLDERS[:3], "x" * 64]}, id="a name too long"),
        pytest.param({"verifiers": ["1", "2", "3"]}, id="a verifier less"),
        pytest.param({"verifiers": ["1"] * 5}, id="a verifier more"),
        pytest.param({"sealed_to": list(SEALED_TO[:3])}, id="a sealing key less"),
        pytest.param({"verifiers": []}, id="no verifiers"),
        pytest.param({"proof": None}, id="no proof"),
        pytest.param({"proof": ""}, id="an empty proof"),
        pytest.param({"proof": "abc"}, id="half a byte"),
        pytest.param({"proof": "00" * 4097}, id="too long a proof"),
    ],
)
def test_a_document_that_is_not_as_agreed_is_refused(
    document: KeyDocument, changes: Mapping[str, Any]
) -> None:
    with pytest.raises(MessageInvalid, match="no KeyDocument"):
        read_file(KeyDocument, changed(document, changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"sealed": "0"},
        {"sealed": "000"},
        {"sealed": "zz"},
        {"sealed": ""},
        {"organisation": ""},
        {"document": {}},
        {"document": None},
        {"share": "00"},
    ],
)
def test_a_share_file_that_is_not_as_agreed_is_refused(
    document: KeyDocument, changes: Mapping[str, Any]
) -> None:
    share = ShareFile(document=document, organisation="a.example", sealed="00ff")
    with pytest.raises(MessageInvalid, match="no ShareFile"):
        read_file(ShareFile, changed(share, changes))


@pytest.mark.parametrize("kind", [KeyDocument, ShareFile])
def test_a_file_of_an_earlier_release_asks_for_a_new_ceremony(
    document: KeyDocument, kind: type[KeyDocument | ShareFile]
) -> None:
    share = ShareFile(document=document, organisation="a.example", sealed="00ff")
    file = document if kind is KeyDocument else share
    old = changed(file, {"schema": kind.SCHEMA.replace("/2", "/1"), "proof": None})
    with pytest.raises(MessageInvalid, match="earlier release") as refused:
        read_file(kind, old)
    assert "new key ceremony" in refused.value.hint


def test_a_refusal_never_quotes_what_was_read(document: KeyDocument) -> None:
    share = ShareFile(document=document, organisation="a.example", sealed="00ff")
    with pytest.raises(MessageInvalid) as refused:
        read_file(ShareFile, changed(share, {"sealed": "not to be seen"}))
    assert "not to be seen" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"banyan.key/2"', id="a text"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b'{"schema":"banyan.key/2","schema":"banyan.key/2"}', id="a key twice"),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        read_file(KeyDocument, data)


def test_a_document_that_is_not_canonical_is_refused(document: KeyDocument) -> None:
    with pytest.raises(MessageInvalid, match="canonical"):
        read_file(KeyDocument, document.to_bytes().replace(b":", b": ", 1))


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(MessageInvalid, match="limit"):
        read_file(KeyDocument, b"{" * (MAX_FILE_BYTES + 1))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"modulus": "f" * 256}, id="too short a modulus"),
        pytest.param({"modulus": f"{(1 << 2047) + 2:x}"}, id="an even modulus"),
        pytest.param({"threshold": 5}, id="more than there are"),
    ],
)
def test_a_document_of_an_unfit_key_gives_none(
    document: KeyDocument, changes: Mapping[str, Any]
) -> None:
    with pytest.raises(KeyRefused):
        read_file(KeyDocument, changed(document, changes)).key()
