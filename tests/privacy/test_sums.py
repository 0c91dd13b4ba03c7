"""The noise of sums that were decrypted: its distribution, with how many answering, and its use."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated.data import Standardiser, prepare
from federated.layouts import layouts
from federated.models.registry import build
from federated.parameters import encode_parameters
from federated.privacy.contribution import Part, noised
from federated.privacy.plan import Release
from federated.privacy.rows import gradient_sum, joined
from federated.protocols.secure_sum import aggregate, combine, list_commitments, read_partials
from federated.study import parse_study
from federated.tables import read_columns
from federated.terms import agree
from fusion.crypto.paillier import packing
from fusion.crypto.paillier.packing import Layout, Tensor
from fusion.errors import DataInvalid
from tests.crypto.test_gaussian import BEYOND, UNLIKELY, chi_square
from tests.federation import NAMES, federation, write_table
from tests.privacy.private import PRIVATE
from tests.sums import federation_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.cohort import Request
    from federated.sums import SumResult
    from tests.federation import Federation
    from tests.keys import Dealt

SIZE = 12_000
WIDE = PRIVATE.replace('kind = "logistic"', 'kind = "mlp"\nhidden = [100, 130]')


def _small(contributors: int, sigma: int) -> tuple[Layout, Release]:
    """Return a layout and noise so small that every value of the sum can be counted."""
    layout = Layout(
        tensors=(Tensor(name="w", size=SIZE, kind="real", clip=2.0**11),),
        value_bits=12,
        contributors=contributors,
        key_bits=2048,
    )
    release = Release(unit=16, weight=0, bound=500, sigma=sigma, rho=Decimal(0))
    return layout, release


@pytest.mark.parametrize("names", ["abcd", "abd"])
def test_the_decrypted_sum_has_the_distribution_of_so_many_shares(dealt: Dealt, names: str) -> None:
    """Chi-square of the plaintext against the convolution of the contributors' noise."""
    made = federation_of(dealt)
    layout, release = _small(4, 2)
    made = dataclasses.replace(
        made, terms=dataclasses.replace(made.terms, layouts={"train": layout})
    )
    manifest = made.manifest()
    values = np.arange(SIZE) % 7
    commitments = [
        made.contributor(name).commit(manifest, noised(layout, release, {"w": values}))
        for name in names
    ]
    listing = list_commitments(made.terms, manifest, commitments, made.hub)
    sent = [made.contributor(name).submit(manifest, listing) for name in names]
    total = aggregate(made.terms, manifest, listing, sent)
    answers = {
        name: read_partials(made.terms, manifest, made.gate(name).open(manifest, listing, sent))
        for name in "abc"
    }
    plaintexts, wrong = combine(made.terms, total, answers)
    assert plaintexts is not None
    assert not wrong
    slots = packing.unpack(layout, plaintexts).astype(np.int64)
    noise = slots - len(names) * (2**11 + values)

    one = np.exp(-(np.arange(-24, 25.0) ** 2) / (2.0 * release.sigma**2))
    one /= one.sum()
    share = one
    for _ in range(len(names) - 1):
        share = np.convolve(share, one)
    counts = np.bincount(noise + len(share) // 2, minlength=len(share))
    assert chi_square(counts, share * SIZE) < BEYOND
    variance = float((noise.astype(float) ** 2).mean())
    wanted = len(names) * release.sigma**2
    assert abs(variance / wanted - 1) < UNLIKELY * math.sqrt(2 / SIZE)


def _trained(made: Federation, number: int = 1) -> tuple[SumResult, NDArray[np.float64]]:
    """Run one training sum of the wide model; return it, and what it is without noise."""
    engine = made.run()
    engine._set_up_all()
    _, model = agree(made.study, "job", made.roster, made.key, NAMES)
    params = model.initial(1)
    standardiser = Standardiser(np.array([50.0]), np.array([20.0]))
    result = engine._sums.run("train", number, encode_parameters(params), standardiser.to_json())
    noise, privacy = made.study.noise, made.study.privacy
    assert noise is not None
    assert privacy is not None
    release = noise.releases["train"]
    plain = np.zeros(params.size)
    for name in result.contributors:
        data = made.parties[name].party._jobs["job"].data
        rows = (standardiser.apply(data.train_x), data.train_y)
        plain += gradient_sum(
            model, params, rows,
            clip_norm=privacy.clip_norm, release=release, watch=lambda: None,
        )["update"] * (privacy.clip_norm / release.unit)  # fmt: skip
    return result, result.totals["update"] - plain


@pytest.mark.parametrize("away", [(), ("south",)])
def test_with_k_of_n_answering_a_training_sum_has_at_least_the_noise_it_needs(
    tmp_path: Path, dealt: Dealt, away: tuple[str, ...]
) -> None:
    made = federation(tmp_path, dealt, study=WIDE)
    for name in away:
        made.parties[name].away = lambda request: request.kind == "contribute"  # type: ignore[index]
    result, noise = _trained(made)
    assert len(result.contributors) == 4 - len(away)
    plan = made.study.noise
    assert plan is not None
    assert plan.sharers == 2
    release = plan.releases["train"]
    assert made.study.privacy is not None
    share = (release.sigma * made.study.privacy.clip_norm / release.unit) ** 2
    variance = float((noise**2).mean())
    room = 1 - UNLIKELY * math.sqrt(2 / noise.size)
    assert variance > plan.sharers * share * room
    assert abs(variance / (len(result.contributors) * share) - 1) < 1 - room
    deviations = np.sort(noise) / math.sqrt(variance)
    normal = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in deviations])
    steps = (np.arange(noise.size) + 0.5) / noise.size
    assert np.abs(normal - steps).max() < 3.2 / math.sqrt(noise.size)  # Kolmogorov, 1 in 10^8
    counted = result.totals["rows"][0]
    rows = sum(len(made.parties[n].party._jobs["job"].data.train_y) for n in result.contributors)
    assert 0 < abs(counted - rows) < 12 * 2 * release.sigma / release.weight


