"""Bytes at the servers over time: the transfers' series of one attempt, added up."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from .run_data import Json, ModeSummary

MAX_POINTS = 120
"""Points of a drawn curve; more would only make the file larger."""


@dataclass(frozen=True)
class Curve:
    """Seconds since the start of the mode and bytes at all servers together, rising."""

    mode: str
    points: list[tuple[float, float]]


def series_of(transfer: Json, begin: float) -> list[tuple[float, int]]:
    """A transfer's progress in seconds since `begin`; only its end where the program told no more."""
    offset = transfer["start"] - begin
    told = transfer["engine"].get("progress") or [(transfer["end"] - transfer["start"], transfer["bytes"] or 0)]
    return [(offset + moment, done) for moment, done in told]


def curve_of(mode: ModeSummary) -> Curve | None:
    """The curve of the mode's first attempt; None when nothing arrived."""
    transfers = [one for one in mode.first["transfers"] if one["start"] is not None and one["end"] is not None]
    if not transfers:
        return None
    series = [series_of(transfer, mode.first["start"]) for transfer in transfers]
    moments = sorted({moment for one in series for moment, _ in one})
    step = -(-len(moments) // MAX_POINTS)
    chosen = sorted({*moments[::step], moments[-1]})
    points = [(0.0, 0.0), *((moment, sum(done_at(one, moment) for one in series)) for moment in chosen)]
    return Curve(mode.name, points) if points[-1][1] else None


def done_at(series: list[tuple[float, int]], moment: float) -> float:
    """Bytes at a moment: what the last sample before it says."""
    index = bisect_right(series, (moment, float("inf")))
    return series[index - 1][1] if index else 0


def time_of_share(curve: Curve, share: float) -> float:
    """When this share of the curve's last value was reached."""
    wanted = curve.points[-1][1] * share
    return next(moment for moment, done in curve.points if done >= wanted)
