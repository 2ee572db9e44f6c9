"""The answer of `whatif` as a page: the throughput of a device against what a user waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.errors import InputError
from search.frontier import non_dominated
from servecast.output import config_text
from servecast.report.axes import BLUE, GREY, log_ticks, write_whole

_ERROR_BARS = 60
"""Most configs whose intervals are drawn."""
_PLOTS = (
    ("tpot_s", "output_tps_per_gpu", "seconds per output token", "output tokens/s per device"),
    ("ttft_s", "output_tps_per_gpu", "seconds to the first token", "output tokens/s per device"),
)
Row = Mapping[str, Any]


def write_whatif_page(answer: Mapping[str, Any], title: str, path: Path) -> None:
    """Write the page of the configs that fit.

    Args:
        answer: the document of `whatif`.
        title: what was asked.
        path: the page, an .html file.

    Raises:
        InputError: no config fits. FileError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader
    from plotly.io import to_html

    rows = [row for row in answer["rows"] if row["feasible"]]
    if not rows:
        raise InputError.at("--plot", "no config fits", "at least one")
    config = {"displayModeBar": False, "responsive": True}
    plots = [
        to_html(_figure(rows, *axes), full_html=False, include_plotlyjs=place == 0, config=config)
        for place, axes in enumerate(_PLOTS)
    ]
    environment = Environment(loader=PackageLoader("servecast.report"), autoescape=True, trim_blocks=True)
    template = environment.get_template("whatif.html")
    warnings = answer.get("warnings", [])
    write_whole(template.render(title=title, count=len(rows), plots=plots, warnings=warnings), path)


def _figure(rows: Sequence[Row], x: str, y: str, x_title: str, y_title: str) -> Any:
    from plotly.graph_objects import Figure

    values = np.array([[row[x]["mean"], row[y]["mean"]] for row in rows])
    best = non_dominated(values * (1.0, -1.0))
    order = np.argsort(values[:, 0])
    front = [rows[place] for place in order if best[place]]
    others = [rows[place] for place in order if not best[place]]
    figure = Figure()
    figure.add_trace(_trace(f"dominated ({len(others)})", others, x, y, GREY))
    figure.add_trace(_trace(f"frontier ({len(front)})", front, x, y, BLUE))
    figure.update_layout(
        template="plotly_white", height=480, margin={"l": 70, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.08}, hoverlabel={"align": "left"},
        xaxis={"title": x_title, "type": "log", **log_ticks(figure, "x")},
        yaxis={"title": y_title, "type": "log", **log_ticks(figure, "y")},
    )  # fmt: skip
    return figure


def _trace(name: str, rows: Sequence[Row], x: str, y: str, colour: str) -> Any:
    from plotly.graph_objects import Scatter

    few = len(rows) <= _ERROR_BARS
    return Scatter(
        x=[row[x]["mean"] for row in rows],
        y=[row[y]["mean"] for row in rows],
        error_x=_bars(rows, x, colour) if few else None,
        error_y=_bars(rows, y, colour) if few else None,
        mode="lines+markers" if colour == BLUE else "markers",
        name=name,
        marker={"color": colour, "size": 9 if colour == BLUE else 6},
        text=[_hover(row, x, y) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )


def _bars(rows: Sequence[Row], name: str, colour: str) -> dict[str, Any]:
    up = [row[name]["hi"] - row[name]["mean"] for row in rows]
    down = [row[name]["mean"] - row[name]["lo"] for row in rows]
    return {"type": "data", "array": up, "arrayminus": down, "color": colour, "thickness": 0.7, "width": 0}


def _said(row: Row) -> Mapping[str, Any]:
    """The parameters of a config; of two pools each parameter by its pool."""
    if "config" in row:
        return dict(row["config"])
    pools = {name: {"workers": row[name]["workers"], **row[name]["config"]} for name in ("prefill", "decode")}
    return {f"{pool}.{name}": value for pool, config in pools.items() for name, value in config.items()}


def _hover(row: Row, *names: str) -> str:
    parts = [config_text({name: value}) for name, value in _said(row).items()]
    for name in names:
        parts.append(f"{name} {row[name]['mean']:.4g} [{row[name]['lo']:.4g}, {row[name]['hi']:.4g}]")
    return "<br>".join([*parts, f"from {row['provenance']}"])