def test_the_same_round_asked_again_is_the_same_noise(tmp_path: Path, dealt: Dealt) -> None:
    """Also after a restart: what is on disk is sent, nothing is drawn again."""
    made = federation(tmp_path, dealt, study=PRIVATE)
    seen: list[tuple[Request, bytes]] = []
    north = made.parties[NAMES[0]]
    handled = north.party.handle

    def look(request: Request) -> object:
        reply = handled(request)
        if request.kind in {"contribute", "submit"}:
            seen.append((request, str(reply.head).encode() + b"".join(reply.blobs.values())))
        return reply

    north.party.handle = look  # type: ignore[method-assign,assignment]
    _trained(made)
    north.party = type(north.party)(north.party._seat)  # a restart: the log stays
    for request, first in seen:
        reply = north.party.handle(request)
        if request.kind == "submit":
            assert b"".join(reply.blobs.values()) in first
        assert str(reply.head.get("commitment", "")).encode() in first


def test_two_attempts_do_not_share_their_noise(tmp_path: Path) -> None:
    part, layout = _part(tmp_path)
    first, second = part.slots(layout, "moments", None), part.slots(layout, "moments", None)
    assert (first != second).any()


def test_a_layout_without_room_and_a_study_without_noise_are_refused(tmp_path: Path) -> None:
    layout, release = _small(4, 2)
    tight = dataclasses.replace(release, bound=2047)
    with pytest.raises(DataInvalid, match="no room"):
        noised(layout, tight, {"w": np.zeros(SIZE, np.int64)})
    part, moments = _part(tmp_path)
    with pytest.raises(DataInvalid, match="no model"):
        part.slots(moments, "train", None)
    plain = dataclasses.replace(part, study=dataclasses.replace(part.study, privacy=None))
    with pytest.raises(DataInvalid, match="without noise"):
        plain.slots(moments, "moments", None)


def _part(folder: Path) -> tuple[Part, Layout]:
    study = parse_study(PRIVATE, "study.toml")
    model = build(study, study.features)
    data = prepare(study, read_columns(study, write_table(folder / "one.csv")))
    return Part(study, model, data, lambda: None), layouts(study, parameters=4, moments=3)[
        "moments"
    ]


@pytest.mark.parametrize("extreme", [10**12, -(10**12)])
def test_no_slot_wraps_whatever_the_sum(extreme: int) -> None:
    layout, release = _small(4, 40)
    slots = noised(layout, release, {"w": np.full(SIZE, extreme)}).astype(np.int64)
    middle = 2**11 + (500 if extreme > 0 else -500)
    assert np.abs(slots - middle).max() <= 12 * release.sigma
    assert slots.min() >= 0
    assert slots.max() < 2**12


# ------------------------------------------------------------------------------- neighbours


