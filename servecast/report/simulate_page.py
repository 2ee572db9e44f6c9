"""A simulated run as a page: what the servers held over time, and what requests waited for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servecast.output import cell_text
from servecast.report.axes import BLUE, GREY, ORANGE, write_whole
from servecast.simulation.counted_goodput import goodput_text

_LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
_RATES = ("request_tps", "output_tps", "output_tps_per_gpu", "cost_per_mtok", "preemptions", "kv_peak")


def write_simulate_page(answer: Mapping[str, Any], title: str, path: Path) -> None:
    """Write the page.

    Args:
        answer: the document of `simulate`. title: what was asked. path: the page, an .html file.

    Raises:
        FileError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader
    from plotly.io import to_html

    plot = to_html(
        _figure(answer["over_time"]), full_html=False, include_plotlyjs=True, config={"displayModeBar": False}
    )
    rows = [[name, *map(cell_text, answer[name].values())] for name in _LATENCIES]
    rates = [f"{name} {cell_text(answer[name])}" for name in _RATES if answer[name] is not None]
    notes = [*([goodput_text(answer)] if "slo" in answer else []), ", ".join(rates), *answer["warnings"]]
    environment = Environment(loader=PackageLoader("servecast.report"), autoescape=True, trim_blocks=True)
    template = environment.get_template("simulate.html")
    page = template.render(
        title=title, requests=answer["requests"], columns=list(answer["ttft_s"]), rows=rows, plot=plot, notes=notes
    )
    write_whole(page, path)


def _figure(series: Mapping[str, list[float]]) -> Any:
    """The share of the cache above, how many requests there are below."""
    from plotly.graph_objects import Figure, Scatter

    lines = (
        ("share of the KV cache in use", "kv_share", BLUE, "y2"),
        ("requests without a first token", "prompting", ORANGE, "y"),
        ("requests between first and last token", "answering", GREY, "y"),
    )
    figure = Figure(
        [
            Scatter(x=series["time_s"], y=series[key], name=name, yaxis=axis, mode="lines", line={"color": colour})
            for name, key, colour, axis in lines
        ]
    )
    figure.update_layout(
        template="plotly_white", height=480, margin={"l": 70, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, hovermode="x unified",
        xaxis={"title": "seconds since the first request", "rangemode": "tozero"},
        yaxis={"title": "requests", "domain": [0.0, 0.46], "rangemode": "tozero"},
        yaxis2={"title": "share of the KV cache", "domain": [0.54, 1.0], "rangemode": "tozero", "tickformat": ".0%"},
    )  # fmt: skip
    return figure
