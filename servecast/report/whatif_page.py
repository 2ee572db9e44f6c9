"""The answer of `whatif` as a page: the throughput of a device against what a user waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perfdb.errors import InputError
from search.frontier import non_dominated
from servecast.output import config_text
from servecast.predicting.disagg_text import unit_texts
from servecast.predicting.whatif_notes import NOT_SEEN, notes_of, unseen_text
from servecast.report.axes import BLUE, GREY, log_ticks, write_whole

_MOST_SHOWN_BARS, _MOST_BARS = 8, 60
"""Points whose intervals are drawn at once, and those that a click on the legend may draw."""
_PALE, _DARK = "#bfd2f7", "#6b7280"
_MARKS = {"agg": "circle", "disagg": "diamond"}
_PLOTS = (
    ("tpot_s", "output_tps_per_gpu", "seconds per output token", "output tokens/s per device"),
    ("ttft_s", "output_tps_per_gpu", "seconds to the first token", "output tokens/s per device"),
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Place:
    """Configs whose means are the same on both axes: one point, (`low`, `mean`, `high`) along `x` and `y`."""

    rows: Sequence[Row]
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    is_best: bool

    @property
    def mode(self) -> str:
        """How its configs serve."""
        return str(self.rows[0]["mode"])

    @property
    def is_kept(self) -> bool:
        """Whether its configs keep the bounds, if there are any."""
        return self.rows[0].get("meets_slo") is not False


def write_whatif_page(answer: Mapping[str, Any], title: str, path: Path) -> None:
    """Write the page of the configs that fit.

    Args:
        answer: the document of `whatif`, of any mode.
        title: what was asked.
        path: the page, an .html file.

    Raises:
        InputError: no config fits. FileError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader
    from plotly.io import to_html

    rows = [{"mode": answer["mode"], **row} for row in answer["rows"] if row["feasible"]]
    if not rows:
        raise InputError.at("--plot", "no config fits", "at least one")
    said = _described(rows)
    config = {"displayModeBar": False, "responsive": True}
    drawn = [axes for axes in _PLOTS if rows[0][axes[0]] is not None]
    figures = [_figure(rows, said, answer.get("slo", []), *axes) for axes in drawn]
    plots = [
        to_html(figure, full_html=False, include_plotlyjs=place == 0, config=config)
        for place, figure in enumerate(figures)
    ]
    environment = Environment(loader=PackageLoader("servecast.report"), autoescape=True, trim_blocks=True)
    template = environment.get_template("whatif.html")
    refused = len(answer["rows"]) - len(rows)
    unseen = [unseen_text(answer[NOT_SEEN])] if NOT_SEEN in answer else []
    notes = [*unseen, *notes_of(answer)]
    write_whole(template.render(title=title, count=len(rows), refused=refused, plots=plots, notes=notes), path)


