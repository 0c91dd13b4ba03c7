"""Rounding to multiples of a step, and steps of one digit."""

from __future__ import annotations

from fractions import Fraction


def round_up(value: Fraction) -> Fraction:
    """Return the least number with one digit, followed by zeros, that is not below ``value``."""
    if value <= 0:
        return Fraction(0)
    power = Fraction(1)
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return power * -(-value // power)


def rounded(value: Fraction, step: Fraction) -> Fraction:
    """Return the multiple of a step that is nearest, halves away from 0."""
    if step <= 0:
        return value
    sign = -1 if value < 0 else 1
    return sign * ((abs(value) / step + Fraction(1, 2)) // 1) * step
