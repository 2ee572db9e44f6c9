"""Units as multiples of the canonical unit of their kind."""

from __future__ import annotations

SCALES = {
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0,
    "W": 1.0, "mW": 1e-3, "kW": 1e3,
    "B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "MB": 1e6, "GB": 1e9,
    "tok/s": 1.0, "req/s": 1.0, "req/min": 1 / 60, "%": 0.01,
    "tok/s/gpu": 1.0, "tok/s/user": 1.0, "fraction": 1.0, "tok": 1.0, "procs": 1.0, "$/Mtok": 1.0,
}  # fmt: skip
"""Unit -> what one of it is in seconds, watts, bytes, tokens/s, requests/s, or as a fraction."""