def _figure(
    rows: Sequence[Row], said: Mapping[int, str], bounds: Sequence[str], x: str, y: str, x_title: str, y_title: str
) -> Any:
    from plotly.graph_objects import Figure

    places = _places(rows, x, y)
    front = sorted((place for place in places if place.is_best), key=lambda place: place.x[1])
    figure = Figure([_bars(places, front), _line(front)])
    kept = [place for place in places if place.is_kept and not place.is_best]
    beyond = [place for place in places if not place.is_kept]
    for kind, mark, part in (
        ("dominated", {"color": GREY, "size": 7}, kept),
        (f"beyond {', '.join(bounds)}", {"color": _DARK, "size": 6}, beyond),
        ("frontier", {"color": BLUE, "size": 10}, front),
    ):
        for mode, symbol in _MARKS.items():
            own = [place for place in part if place.mode == mode]
            if own:
                name = kind if len({row["mode"] for row in rows}) == 1 else f"{mode}, {kind}"
                shape = f"{symbol}-open" if part is beyond else symbol
                figure.add_trace(_points(name, own, {**mark, "symbol": shape}, said, (x, y)))
    figure.update_layout(
        template="plotly_white", height=480, margin={"l": 70, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, hoverlabel={"align": "left"},
        xaxis={"title": x_title, "type": "log", **log_ticks(figure, "x")},
        yaxis={"title": y_title, "type": "log", **log_ticks(figure, "y")},
    )  # fmt: skip
    return figure


def _places(rows: Sequence[Row], x: str, y: str) -> list[_Place]:
    """The points of a plot; on the frontier are those that keep the bounds and that none of these dominates."""
    together: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        together.setdefault((row["mode"], row.get("meets_slo"), row[x]["mean"], row[y]["mean"]), []).append(row)
    groups = list(together.values())
    values = np.array([[group[0][x]["mean"], -group[0][y]["mean"]] for group in groups])
    values[[group[0].get("meets_slo") is False for group in groups]] = np.inf
    best = non_dominated(values).tolist()
    return [
        _Place(group, _ends(group[0][x]), _ends(group[0][y]), is_best)
        for group, is_best in zip(groups, best, strict=True)
    ]


def _ends(interval: Mapping[str, float]) -> tuple[float, float, float]:
    return interval["lo"], interval["mean"], interval["hi"]


def _bars(places: Sequence[_Place], front: Sequence[_Place]) -> Any:
    """The 90 % intervals as pale crosses behind the points: of all points, or of the frontier where these are many."""
    from plotly.graph_objects import Scatter

    drawn = places if len(places) <= _MOST_BARS else front[:_MOST_BARS]
    across: list[float | None] = []
    along: list[float | None] = []
    for place in drawn:
        (left, x, right), (low, y, high) = place.x, place.y
        across += [left, right, None, x, x, None]
        along += [y, y, None, low, high, None]
    return Scatter(
        x=across, y=along, mode="lines", line={"color": _PALE, "width": 1}, hoverinfo="skip",
        name="90 % intervals", visible=True if len(drawn) <= _MOST_SHOWN_BARS else "legendonly",
    )  # fmt: skip


def _line(front: Sequence[_Place]) -> Any:
    from plotly.graph_objects import Scatter

    x, y = [place.x[1] for place in front], [place.y[1] for place in front]
    return Scatter(x=x, y=y, mode="lines", line={"color": BLUE, "width": 2}, hoverinfo="skip", showlegend=False)


def _points(
    name: str, places: Sequence[_Place], mark: Mapping[str, Any], said: Mapping[int, str], axes: tuple[str, str]
) -> Any:
    from plotly.graph_objects import Scatter

    return Scatter(
        x=[place.x[1] for place in places],
        y=[place.y[1] for place in places],
        mode="markers",
        name=f"{name} ({sum(len(place.rows) for place in places)})",
        marker=mark,
        text=[_hover(place, said, axes) for place in places],
        hovertemplate="%{text}<extra></extra>",
    )


def _described(rows: Sequence[Row]) -> dict[int, str]:
    """What a row's `id` stands for: a config's parameters, or how whole units are made."""
    if all("replicas" not in row for row in rows):
        parts = ((config_text({name: value}) for name, value in row["config"].items()) for row in rows)
        return {id(row): "<br>".join(part) or "defaults" for row, part in zip(rows, parts, strict=True)}
    units = [unit.replace(" > ", "<br>&nbsp;&nbsp;> ") for unit in unit_texts(rows)]
    return {id(row): f"{row['mode']}: {unit}<br>on {row['gpus']} GPUs" for row, unit in zip(rows, units, strict=True)}


def _hover(place: _Place, said: Mapping[int, str], axes: tuple[str, str]) -> str:
    row = place.rows[0]
    numbers = [f"{name} {row[name]['mean']:.4g} [{row[name]['lo']:.4g}, {row[name]['hi']:.4g}]" for name in axes]
    others = len(place.rows) - 1
    more = [f"{others} more config{'s' * (others > 1)} with these numbers"] if others else []
    return "<br>".join([said[id(row)], *numbers, f"from {row['provenance']}", *more])
