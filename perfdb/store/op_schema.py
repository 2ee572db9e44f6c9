"""Version 3 of the schema: operations with an argument per column instead of a JSON shape and six numbers."""

from __future__ import annotations

_TABLE = """
CREATE TABLE typed_operations (
    source_id BIGINT NOT NULL, source_row BIGINT NOT NULL,
    platform VARCHAR, engine VARCHAR, engine_version VARCHAR, op VARCHAR NOT NULL, phase VARCHAR,
    dtype VARCHAR, kv_dtype VARCHAR, gemm_dtype VARCHAR, kernel VARCHAR, distribution VARCHAR, model VARCHAR,
    statistic VARCHAR, origin VARCHAR, more VARCHAR,
    m INTEGER, n INTEGER, k INTEGER,
    batch_size INTEGER, isl INTEGER, prefix INTEGER, heads SMALLINT, kv_heads SMALLINT, head_dim SMALLINT,
    window_size INTEGER, decode_batch SMALLINT, decode_kv INTEGER,
    tokens INTEGER, hidden INTEGER, inter INTEGER, topk SMALLINT, experts SMALLINT, active_experts SMALLINT,
    tp SMALLINT, moe_tp SMALLINT, moe_ep SMALLINT, devices SMALLINT, nodes SMALLINT, elements BIGINT, bytes BIGINT,
    latency_s DOUBLE NOT NULL, spread DOUBLE, measured_at TIMESTAMP
)"""

_INTEGERS = ("m", "n", "k", "batch_size", "isl", "prefix", "window_size", "decode_kv", "tokens", "hidden", "inter")
_SMALL = (
    *("heads", "kv_heads", "head_dim", "decode_batch", "topk", "experts", "active_experts"),
    *("tp", "moe_tp", "moe_ep", "devices", "nodes"),
)
_ARGUMENTS = {
    **dict.fromkeys(_INTEGERS, "INTEGER"),
    **dict.fromkeys(_SMALL, "SMALLINT"),
    **dict.fromkeys(("elements", "bytes"), "BIGINT"),
}


def _whole(name: str) -> str:
    """SQL of an argument of the old shape, NULL where it is no whole number that the column holds."""
    number = f"TRY_CAST(json_extract_string(shape, '$.{name}') AS DOUBLE)"
    return f"CASE WHEN {number} = trunc({number}) THEN TRY_CAST({number} AS {_ARGUMENTS[name]}) END"


def _rest() -> str:
    """SQL of what an old row says besides: the arguments without a column, or its bare numbers if it names none."""
    # a merge takes out what is null in its second object
    kept = ", ".join(
        f"'{name}', CASE WHEN {_whole(name)} IS NULL THEN json_extract(shape, '$.{name}') END" for name in _ARGUMENTS
    )
    bare = ", ".join(f"'a{place}', a{place}" for place in range(1, 7))
    rest = (
        f"CASE WHEN shape IS NOT NULL THEN json_merge_patch(shape, json_object({kept})) "
        f"ELSE json_merge_patch('{{}}', json_object({bare})) END"
    )
    return f"nullif(({rest})::VARCHAR, '{{}}')"


OPERATION_COLUMNS = (
    _TABLE,
    f"""INSERT INTO typed_operations BY NAME
        SELECT source_id, source_row, platform, engine, engine_version, op, dtype, 'measured' AS origin,
               {_rest()} AS more, {", ".join(f"{_whole(name)} AS {name}" for name in _ARGUMENTS)}, latency_s, spread
        FROM op_measurements""",
    "DROP TABLE op_measurements",
    "ALTER TABLE typed_operations RENAME TO op_measurements",
)
"""The statements that bring op_measurements of version 2 to version 3; every row is kept."""
