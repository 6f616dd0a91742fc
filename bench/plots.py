"""Small vector pictures of the results, drawn by Vega-Lite (which the report draws with as well)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, HEIGHT, BAR_STEP = 520, 240, 15
INK = "#777"  # readable on light and dark

Values = list[dict[str, Any]]


def lines(values: Values, x: str, y: str, path: Path, log_x: bool = False, log_y: bool = False) -> None:
    """Write a line chart of values with keys x, y and series as SVG."""
    scales = [{"type": "log"} if log else {"zero": True} for log in (log_x, log_y)]
    spec = {
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": values},
        "mark": {"type": "line", "point": len(values) < 100},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x, "scale": scales[0]},
            "y": {"field": "y", "type": "quantitative", "title": y, "scale": scales[1]},
            "color": {"field": "series", "type": "nominal", "title": None, "sort": None},
        },
    }
    _write(spec, path)


def bars(values: Values, x: str, path: Path) -> None:
    """Write bars on a logarithmic scale as SVG: values with keys x and series, a chart for each row and column."""
    foot = min(value["x"] for value in values) / 2
    spec = {
        "data": {"values": values},
        "facet": {
            "row": {"field": "row", "title": None, "sort": None},
            "column": {"field": "column", "title": None, "sort": None},
        },
        "spec": {
            "width": WIDTH / 3,
            "height": {"step": BAR_STEP},
            "mark": "bar",
            "encoding": {
                "x": {"field": "x", "type": "quantitative", "title": x, "scale": {"type": "log", "domainMin": foot}},
                "x2": {"datum": foot},
                "y": {"field": "series", "type": "nominal", "title": None, "sort": None},
                "color": {"field": "series", "type": "nominal", "legend": None, "sort": None},
            },
        },
    }
    _write(spec, path)


def _write(spec: dict[str, Any], path: Path) -> None:
    import vl_convert  # late: it takes half a second

    config = {
        "axis": {"labelColor": INK, "titleColor": INK, "gridColor": "#8883", "tickCount": 6},
        "header": {"labelColor": INK},
        "legend": {"labelColor": INK},
        "view": {"stroke": None},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(vl_convert.vegalite_to_svg({"background": None, "config": config, **spec}))
