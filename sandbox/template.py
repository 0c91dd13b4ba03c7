"""The policy that ``fusion policy init`` writes: one to change, with each choice explained."""

from __future__ import annotations

from typing import Final

TEMPLATE: Final = """\
# What may be asked of these tables, and how coarse the answers are. docs/policy.md explains each
# key. A table or a column that is not here can't be asked about.
schema: fusion.policy/1
title: People and their visits
# dp: noise under a budget of privacy, instead of the rules below. It needs `budget`, and groups are
# values that are listed here.
mode: sdc

tables:
  people:
    # Whom a row is about: joined and counted, never shown.
    entity: person_id
    # The most rows of one person that count.
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      # dimension: to group and filter by. number: to add up and average, within bounds that
      # everybody may know; conditions, quantiles and arithmetic know its bin alone. date: grouped
      # by month at the finest.
      birth_year: {class: dimension, type: integer, low: 1900, high: 2030}
      sex: {class: dimension, values: [F, M]}
      region: {class: dimension}
      income: {class: number, low: 0, high: 1000000, decimals: 2, bin: 500}
  visits:
    entity: person_id
    rows: 500
    columns:
      person_id: {class: key, type: integer}
      day: {class: date, low: "2000-01-01", high: "2040-12-31", finest: month}
      department: {class: dimension}
      diagnosis: {class: dimension, sensitive: true}
  regions:
    # Everybody may know all of it.
    public: true
    columns:
      region: {class: public}
      population: {class: public, type: integer}

# ACRO's defaults: at least 10 people behind everything that is shown, no one or two of whom
# dominate it; counts rounded to 5, sums to 5 of the largest contributions.
release:
  k: 10
  dominance: {n: 2, percent: 90}
  p_percent: 10
  freedom: 10
  base: 5
  sums: largest
  conditions: bin
  quantiles: {low_percent: 5, high_percent: 95, rounding: bin}
  # Noise by the set of people behind a value: 2000 is a standard deviation of 2.
  noise: {sd_milli: 2000}
  rows: 10000

# Answers leave a quarter of a second after work began, or late; 32 late ones a month, then nothing
# is answered. Large tables want a longer first step.
time: {first_milliseconds: 250, late: 32}
"""
