"""What the memory of one device holds under a config, as a document and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.memory import GIB, Memory, overhead_parts
from model.points import Points
from servecast.output import print_table

_PARTS: Mapping[str, str] = {
    "weights": "weights",
    "context": "context",
    "communication": "communication",
    "activations": "activations",
    "kv_cache": "KV cache",
    "unused": "unused",
    "outside": "outside",
}
"""What the parts of an account are called at a terminal."""


def memory_account(points: Points, found: Memory, row: int = 0) -> dict[str, Any]:
    """The account of one config, bytes on one device: "parts" add up to its memory where the config fits.

    "kv_needed_bytes" are those of what its KV cache must hold at least, and "lacking_bytes" how many more it takes than
    there are. "blocks" were "told" of a server's log, or are "calculated" from what is left.
    """
    beside = {name: values[row].item() for name, values in overhead_parts(points).items()}
    weights, available, needed = (part[row].item() for part in (found.weights, found.available, found.kv_needed))
    per_token, size, blocks = (part[row].item() for part in (found.kv_per_token, points.block_size, found.blocks))
    taken = weights + sum(beside.values())
    lacking = max(taken + needed - available, 0.0)
    cache = blocks * size * per_token
    device = points.platform.memory_bytes
    rest = {"kv_cache": cache, "unused": max(available - taken - cache, 0.0), "outside": device - available}
    return {
        "device_bytes": device,
        "available_bytes": available,
        "parts": {"weights": weights, **beside, **rest},
        "weight_format": points.weight_names[points.weight_row[row]],
        "kv_format": points.cache_names[points.cache_row[row]],
        "kv_bytes_per_token": per_token,
        "block_size": size,
        "blocks": blocks,
        "blocks_from": "told" if points.kv_blocks[row] > 0 else "calculated",
        "tokens": blocks * size,
        "sequences": found.sequences[row].item() if found.feasible[row] else 0.0,
        "kv_needed_bytes": needed,
        "lacking_bytes": lacking,
        "fits": bool(found.feasible[row]),
    }


def say_memory(account: Mapping[str, Any]) -> None:
    """A table of the parts, in GiB, and what they are."""
    device, parts = account["device_bytes"], account["parts"]
    about = {
        "weights": account["weight_format"],
        "context": "driver and libraries",
        "communication": "buffers of messages between devices",
        "activations": "of the largest step, or its logits",
        "kv_cache": _cache_text(account),
        "outside": "what the engine leaves: graphs, fragments, the driver's own",
    }
    table = [
        [_PARTS[name], f"{size / GIB:.2f}", f"{size / device:.1%}", about.get(name, "")]
        for name, size in parts.items()
        if round(size / GIB, 2)
    ]
    print_table(["memory", "GiB", "share", "what"], table, f"\nmemory of a device: {device / GIB:.1f} GiB")
    if not account["fits"]:
        print(_lacking_text(account))


def _lacking_text(account: Mapping[str, Any]) -> str:
    needed, lacking = account["kv_needed_bytes"], account["lacking_bytes"]
    if account["blocks_from"] == "told":
        per_token = account["kv_bytes_per_token"]
        return f"lacks {lacking / per_token:,.0f} of the {needed / per_token:,.0f} tokens that one longest sequence has"
    least = f"the {needed / GIB:.2f} GiB of KV cache that one longest sequence takes"
    return f"lacks {lacking / GIB:.2f} GiB: with {least}, more than the engine may take"


def _cache_text(account: Mapping[str, Any]) -> str:
    """Blocks and where their number is from, tokens, and of the load's sequences how many are in there."""
    blocks = f"{account['blocks']:,.0f} blocks of {account['block_size']:.0f} ({account['blocks_from']})"
    tokens = (
        f"{account['tokens']:,.0f} tokens of {account['kv_bytes_per_token'] / 1024:.4g} KiB ({account['kv_format']})"
    )
    held = f", {account['sequences']:,.0f} sequences of this load" if account["fits"] else ""
    return f"{blocks}: {tokens}{held}"
