"""A dealer that is not to be trusted: what an import checks, although the transcript is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gmpy2
import pytest

from fusion.crypto.paillier.modulus_proof import prove
from fusion.crypto.paillier.threshold import deal
from fusion.errors import FusionError, KeyRefused, VerificationFailed
from fusion.services import keys
from tests.ceremony.dealing import Dealing, imported

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.identity.ceremony import KeyDocument
    from fusion.services.homes import NodeHome


def _close_primes(bits: int) -> tuple[int, int]:
    """Two primes next to each other: a key of the right length that Fermat's method opens."""
    p = int(gmpy2.next_prime((0b11 << (bits - 2)) + 12345))
    return p, int(gmpy2.next_prime(p))


def _with_close_primes(document: KeyDocument) -> dict[str, Any]:
    p, q = _close_primes(1024)
    key, _ = deal(p, q, threshold=document.threshold, holders=len(document.holders))
    return {
        "modulus": f"{key.public.modulus:x}",
        "proof": prove(p, q).hex(),
        "base": f"{key.base:x}",
        "verifiers": [f"{verifier:x}" for verifier in key.verifiers],
    }


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(lambda _: {"base": "1"}, KeyRefused, id="a base that checks nothing"),
        pytest.param(lambda d: {"base": d.modulus}, KeyRefused, id="a base out of range"),
        pytest.param(
            lambda d: {"verifiers": [*d.verifiers[:2], "1"]}, KeyRefused, id="a verifier of nothing"
        ),
        pytest.param(
            lambda d: {"verifiers": [d.verifiers[1], d.verifiers[0], d.verifiers[2]]},
            KeyRefused,
            id="verifiers exchanged",
        ),
        pytest.param(_with_close_primes, KeyRefused, id="primes next to each other"),
        pytest.param(lambda _: {"proof": "00" * 2048}, VerificationFailed, id="no proof"),
        pytest.param(lambda d: {"proof": d.proof[2:]}, VerificationFailed, id="a shorter proof"),
        pytest.param(
            lambda d: {"proof": d.proof[512:] + d.proof[:512]}, VerificationFailed, id="roots moved"
        ),
    ],
)
def test_a_dealt_key_that_is_not_sound_is_refused_though_its_transcript_is_right(
    dealing: Dealing,
    nodes: dict[str, NodeHome],
    tmp_path: Path,
    change: Callable[[KeyDocument], dict[str, Any]],
    error: type[FusionError],
) -> None:
    honest = dealing.document()
    document = honest.model_copy(update=change(honest))
    (tmp_path / "key.json").write_bytes(document.to_bytes())
    with pytest.raises(FusionError) as refused:
        keys.import_public(nodes["d.example"], tmp_path / "key.json", document.transcript())
    assert type(refused.value) is error
    assert not imported(nodes["d.example"])
    # The same with a share, sealed as it should be.
    node = nodes["a.example"]
    right = dealing.share_file("a.example")
    plaintext = node.sealing_key.open(bytes.fromhex(right.sealed), right.context())
    wrong = right.model_copy(update={"document": document})
    sealed = node.sealing_key.public.seal(plaintext, wrong.context())
    wrong = wrong.model_copy(update={"sealed": sealed.hex()})
    (tmp_path / "share").write_bytes(wrong.to_bytes())
    with pytest.raises(FusionError) as refused:
        keys.import_share(node, tmp_path / "share", document.transcript())
    assert type(refused.value) is error
    assert not imported(node)
