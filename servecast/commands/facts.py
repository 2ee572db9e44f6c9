"""`servecast models`, `platforms`, `engines`: the names that the other commands know."""

from __future__ import annotations

from typing import Annotated

import typer

from servecast.options import Json

Name = Annotated[str | None, typer.Argument(help="Only this one, in full.", show_default=False)]


def models(name: Name = None, json: Json = False) -> None:
    """List the known model architectures; any other works by its folder with a config.json, or its GGUF file.

    Your own stand in the file that SERVECAST_FACTS names, or in ~/.config/servecast/facts.yaml; see docs/facts.md.
    """
    from perfdb.facts.models import known_models
    from servecast.output import emit_json, print_table

    rows = [_model_row(known) for known in ([name] if name else sorted(known_models()))]
    if json:
        emit_json({"models": rows})
        return
    shown = [row for row in rows if not row["unsupported"]]
    columns = ["name", "parameters", "active", "layers", "hidden", "heads", "kv_heads", "source"]
    if shown:
        print_table(columns, [[row[column] for column in columns] for row in shown])
    named = [row for row in rows if row["unsupported"]]
    if named:
        print_table(
            ["known by name, not predicted", "because of"], [[row["name"], row["unsupported"]] for row in named]
        )


def _model_row(name: str) -> dict[str, object]:
    """What is known of one model: by its name, or of the folder or file at this path."""
    from model.checkpoint.architecture import resolve_model
    from perfdb.errors import UnknownNameError
    from perfdb.facts.models import model_facts

    try:
        facts = model_facts(name)
    except UnknownNameError:
        facts = None
    row: dict[str, object] = {"name": facts.name if facts else name}
    if facts is None or not facts.unsupported:
        a = resolve_model(name)
        row = {
            "name": a.name,
            "parameters": a.params,
            "active": a.active_params,
            "layers": a.layers,
            "hidden": a.hidden,
            "heads": a.heads,
            "kv_heads": a.kv_heads,
        }
    source, origin = (facts.source, facts.origin) if facts else (name, name)
    return {**row, "unsupported": facts.unsupported if facts else "", "source": source, "origin": origin}


def platforms(name: Name = None, json: Json = False) -> None:
    """List the known accelerators with their peaks, and `local`, this machine's CPU.

    Your own stand in the file that SERVECAST_FACTS names, or in ~/.config/servecast/facts.yaml: each with kind,
    memory_gib, bandwidth_gb_s, tflops and source; see docs/facts.md.
    """
    from perfdb.facts.platforms import LOCAL, known_platforms, platform
    from servecast.output import emit_json, print_table

    rows = []
    for known in [name] if name else [*known_platforms(), LOCAL]:
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
                "origin": facts.origin,
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
                {
                    "name": p.name,
                    "default": p.default,
                    "larger": p.larger,
                    "applied": p.applied.value,
                    "meaning": p.meaning,
                    "values": p.values,
                }
                for p in facts.parameters.values()
            ]
            for facts in found
        }
        emit_json(
            {"engines": [{"name": f.name, "launches": f.launches, "parameters": parameters[f.name]} for f in found]}
        )
        return
    for facts in found:
        rows = [
            [p.name, p.shown_default, p.applied.value, ": ".join(filter(None, (p.meaning, ", ".join(p.values))))]
            for p in facts.parameters.values()
        ]
        launched = "launched by servecast" if facts.launches else "predicted and imported; launch it yourself"
        print_table(["parameter", "default", "applied", "meaning"], rows, title=f"{facts.name} ({launched})")
        print()
