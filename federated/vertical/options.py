"""Options of a vertical study become its terms; what is none is refused before records are aligned.

An alignment tells the parties what they have in common, so that it is not begun for a study that
can't run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from federated.protocols.vertical.binning import MAX_BINS
from federated.protocols.vertical.gradients import Goss
from federated.protocols.vertical.linear_terms import LinearTerms
from federated.protocols.vertical.trees import Growth
from federated.vertical import simulated_scorecard
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.gradients import Objective

Backend = Literal["paillier", "dealer", "plain"]
BACKENDS: Final = ("paillier", "dealer", "plain")
LINEAR_BACKENDS: Final = ("dealer", "paillier")
MODELS: Final = ("boosting", "logistic", "linear", "poisson", "scorecard")
MAX_SEED: Final = 2**53 - 1
"""As in a study: what JSON carries exactly."""
_OF_TREES: Final = ("trees", "depth", "bins", "min_leaf", "goss", "patience", "monotone")
_OF_DESCENT: Final = ("epochs",)
_OPTIONS: Final = {
    "boosting": _OF_TREES,
    "scorecard": ("bins", *_OF_DESCENT),
    "logistic": _OF_DESCENT,
    "linear": _OF_DESCENT,
    "poisson": _OF_DESCENT,
}
"""Which options beyond those that every model has."""
_SIZES: Final = ("trees", "depth", "bins", "epochs")
"""How much is trained: said for several models at once, what a model has not is left aside."""


def check(model: str, options: Mapping[str, Any]) -> None:
    """Refuse options that make no study, whatever its tables.

    Args:
        model: One of :data:`MODELS`.
        options: See :func:`federated.vertical.simulation.simulate`.

    Raises:
        InputInvalid: There is no such model or back end, the model has no such option (but see
            :func:`unused`), or a value is out of its range.
    """
    if model not in MODELS:
        raise InputInvalid(f"There is no model {model!r}.", hint=f"Use {', '.join(MODELS)}.")
    if not 0 <= options["test_fraction"] < 1:
        raise InputInvalid("The share of rows that judge is from 0 to below 1.")
    if not 0 <= options.get("seed", 0) <= MAX_SEED:
        raise InputInvalid(
            "The value of 'seed' is out of its range.", hint=f"It is from 0 to {MAX_SEED}."
        )
    backend(model, options)
    for name in sorted(set(_strange(model, options)) - set(_SIZES)):
        option = name.replace("_", "-")
        raise InputInvalid(f"The model {model} has no --{option}.", hint="Leave it out.")
    if model == "boosting":
        growth(options, "logistic")
        bins = options.get("bins")
        if bins is not None and not 2 <= bins <= MAX_BINS:
            raise InputInvalid(
                "The value of 'bins' is out of its range.", hint=f"It is from 2 to {MAX_BINS}."
            )
        if options.get("patience") and not options["test_fraction"]:
            raise InputInvalid(
                "Without rows that judge nobody sees when to stop.",
                hint="Leave out --patience, or raise --test-fraction.",
            )
        return
    if model == "scorecard":
        simulated_scorecard.section(options, backend(model, options))
    else:
        linear_terms(model, options, rows=2)


def _strange(model: str, options: Mapping[str, Any]) -> list[str]:
    """Return which options are given that the model has not."""
    others = [name for name in (*_OF_TREES, *_OF_DESCENT) if name not in _OPTIONS[model]]
    return [name for name in others if options.get(name) is not None and options[name] != {}]


def unused(model: str, options: Mapping[str, Any]) -> list[str]:
    """Return which options are given that :func:`check` takes and the model does not use."""
    return [name for name in _strange(model, options) if name in _SIZES]


def backend(model: str, options: Mapping[str, Any]) -> Backend:
    """Return how columns stay hidden."""
    if model != "boosting":
        chosen = options.get("backend") or "dealer"
        if chosen not in LINEAR_BACKENDS:
            raise InputInvalid(
                f"Linear models have no back end {chosen!r}.",
                hint="Use --backend dealer, or --backend paillier.",
            )
        return cast("Backend", chosen)
    chosen = options.get("backend") or "paillier"
    if chosen not in BACKENDS:
        raise InputInvalid(f"There is no back end {chosen!r}.", hint=f"Use {', '.join(BACKENDS)}.")
    return cast("Backend", chosen)


def growth(options: Mapping[str, Any], objective: Objective) -> Growth:
    """Return how trees grow."""
    chosen = _given(
        options, ("trees", "depth", "learning_rate", "l2", "min_leaf", "patience", "seed")
    )
    shares = options.get("goss")
    goss = Goss(top=shares[0], other=shares[1]) if shares is not None else None
    return Growth(objective=objective, goss=goss, **chosen)


def linear_terms(model: str, options: Mapping[str, Any], rows: int) -> LinearTerms:
    """Return how a linear model is trained on so many rows."""
    chosen = _given(options, ("epochs", "learning_rate", "l2"))
    return LinearTerms(family=model, rows=rows, **chosen)  # type: ignore[arg-type]


def _given(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def directions(
    tables: Sequence[Mapping[str, NDArray[Any]]], options: Mapping[str, Any]
) -> Mapping[str, int]:
    """Return the signs of monotone columns, of all parties that have one of the name.

    Raises:
        InputInvalid: Nobody has such a column, or it holds words.
    """
    signs: Mapping[str, int] = options.get("monotone") or {}
    for name in signs:
        found = [table[name] for table in tables if name in table]
        if not found or any(column.dtype == object for column in found):
            raise InputInvalid(
                f"No party has a column {name!r} of numbers that could be monotone.",
                hint="Name a column of a party's table with --monotone COLUMN:+ or COLUMN:-.",
            )
    return signs
