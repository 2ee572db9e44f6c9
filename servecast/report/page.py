"""One self-contained HTML page: the frontier, what was predicted for the rest, every experiment, the knee's command."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from servecast.output import cell_text, config_text, seconds_text
from servecast.report.axes import BLUE, GREY, ORANGE, RED, log_ticks, write_whole


def write_page(document: dict[str, Any], path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        FileError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("servecast.report"), autoescape=True, trim_blocks=True)
    environment.filters |= {"cell": cell_text, "config": config_text, "duration": seconds_text}
    html = environment.get_template("page.html").render(d=document, plots=_plots(document), labels=_labels(document))
    write_whole(html, path)


def _labels(document: dict[str, Any]) -> dict[str, str]:
    better = {"max": "higher is better", "min": "lower is better"}
    return {o["name"]: f"{o['name']} ({o['unit']}), {better[o['direction']]}" for o in document["objectives"]}


def _plots(document: dict[str, Any]) -> list[str]:
    """One plot per pair of objectives, as HTML; the first one carries the plot library."""
    from plotly.io import to_html

    names = [o["name"] for o in document["objectives"]]
    pairs = list(combinations(names, 2)) or [(names[0], names[0])]
    figures = [_figure(document, x, y).update_layout(showlegend=i == 0) for i, (x, y) in enumerate(pairs)]
    config = {"displayModeBar": False, "responsive": True}
    return [
        to_html(figure, full_html=False, include_plotlyjs=(i == 0), config=config) for i, figure in enumerate(figures)
    ]


def _figure(document: dict[str, Any], x: str, y: str) -> Any:
    from plotly.graph_objects import Figure

    labels = _labels(document)
    figure = Figure()
    for trace in (_predicted(document, x, y), _measured(document, x, y), _frontier(document, x, y)):
        figure.add_trace(trace)
    for name, entry, colour, symbol in (
        ("baseline", document["baseline"], RED, "square"),
        ("knee", document["knee"], ORANGE, "star"),
    ):
        if entry:
            figure.add_trace(_single(name, entry, (x, y), colour, symbol))
    figure.update_layout(
        template="plotly_white",
        height=460,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.08},
        xaxis={"title": labels[x], "type": "log", **log_ticks(figure, "x")},
        yaxis={"title": labels[y], "type": "log", **log_ticks(figure, "y")},
        hoverlabel={"align": "left"},
    )
    return figure


def _hover(config: dict[str, object]) -> str:
    return "<br>".join(config_text({name: value}) for name, value in config.items())


def _predicted(document: dict[str, Any], x: str, y: str) -> Any:
    from plotly.graph_objects import Scatter

    grid = document["predicted_grid"]
    return Scatter(
        x=grid["values"][x],
        y=grid["values"][y],
        mode="markers",
        name=f"predicted ({len(grid['configs'])} configs)",
        marker={"color": GREY, "size": 5},
        text=[_hover(config) for config in grid["configs"]],
        hovertemplate="predicted<br>%{x:.3g}, %{y:.3g}<br>%{text}<extra></extra>",
    )


def _measured(document: dict[str, Any], x: str, y: str) -> Any:
    from plotly.graph_objects import Scatter

    done = [e for e in document["experiments"] if x in e["actual"] and y in e["actual"] and e["outcome"] == "ok"]
    return Scatter(
        x=[e["actual"][x] for e in done],
        y=[e["actual"][y] for e in done],
        mode="markers",
        name="measured",
        marker={"color": BLUE, "size": 9, "opacity": 0.6},
        text=[f"#{e['index']} {e['selection_reason']}<br>{_hover(e['config'])}" for e in done],
        hovertemplate="measured<br>%{x:.3g}, %{y:.3g}<br>%{text}<extra></extra>",
    )


def _frontier(document: dict[str, Any], x: str, y: str) -> Any:
    from plotly.graph_objects import Scatter

    front = document["frontier"]
    return Scatter(
        x=[entry["actual"][x] for entry in front],
        y=[entry["actual"][y] for entry in front],
        mode="markers",
        name=f"measured frontier ({len(front)})",
        marker={"color": BLUE, "size": 13, "line": {"color": "#1e3a8a", "width": 2}},
        text=[_hover(entry["config"]) for entry in front],
        hovertemplate="on the frontier<br>%{x:.3g}, %{y:.3g}<br>%{text}<extra></extra>",
    )


def _single(name: str, entry: dict[str, Any], axes: tuple[str, str], colour: str, symbol: str) -> Any:
    from plotly.graph_objects import Scatter

    return Scatter(
        x=[entry["actual"][axes[0]]],
        y=[entry["actual"][axes[1]]],
        mode="markers",
        name=name,
        marker={"color": colour, "size": 15, "symbol": symbol, "line": {"color": "white", "width": 1}},
        hovertemplate=f"{name}<br>%{{x:.3g}}, %{{y:.3g}}<br>{_hover(entry['config'])}<extra></extra>",
    )
