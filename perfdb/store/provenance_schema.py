"""Version 4 of the schema: how each file was read, which records several files brought, and a view of the results."""

from __future__ import annotations

VIEWS = ("results",)
"""Every view of the newest version."""

_DUPLICATES = """
CREATE TABLE duplicates (
    source_id BIGINT NOT NULL, source_row BIGINT NOT NULL, content_key UUID NOT NULL, occurrence INTEGER NOT NULL
)"""

_LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
_OTHERS = (
    "output_tps",
    "total_tps",
    "input_tps",
    "request_tps",
    "output_tps_per_gpu",
    "total_tps_per_gpu",
    "output_tps_per_user",
    "success_rate",
    "input_tokens",
    "output_tokens",
    "duration_s",
    "power_w",
    "memory_bytes",
)


def _value(metric: str, statistic: str) -> str:
    return f"max(value) FILTER (metric = '{metric}' AND statistic = '{statistic}')"


def _columns() -> str:
    """A metric's own name is its mean or plain value, as in `Store.results`."""
    plain = [f"coalesce({_value(m, 'mean')}, {_value(m, 'value')}) AS {m}" for m in (*_LATENCIES, *_OTHERS)]
    return ", ".join(plain + [f"{_value(m, s)} AS {m}_{s}" for m in _LATENCIES for s in ("p50", "p90", "p95", "p99")])


PROVENANCE = (
    "ALTER TABLE sources ADD COLUMN settings VARCHAR DEFAULT '{}'",
    _DUPLICATES,
    f"""
CREATE VIEW results AS
SELECT p.* EXCLUDE (source_id, source_row, content_key, occurrence, config_key, point_index),
       e.run_id, s.path AS file, p.source_row AS "row", m.* EXCLUDE (point_id)
FROM operating_points p
LEFT JOIN (SELECT point_id, {_columns()} FROM measurements GROUP BY point_id) m ON m.point_id = p.point_id
LEFT JOIN sources s ON s.source_id = p.source_id
LEFT JOIN experiments e ON e.experiment_id = p.experiment_id""",
)
"""The statements that bring version 3 to version 4."""
