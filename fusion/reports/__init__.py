"""Reports: one offline HTML file each, made from values; no clock, no files, no network."""

from __future__ import annotations
