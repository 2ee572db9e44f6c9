"""`servecast models`, `platforms`, `engines`: the names that the other commands know."""

from __future__ import annotations

from typing import Annotated

import typer

from servecast.options import Json

Name = Annotated[str | None, typer.Argument(help="Only this one, in full.", show_default=False)]


def models(name: Name = None, json: Json = False) -> None:
    """List the known model architectures; any other works by its folder with a config.json, or its GGUF file."""
    from model.architecture import resolve_model
    from perfdb.facts.models import MODELS
    from servecast.output import emit_json, print_table

    rows = []
    for known in [name] if name else sorted(MODELS):
        a = resolve_model(known)
        rows.append(
            {
                "name": a.name,
                "parameters": a.params,
                "active": a.active_params,
                "layers": a.layers,
                "hidden": a.hidden,
                "heads": a.heads,
                "kv_heads": a.kv_heads,
            }
        )
    if json:
        emit_json({"models": rows})
    else:
        print_table(list(rows[0]), [list(row.values()) for row in rows])


def platforms(name: Name = None, json: Json = False) -> None:
    """List the known accelerators with their peaks, and `local`, this machine's CPU."""
    from perfdb.facts.platforms import LOCAL, PLATFORMS, platform
    from servecast.output import emit_json, print_table

    rows = []
    for known in [name] if name else [*PLATFORMS, LOCAL]:
        facts = platform(known)
        rows.append(
            {
                "name": facts.name,
                "vendor": facts.vendor,
                "kind": facts.kind,
                "memory_bytes": facts.memory_bytes,
                "bandwidth_bytes_s": facts.bandwidth_bytes_s,
                "flops": dict(facts.flops),
                "link_bytes_s": facts.link_bytes_s,
                "usd_per_hour": facts.usd_per_hour,
                "source": facts.source,
            }
        )
    if json:
        emit_json({"platforms": rows})
        return
    columns = ["name", "kind", "memory (GiB)", "bandwidth (GB/s)", "16-bit (TFLOP/s)", "$/h", "source"]
    print_table(columns, [_platform_row(row) for row in rows])


def _platform_row(row: dict[str, object]) -> list[object]:
    flops, memory, bandwidth = row["flops"], row["memory_bytes"], row["bandwidth_bytes_s"]
    assert isinstance(flops, dict)
    assert isinstance(memory, float)
    assert isinstance(bandwidth, float)
    half = flops.get("bf16") or flops.get("fp16") or flops.get("fp32")
    price = row["usd_per_hour"]
    return [row["name"], row["kind"], memory / 2**30, bandwidth / 1e9, half and half / 1e12, price, row["source"]]


def engines(name: Name = None, json: Json = False) -> None:
    """List the known engines and their parameters: default, how a change is applied, and meaning."""
    from perfdb.facts.engines import ENGINES, engine
    from servecast.output import emit_json, print_table

    found = [engine(name)] if name else list(ENGINES.values())
    if json:
        parameters = {
            facts.name: [
                {"name": p.name, "default": p.default, "applied": p.applied.value, "meaning": p.meaning}
                for p in facts.parameters.values()
            ]
            for facts in found
        }
        emit_json(
            {"engines": [{"name": f.name, "launches": f.launches, "parameters": parameters[f.name]} for f in found]}
        )
        return
    for facts in found:
        rows = [[p.name, p.default, p.applied.value, p.meaning] for p in facts.parameters.values()]
        launched = "launched by servecast" if facts.launches else "predicted and imported; launch it yourself"
        print_table(["parameter", "default", "applied", "meaning"], rows, title=f"{facts.name} ({launched})")
        print()
