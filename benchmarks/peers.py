"""Other libraries on the same update: phe, SecretFlow's sf-heu, TenSEAL.

Each is used the way its documentation shows it, and phe and sf-heu a second time with our packing
in front, so that the difference in arithmetic can be told from the difference in packing. Nobody
else has a partial decryption to compare.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import phe.paillier

from benchmarks.timing import Timing, cores, measure, progress
from benchmarks.workload import SECURITY_BITS, Result, Workload
from fusion.crypto.paillier import packing
from fusion.crypto.paillier.residues import integers, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FEW: Final = 4
"""Numbers on which a slow system's error is taken; each costs it a tenth of a second."""

_PIECE: Final = 64
"""Ciphertexts of an array of sf-heu's."""

_CHECKED: Final = 4
"""Vectors of CKKS on which its error is taken."""

_CKKS: Final = (
    ("8192 [60,40,40,60]", 8192, (60, 40, 40, 60)),
    ("4096 [54,55]", 4096, (54, 55)),
)
"""Label, polynomial degree, coefficient modulus."""


def phe_numbers(work: Workload, threads: list[int]) -> Iterator[dict[str, Any]]:
    """Measure phe with a ciphertext a number; it holds the interpreter, so it uses one core."""
    del threads
    progress("phe, a number each")
    public = work.keys.public.phe
    private = phe.paillier.PaillierPrivateKey(public, work.keys.private.p, work.keys.private.q)
    first = [float(value) for value in work.updates[0]]
    columns = [
        [public.encrypt(float(update[i])) for update in work.updates]
        for i in range(min(_FEW, work.parameters))
    ]
    sums = [_added(column) for column in columns]
    means = np.array([private.decrypt(total) for total in sums]) / work.clients

    def add(count: int) -> None:
        for index in range(count):
            _added(columns[index % len(columns)])

    def decrypt(count: int) -> None:
        for index in range(count):
            private.decrypt(sums[index % len(sums)])

    def steps(action: Callable[[int], object]) -> Any:  # noqa: ANN401 -- a Timing
        return measure(action, work.parameters, least=_FEW, budget=work.budget)

    with cores(1):
        timings = {
            "encrypt": steps(lambda count: [public.encrypt(value) for value in first[:count]]),
            "aggregate": steps(add),
            "decrypt": steps(decrypt),
        }
    yield Result(
        system="phe",
        randomiser="full",
        timings=timings,
        bits=work.bits,
        security_bits=SECURITY_BITS[work.bits],
        bytes_per_parameter=work.bits / 4,
        max_abs_error=float(np.abs(means - work.mean[: len(means)]).max()),
    ).entry()


def _added(column: list[Any]) -> Any:  # noqa: ANN401 -- phe has no types
    """Sum encrypted numbers one by one, as ``sum`` does."""
    total = column[0]
    for one in column[1:]:
        total = total + one
    return total


def phe_packed(work: Workload, threads: list[int]) -> Iterator[dict[str, Any]]:
    """Measure phe's raw operations on plaintexts that we packed."""
    del threads
    progress("phe, packed as ours")
    key = work.keys.public
    private = phe.paillier.PaillierPrivateKey(key.phe, work.keys.private.p, work.keys.private.q)
    made = [
        [key.phe.raw_encrypt(int(m)) for m in _packed(work, client, 2)]
        for client in range(work.clients)
    ]
    zero = key.phe.encrypt(0)

    def total(index: int) -> int:
        found = int(made[0][index % len(made[0])])
        for column in made[1:]:
            found = int(zero._raw_add(found, column[index % len(column)]))  # noqa: SLF001
        return found

    sums = [total(index) for index in range(len(made[0]))]
    _compare(work, [private.raw_decrypt(c) for c in sums])

    def decrypt(count: int) -> None:
        opened = [private.raw_decrypt(sums[i % len(sums)]) for i in range(count)]
        _read(work, opened)

    def steps(action: Callable[[int], object]) -> Any:  # noqa: ANN401 -- a Timing
        return measure(action, work.layout(1).plaintexts, least=2, budget=work.budget)

    with cores(1):
        timings = {
            "encrypt": steps(lambda c: [key.phe.raw_encrypt(int(m)) for m in _packed(work, 0, c)]),
            "aggregate": steps(lambda count: [total(index) for index in range(count)]),
            "decrypt": steps(decrypt),
        }
    yield Result(
        system="phe, packed as ours",
        randomiser="full",
        timings=timings,
        bits=work.bits,
        security_bits=SECURITY_BITS[work.bits],
        bytes_per_parameter=work.layout(1).plaintexts * key.ciphertext_bytes / work.parameters,
        max_abs_error=work.quantisation_error(1),
    ).entry()


def _packed(work: Workload, client: int, plaintexts: int) -> list[Any]:
    """Quantise and pack the beginning of one update."""
    layout = work.layout(1, plaintexts)
    return integers(packing.pack(layout, work.slots(layout, client)))


