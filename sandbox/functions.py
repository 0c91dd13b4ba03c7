"""The functions that a policy can allow or leave out, by the class of their syntax-tree node."""

from __future__ import annotations

from typing import Final

FUNCTIONS: Final = {
    "Count": "count", "CountIf": "count_if", "ApproxDistinct": "approx_count_distinct",
    "Sum": "sum", "Avg": "avg", "Min": "min", "Max": "max", "Median": "median",
    "PercentileCont": "quantile_cont", "PercentileDisc": "quantile_disc",
    "Stddev": "stddev", "StddevSamp": "stddev", "StddevPop": "stddev_pop",
    "Variance": "variance", "VariancePop": "var_pop",
    "Corr": "corr", "CovarSamp": "covar_samp", "CovarPop": "covar_pop",
    "RegrSlope": "regr_slope", "RegrIntercept": "regr_intercept", "RegrR2": "regr_r2",
    "RegrCount": "regr_count",
    "RowNumber": "row_number", "Rank": "rank", "DenseRank": "dense_rank",
    "PercentRank": "percent_rank", "CumeDist": "cume_dist", "Ntile": "ntile", "Lag": "lag",
    "Lead": "lead", "FirstValue": "first_value", "LastValue": "last_value",
    "Abs": "abs", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Round": "round",
    "Sqrt": "sqrt", "Ln": "ln", "Exp": "exp", "Log": "log", "Pow": "pow",
    "Greatest": "greatest", "Least": "least",
    "Coalesce": "coalesce", "Nullif": "nullif", "Cast": "cast", "TryCast": "cast",
    "Case": "case", "If": "case",
    "Upper": "upper", "Lower": "lower", "Trim": "trim", "Length": "length", "Left": "left",
    "Right": "right", "Substring": "substring", "Concat": "concat", "StartsWith": "starts_with",
    "Contains": "contains",
    "Extract": "extract", "Year": "year", "Quarter": "quarter", "Month": "month", "Week": "week",
    "WeekOfYear": "week", "Day": "day", "DayOfMonth": "day", "DayOfWeek": "dayofweek",
    "DayOfWeekIso": "isodow", "DayOfYear": "dayofyear", "TimestampTrunc": "date_trunc",
    "DateTrunc": "date_trunc", "DateDiff": "date_diff", "TimeToStr": "strftime",
    "Dayname": "dayname", "Monthname": "monthname",
}  # fmt: skip
"""Node class to the name that a policy uses."""

NAMES: Final = frozenset(FUNCTIONS.values())
