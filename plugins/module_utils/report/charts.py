"""Charts as small vector pictures, drawn by Vega-Lite through vl-convert.

Vega-Lite takes a chart as plain data, and vl-convert draws it without a browser and without other packages. Colours are
variables of the page's style sheet, so that one picture serves light, dark and print.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .curves import Curve
from .run_data import Json, RunData, intervals

WIDTH = 460
"""Units of the drawing: at this width it is readable on a telephone, where the page shrinks it to about three quarters."""
ROW = 30
FONT_SIZE = 16
"""Larger than it is shown (the style sheet says 12.5), as a reader's font may be wider than the one measured with."""
FEW_TRANSFERS = 8
"""Up to so many transfers each has a colour and a name in the legend."""
COLOURS = [f"var(--series-{number})" for number in range(1, 9)]
DASHES = [[1, 0], [8, 3], [2, 3], [8, 3, 2, 3], [12, 4]]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross"]
INK, FAINT = "var(--ink-soft)", "var(--line)"

CONFIG: Json = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": FONT_SIZE,
        "titleFontSize": FONT_SIZE,
        "titleFontWeight": "normal",
        "labelLimit": 220,
        "tickCount": 5,
        "gridColor": FAINT,
        "domainColor": FAINT,
        "tickColor": FAINT,
    },
    "legend": {
        "orient": "bottom",
        "labelColor": INK,
        "labelFontSize": FONT_SIZE,
        "labelLimit": 300,
        "columns": 2,
        "title": None,
        "symbolStrokeWidth": 2.5,
        "symbolSize": 120,
    },
    "text": {"color": "var(--ink)", "fontSize": FONT_SIZE},
    "rule": {"color": "var(--ink)"},
}


def draw(spec: Json, name: str) -> str:
    """The picture of a chart as an SVG element; `name` keeps its internal names apart from other charts' on a page."""
    import vl_convert  # late: it takes half a second, which only a report should cost

    full = {"width": WIDTH, "autosize": {"type": "fit-x", "contains": "padding"}, "config": CONFIG, **spec}
    svg: str = vl_convert.vegalite_to_svg(full)
    svg = re.sub(r'(?<=id=")clip(?=\d)|(?<=url\(#)clip(?=\d)', f"{name}-clip", svg)
    # The page says in words what a picture shows, so its parts are not read out one by one.
    svg = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", svg)
    head = re.compile(r'<svg [^>]*?width="(\d+)" height="(\d+)"[^>]*>')
    return head.sub(
        rf'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \1 \2" role="img" aria-labelledby="{name}-says">',
        svg,
        count=1,
    )


def axis(field: str, title: str, **more: Any) -> Json:
    """A numeric axis that begins at zero."""
    return {"field": field, "type": "quantitative", "title": title, **more}


def mode_axis(run: RunData, **more: Any) -> Json:
    """Modes from top to bottom, in the order of the run."""
    order = [mode.name for mode in run.modes]
    return {"field": "mode", "type": "nominal", "sort": order, "title": None, **more}


def mode_colours(names: Sequence[str]) -> Json:
    """A colour for each mode, the same in every chart of a page."""
    return {"field": "mode", "scale": {"domain": list(names), "range": COLOURS[: len(names)]}}


def wall_time(run: RunData) -> Json:
    """A bar for each mode's median wall time, with the middle half as a line over its end."""
    rows = [
        {"mode": mode.name, "median": mode.wall.median, "low": mode.wall.low, "high": mode.wall.high}
        for mode in run.modes
        if mode.wall
    ]
    y = mode_axis(run)
    # Room for the figure behind the longest bar.
    room = {"domain": [0, 1.25 * max((mode.wall.high for mode in run.modes if mode.wall), default=1.0)], "nice": False}
    layers: list[Json] = [
        {
            "mark": {"type": "bar", "height": 18, "color": COLOURS[0]},
            "encoding": {"x": axis("median", "seconds", scale=room), "y": y},
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 6, "clip": False},
            "encoding": {
                "x": axis("high", "seconds", scale=room),
                "y": y,
                "text": {"field": "median", "format": ".3f"},
            },
        },
    ]
    if run.repeated:
        span = {"x": axis("low", "seconds", scale=room), "x2": {"field": "high"}, "y": y}
        ends = [
            {
                "mark": {"type": "tick", "thickness": 2, "height": 10, "color": "var(--ink)"},
                "encoding": {"x": axis(end, "seconds", scale=room), "y": y},
            }
            for end in ("low", "high")
        ]
        layers[1:1] = [{"mark": {"type": "rule", "strokeWidth": 2}, "encoding": span}, *ends]
    return {"data": {"values": rows}, "height": ROW * max(len(rows), 1), "layer": layers}


