"""Time stamps of checkpoints by an authority outside: over the network, and by files."""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusion.errors import (
    EnvironmentUnfit,
    InputInvalid,
    LedgerBroken,
    MessageInvalid,
    PartyUnreachable,
    SignatureInvalid,
)
from fusion.ledger import entry as entries
from fusion.ledger.entry import decode, encode
from fusion.services import stamps
from fusion.services.ledger import Book
from tests.cli.authority import Authority, make_authority
from tests.cli.test_app import Terminal
from tests.link.federation import make_hub

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.ledger.bundle import Bundle
    from fusion.services.homes import HubHome

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed: no authority to ask"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority") / "tsa")


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    return make_hub(tmp_path / "hub")


def test_a_checkpoint_is_stamped_over_the_network_and_audited(
    fusion: Terminal, hub: HubHome, authority: Authority, tmp_path: Path
) -> None:
    known = ("--tsa-certificate", authority.certificate)
    with authority.serving() as url:
        stamp = fusion.document("ledger", "stamp", hub.path, "--tsa-url", url, *known)
    assert stamp.pop("schema") == "fusion.ledger-stamp/1"
    assert stamp["verified"] is True
    file = tmp_path / "hub.bundle"
    assert fusion("ledger", "export", hub.path, "--out", file) == 0
    (log,) = fusion.document("audit", file, "--unwitnessed", *known)["logs"]
    assert log["stamps"] == [stamp]
    assert fusion("audit", file, "--unwitnessed", *known) == 0
    assert "entries were there at" in fusion.err
    assert "not verified" not in fusion.err
    assert fusion("audit", file, "--unwitnessed") == 0
    assert "not verified: name --tsa-certificate" in fusion.err


def test_a_closed_network_carries_files(
    fusion: Terminal, hub: HubHome, authority: Authority, tmp_path: Path
) -> None:
    query, response = tmp_path / "stamp.tsq", tmp_path / "stamp.tsr"
    asked = fusion.document("ledger", "stamp", hub.path, "--request", query)
    response.write_bytes(authority.stamp(query.read_bytes()))
    with Book(hub) as book:
        # The log grows before the answer is back.
        refused = entries.KeyImported(
            at=book.now(), fingerprint="0" * 64, transcript="0" * 64, share=False
        )
        book.once("more", refused)
    for _ in range(2):
        assert fusion("ledger", "stamp", hub.path, "--response", response) == 0
        assert f"{asked['size']} entries were there at" in fusion.out
        assert "not verified" in fusion.err
    with Book(hub) as book:
        assert [decode(d).kind for d in book.bundle().entries].count("checkpoint-stamped") == 1


def test_one_way_at_a_time(fusion: Terminal, hub: HubHome) -> None:
    assert fusion("ledger", "stamp", hub.path) == 2
    assert fusion("ledger", "stamp", hub.path, "--tsa-url", "x", "--request", "y") == 2


def test_an_authority_that_is_away_or_refuses_is_said(hub: HubHome, authority: Authority) -> None:
    with Book(hub) as book:
        _, query = stamps.request(book)
    with authority.serving(status=500) as url, pytest.raises(PartyUnreachable, match="HTTP 500"):
        stamps.ask(url, query)
    with pytest.raises(PartyUnreachable, match="does not answer"):
        stamps.ask("http://127.0.0.1:1/", b"")
    with pytest.raises(InputInvalid, match="no address"):
        stamps.ask("file:///etc/passwd", b"")


def _stamped(hub: HubHome, authority: Authority) -> tuple[Bundle, int]:
    """Return a stamped log as a bundle, and the number of the entry that says so."""
    with Book(hub) as book:
        _, query = stamps.request(book)
        stamps.keep(book, authority.stamp(query), [])
        bundle = book.bundle()
    kinds = [decode(d).kind for d in bundle.entries]
    return bundle, kinds.index("checkpoint-stamped")


def test_another_authoritys_certificate_does_not_verify(
    hub: HubHome, authority: Authority, tmp_path: Path
) -> None:
    bundle, _ = _stamped(hub, authority)
    right = stamps.certificates(authority.certificate)
    assert stamps.stamps_of(bundle, right)[0].verified
    wrong = stamps.certificates(make_authority(tmp_path / "other").certificate)
    with pytest.raises(SignatureInvalid, match="does not verify"):
        stamps.stamps_of(bundle, wrong)
    with Book(hub) as book, pytest.raises(SignatureInvalid):
        stamps.keep(book, authority.stamp(stamps.request(book)[1]), wrong)


def test_a_stamp_of_something_else_is_not_taken(hub: HubHome, authority: Authority) -> None:
    other = make_hub(hub.path.parent / "other")
    with Book(other) as book:
        response = authority.stamp(stamps.request(book)[1])
    with Book(hub) as book:
        book.head(book.see_roster())
        with pytest.raises(MessageInvalid, match="no checkpoint of this log"):
            stamps.keep(book, response, [])
        for nonsense in (b"", b"0", b"\x30\x03\x02\x01\x00", b"x" * 100_000):
            with pytest.raises(MessageInvalid):
                stamps.keep(book, nonsense, [])


def test_a_stamp_that_was_dropped_or_moved_is_named(hub: HubHome, authority: Authority) -> None:
    bundle, at = _stamped(hub, authority)
    entry = decode(bundle.entries[at])
    assert isinstance(entry, entries.CheckpointStamped)
    with pytest.raises(LedgerBroken, match="lacks the time stamp") as found:
        stamps.stamps_of(replace(bundle, attachments={}), [])
    assert found.value.index == at
    for change in ({"size": 1}, {"root": "0" * 64}, {"size": 400}):
        changed = list(bundle.entries)
        changed[at] = encode(entry.model_copy(update=change))
        with pytest.raises(LedgerBroken, match="another history") as found:
            stamps.stamps_of(replace(bundle, entries=changed), [])
        assert found.value.index == at
    # A true response about other bytes, in its place.
    junk = base64.b64encode(b"junk")
    digest = hashlib.sha256(junk).hexdigest()
    changed = list(bundle.entries)
    changed[at] = encode(entry.model_copy(update={"stamp": digest}))
    with pytest.raises(LedgerBroken, match="no time stamp of its checkpoint"):
        stamps.stamps_of(replace(bundle, entries=changed, attachments={digest: junk}), [])


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="can't be read"):
        stamps.certificates(tmp_path / "none.pem")
    (tmp_path / "x.pem").write_text("no certificate", "utf-8")
    with pytest.raises(InputInvalid, match="no certificates"):
        stamps.certificates(tmp_path / "x.pem")


def test_without_the_library_it_says_what_to_install(
    hub: HubHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with Book(hub) as book, pytest.raises(EnvironmentUnfit, match="not installed"):
        stamps.request(book)