def _read(work: Workload, opened: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Unpack full plaintexts of a sum of all clients."""
    layout = work.full_layout(1, len(opened))
    slots = packing.unpack(layout, rows_of(opened, layout.plaintext_bytes))
    return packing.read_sum(layout, slots, work.clients)["update"]


def _compare(work: Workload, opened: list[int]) -> None:
    """Check what was decrypted against the sums in the clear.

    Raises:
        ArithmeticError: They differ.
    """
    packed = [_packed(work, client, len(opened)) for client in range(work.clients)]
    if opened != [int(sum(column)) for column in zip(*packed, strict=True)]:
        msg = "What was decrypted is not the sum of what was encrypted."
        raise ArithmeticError(msg)


def heu_packed(work: Workload, threads: list[int]) -> Iterator[dict[str, Any]]:
    """Measure sf-heu's ZPaillier (DJN with a table, as ours) on plaintexts that we packed.

    Its arrays can't be cut, so everything goes in pieces of one size.

    Raises:
        ImportError: It is not installed.
    """
    scheme = importlib.import_module("heu.phe")
    heu = importlib.import_module("heu.numpy")
    progress("sf-heu ZPaillier, packed as ours")
    kit = heu.setup(scheme.SchemaType.ZPaillier, work.bits)
    encryptor, evaluator, decryptor = kit.encryptor(), kit.evaluator(), kit.decryptor()
    piece = min(_PIECE, work.layout(1).plaintexts)

    def encrypt(client: int) -> bytes:
        numbers = [int(m) for m in _packed(work, client, piece)]
        array = kit.array(numbers, scheme.BigintEncoderParams())
        return bytes(encryptor.encrypt(array).serialize())

    def add(bodies: list[bytes]) -> bytes:
        found = heu.CiphertextArray.load_from(bodies[0])
        for body in bodies[1:]:
            found = evaluator.add(found, heu.CiphertextArray.load_from(body))
        return bytes(found.serialize())

    def decrypt(body: bytes) -> list[int]:
        plain = decryptor.decrypt(heu.CiphertextArray.load_from(body))
        return [int(m) for m in plain.to_numpy(scheme.BigintDecoder())]

    bodies = [encrypt(client) for client in range(work.clients)]
    added = add(bodies)
    _compare(work, decrypt(added))
    for count in threads:
        with cores(count):
            timings = {
                "encrypt": _in_pieces(lambda: encrypt(0), piece, work),
                "aggregate": _in_pieces(lambda: add(bodies), piece, work),
                "decrypt": _in_pieces(lambda: _read(work, decrypt(added)), piece, work),
            }
        yield Result(
            system="sf-heu ZPaillier, packed as ours",
            randomiser="djn-half",
            timings=timings,
            bits=work.bits,
            security_bits=SECURITY_BITS[work.bits],
            bytes_per_parameter=len(added) / piece / work.layout(1).slots,
            max_abs_error=work.quantisation_error(1),
            threads=count,
        ).entry()


def _in_pieces(action: Callable[[], object], piece: int, work: Workload) -> Timing:
    """Time an action that does ``piece`` ciphertexts, for the whole vector."""
    total = work.layout(1).plaintexts

    def repeat(count: int) -> None:
        for _ in range(count):
            action()

    found = measure(repeat, -(-total // piece), least=1, budget=work.budget)
    share = total / (found.total * piece)  # the last piece may be shorter
    measured = min(total, found.measured * piece)
    return Timing(found.cpu * share, found.wall * share, measured, total)


def tenseal_ckks(work: Workload, threads: list[int]) -> Iterator[dict[str, Any]]:
    """Measure TenSEAL's CKKS: the setting of its tutorial, and the smallest that can only add.

    It holds the interpreter, so it uses one core. Both settings are of the 128-bit class by the
    Homomorphic Encryption Standard's table.

    Raises:
        ImportError: It is not installed.
    """
    del threads
    library = importlib.import_module("tenseal")
    for label, degree, chain in _CKKS:
        progress(f"TenSEAL CKKS, {label}")
        context = library.context(library.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=list(chain))
        context.global_scale = 2**40
        yield _tenseal_setting(work, library, context, label, degree // 2)


def _tenseal_setting(
    work: Workload,
    library: Any,  # noqa: ANN401 -- no types
    context: Any,  # noqa: ANN401
    label: str,
    slots: int,
) -> dict[str, Any]:
    pieces = -(-work.parameters // slots)

    def encrypt(client: int, count: int) -> list[bytes]:
        update = work.updates[client]
        return [
            library.ckks_vector(context, update[at : at + slots]).serialize()
            for at in range(0, min(count * slots, work.parameters), slots)
        ]

    def add(columns: list[list[bytes]], count: int) -> list[bytes]:
        made = []
        for index in range(count):
            column = [c[index % len(c)] for c in columns]
            total = library.ckks_vector_from(context, column[0])
            for body in column[1:]:
                total += library.ckks_vector_from(context, body)
            made.append(total.serialize())
        return made

    def decrypt(bodies: list[bytes], count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        opened = [
            library.ckks_vector_from(context, bodies[index % len(bodies)]).decrypt()
            for index in range(count)
        ]
        return np.concatenate([np.array(part) for part in opened])

    few = min(_CHECKED, pieces)
    columns = [encrypt(client, few) for client in range(work.clients)]
    sums = add(columns, few)
    means = decrypt(sums, few) / work.clients
    with cores(1):
        timings = {
            step: measure(action, pieces, least=1, budget=work.budget)
            for step, action in (
                ("encrypt", lambda count: encrypt(0, count)),
                ("aggregate", lambda count: add(columns, count)),
                ("decrypt", lambda count: decrypt(sums, count)),
            )
        }
    full = few if few * slots <= work.parameters else work.parameters / slots
    return Result(
        system=f"TenSEAL CKKS {label}",
        randomiser="ckks",
        timings=timings,
        bits=2 * slots,
        security_bits=128,
        bytes_per_parameter=sum(map(len, columns[0])) / (full * slots),
        max_abs_error=float(np.abs(means - work.mean[: len(means)]).max()),
    ).entry()


PEERS: Final = {
    "phe": phe_numbers,
    "phe, packed as ours": phe_packed,
    "sf-heu": heu_packed,
    "tenseal": tenseal_ckks,
}
"""What is measured beside ours, by the name under which a missing one is reported."""