def gantt(run: RunData) -> Json:
    """A bar from begin to end of each transfer, mode by mode."""
    rows = []
    for mode in run.modes:
        timed = [one for one in mode.first["transfers"] if one["start"] is not None and one["end"] is not None]
        for transfer, (begin, end) in zip(timed, intervals(mode.first)):
            name = f"{transfer['image']} to {transfer['server']}"
            rows.append({"mode": mode.name, "transfer": name, "begin": begin, "end": end})
    names = list(dict.fromkeys(row["transfer"] for row in rows))
    few = len(names) <= FEW_TRANSFERS
    height = 12 if few else max(3, 60 // len(names))
    colour: Json = (
        {"field": "transfer", "scale": {"domain": names, "range": COLOURS[: len(names)]}, "legend": {"columns": 1}}
        if few
        else {"value": COLOURS[0]}
    )
    return {
        "data": {"values": rows},
        "height": len(run.modes) * (len(names) * (height + 2) + 10) if names else ROW,
        "mark": {"type": "bar", "height": height, "minWidth": 2} if few else {"type": "bar"},
        "encoding": {
            "x": axis("begin", "seconds since the mode began"),
            "x2": {"field": "end"},
            "y": mode_axis(run),
            "yOffset": {"field": "transfer", "sort": names},
            "color": colour,
        },
    }


def progress(run: RunData, curves: Sequence[Curve]) -> Json:
    """Megabytes at all servers together over time, a line for each mode."""
    names = [mode.name for mode in run.modes]
    rows = [
        {"mode": curve.mode, "seconds": round(moment, 6), "megabytes": done / 1e6}
        for curve in curves
        for moment, done in curve.points
    ]
    return {
        "data": {"values": rows},
        "height": 230,
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2.5},
        "encoding": {
            "x": axis("seconds", "seconds since the mode began"),
            "y": axis("megabytes", "MB at the servers"),
            "color": mode_colours(names),
            "strokeDash": {"field": "mode", "scale": {"domain": names, "range": DASHES}},
        },
    }


def cpu(run: RunData) -> Json:
    """A point for each mode, and a line where one processor would be busy all the time."""
    points = {mode.name: (mode.wall.median, mode.cpu.median) for mode in run.modes if mode.wall and mode.cpu}
    rows = [{"mode": name, "wall": wall, "cpu": cpu} for name, (wall, cpu) in points.items()]
    end = 1.05 * max((value for point in points.values() for value in point), default=1.0)
    names = [mode.name for mode in run.modes]
    return {
        "height": 230,
        "layer": [
            {
                "data": {"values": [{"wall": 0, "cpu": 0}, {"wall": end, "cpu": end}]},
                "mark": {"type": "line", "color": INK, "strokeDash": [4, 4], "strokeWidth": 1},
                "encoding": {"x": axis("wall", "seconds of wall time"), "y": axis("cpu", "seconds of processor time")},
            },
            {
                "data": {"values": [{"wall": end, "cpu": end, "label": "one processor busy"}]},
                "mark": {"type": "text", "align": "right", "dx": -14, "dy": 4, "color": INK},
                "encoding": {"x": axis("wall", ""), "y": axis("cpu", ""), "text": {"field": "label"}},
            },
            {
                "data": {"values": rows},
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {
                    "x": axis("wall", "seconds of wall time"),
                    "y": axis("cpu", "seconds of processor time"),
                    "color": mode_colours(names),
                    "shape": {"field": "mode", "scale": {"domain": names, "range": SHAPES}},
                },
            },
        ],
    }


def sweep(points: Sequence[Json]) -> Json:
    """Goodput under each profile, a line of points for each mode, in the order of the sweep."""
    names = list(dict.fromkeys(point["mode"] for point in points))
    return lines_of(
        points,
        names,
        {"field": "profile", "type": "nominal", "sort": None, "title": None, "axis": {"labelAngle": -30}},
        axis("goodput", "MB/s"),
    )


def trend(points: Sequence[Json]) -> Json:
    """Wall time of each mode over the runs, oldest first."""
    names = list(dict.fromkeys(point["mode"] for point in points))
    runs = list(dict.fromkeys(point["run"] for point in points))
    x = {
        "field": "run",
        "type": "ordinal",
        "sort": runs,
        "title": "runs, oldest first",
        "axis": {"labels": False, "ticks": False},
    }
    return lines_of(points, names, x, axis("wall_seconds", "seconds"))


def lines_of(points: Sequence[Json], names: Sequence[str], x: Json, y: Json) -> Json:
    """Points joined by a line for each mode."""
    return {
        "data": {"values": list(points)},
        "height": 230,
        "layer": [
            {
                "mark": {"type": "line", "strokeWidth": 2},
                "encoding": {"strokeDash": {"field": "mode", "scale": {"domain": list(names), "range": DASHES}}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
                "encoding": {"shape": {"field": "mode", "scale": {"domain": list(names), "range": SHAPES}}},
            },
        ],
        "encoding": {"x": x, "y": y, "color": mode_colours(names)},
    }


def comparison(rows: Sequence[Json], names: Sequence[str]) -> Json:
    """Wall time of two runs, side by side for each mode."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    return {
        "data": {"values": list(rows)},
        "height": 2 * 20 * max(len(modes), 1),
        "mark": {"type": "bar", "height": 13},
        "encoding": {
            "x": axis("wall_seconds", "seconds"),
            "y": {"field": "mode", "type": "nominal", "sort": modes, "title": None},
            "yOffset": {"field": "run", "sort": list(names)},
            "color": {"field": "run", "scale": {"domain": list(names), "range": COLOURS[:2]}},
        },
    }