def _statistics(study_text: str, folder: Path, runs: int, *, without: bool) -> np.ndarray:
    """Train once, many times over, on two tables, one of them with or without one extreme row.

    The runs' sums are the same and lie side by side in one wide layout, so that the noise of all of
    them is drawn at once: :meth:`Part.slots` draws it as independently, run by run, and slowly.
    """
    study = parse_study(study_text, "study.toml")
    assert study.noise is not None
    release = study.noise.releases["train"]
    model = build(study, study.features)
    layout = layouts(study, parameters=model.initial(1).size, moments=3)["train"]
    wide = dataclasses.replace(
        layout,
        tensors=tuple(dataclasses.replace(t, size=t.size * runs) for t in layout.tensors),
    )
    data = [
        prepare(study, read_columns(study, write_table(folder / f"{i}.csv", seed=i)))
        for i in range(2)
    ]
    # The row that is there or not: as far from all others as a row can be.
    odd = np.array([[1e9, 1.0, 0.0]])
    first = (
        data[0]
        if without
        else dataclasses.replace(
            data[0],
            train_x=np.concatenate([data[0].train_x, odd]),
            train_y=np.append(data[0].train_y, 0.0),
        )
    )
    params = np.zeros(model.initial(1).size)
    total = np.zeros(sum(tensor.size for tensor in wide.tensors), np.int64)
    for each in (first, data[1]):
        part = Part(study, model, each, lambda: None)
        sums = part._sums("train", (params, each.train_x, each.holdout_x), release)
        repeated = {name: np.tile(values, runs) for name, values in sums.items()}
        total += noised(wide, release, repeated).astype(np.int64)
    update = total[: wide.tensors[0].size].reshape(runs, -1)
    # The direction in which that row pulls: against its only large input, and by its count.
    statistics: np.ndarray = 4.0 * -update[:, 0].astype(float) + total[-runs:].astype(float)
    return statistics


def test_slots_are_the_sums_with_noise_added(tmp_path: Path) -> None:
    """What the statistics here take apart is what a contribution is made of."""
    part, _ = _part(tmp_path)
    data, params = part.data, np.zeros(part.model.initial(1).size)
    incoming = (params, data.train_x, data.holdout_x)
    layout = layouts(part.study, parameters=params.size, moments=3)["train"]
    assert part.study.noise is not None
    release = part.study.noise.releases["train"]
    sums = joined(part._sums("train", incoming, release), {t.name: t.size for t in layout.tensors})
    noise = part.slots(layout, "train", incoming).astype(np.int64)
    noise -= (1 << (layout.value_bits - 1)) + np.clip(sums, -release.bound, release.bound)
    assert noise.any()
    assert np.abs(noise).max() <= 12 * release.sigma


@pytest.mark.parametrize("epsilon_micro", [100_000, 1_000_000])
def test_one_row_more_or_less_can_not_be_told_beyond_epsilon(
    tmp_path: Path, epsilon_micro: int
) -> None:
    """The best test against one round, of one organisation's row, stays within (epsilon, delta)."""
    text = PRIVATE.replace("1000000\n", f"{epsilon_micro}\n").replace("rounds = 2", "rounds = 1")
    text = text.replace("value_bits = 28", "value_bits = 32")
    runs = 6000
    with_row = _statistics(text, tmp_path, runs, without=False)
    without = _statistics(text, tmp_path, runs, without=True)
    epsilon = epsilon_micro / 1e6
    for threshold in np.quantile(np.concatenate([with_row, without]), np.linspace(0.05, 0.95, 19)):
        for one, other in ((with_row, without), (without, with_row)):
            for p, q in (
                ((one > threshold).mean(), (other > threshold).mean()),
                ((one <= threshold).mean(), (other <= threshold).mean()),
            ):
                slack = 5 * math.sqrt((p + math.exp(2 * epsilon) * q) / runs)
                assert p <= math.exp(epsilon) * q + 1e-6 + slack
    # Neither is there more noise than was asked for: the row shifts the mean by sqrt(2·rho) sigma.
    noise = parse_study(text, "study.toml").noise
    assert noise is not None
    shift = (with_row.mean() - without.mean()) / without.std()
    assert abs(abs(shift) - math.sqrt(2 * float(noise.releases["train"].rho))) < 5 * math.sqrt(
        2 / runs
    )


def test_without_noise_the_same_row_is_told_at_once(tmp_path: Path) -> None:
    """That the test above would find a leak."""
    text = PRIVATE.replace("1000000\n", "100000000\n").replace("rounds = 2", "rounds = 1")
    with_row = _statistics(text, tmp_path, 40, without=False)
    without = _statistics(text, tmp_path, 40, without=True)
    assert max(without) < min(with_row) or max(with_row) < min(without)
