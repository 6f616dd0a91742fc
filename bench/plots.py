"""Small vector pictures of the results, drawn by Vega-Lite (which the report draws with as well)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 520, 240
INK = "#777"  # readable on light and dark


def lines(values: list[dict[str, Any]], x: str, y: str, path: Path, log_x: bool = False) -> None:
    """Write a line chart of values with keys x, y and series as SVG."""
    scale = {"type": "symlog"} if log_x else {}
    import vl_convert  # late: it takes half a second

    spec = {
        "width": WIDTH,
        "height": HEIGHT,
        "background": None,
        "data": {"values": values},
        "mark": {"type": "line", "point": len(values) < 100},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x, "scale": scale},
            "y": {"field": "y", "type": "quantitative", "title": y, "scale": {"zero": True}},
            "color": {"field": "series", "type": "nominal", "title": None},
        },
        "config": {
            "axis": {"labelColor": INK, "titleColor": INK, "gridColor": "#8883", "tickCount": 6},
            "legend": {"labelColor": INK},
            "view": {"stroke": None},
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(vl_convert.vegalite_to_svg(spec))
