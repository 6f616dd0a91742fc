"""What run.json says, summed up: one data model that every format is made from."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SCHEMA = 2
"""Version of the form of run.json that is written and read."""
SCHEMA_FILE = Path(__file__).resolve().parents[3] / "docs" / "run.schema.json"


class ReportError(Exception):
    """Something that a report is made of cannot be used; the text says what happened, where, and what to do."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of what was measured `count` times; with one value all three are that value."""

    median: float
    low: float
    high: float
    count: int

    def overlaps(self, other: Spread) -> bool:
        """Whether the middle halves have something in common."""
        return self.low <= other.high and other.low <= self.high


def spread(values: Iterable[float | None]) -> Spread | None:
    """Median and quartiles (inclusive method: the values are all there are) of what is known."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    if len(known) == 1:
        return Spread(known[0], known[0], known[0], 1)
    low, median, high = statistics.quantiles(known, n=4, method="inclusive")
    return Spread(median, low, high, len(known))


@dataclass(frozen=True)
class Metric:
    """Something measured of an attempt: its key in tables for programs, its heading and unit for readers."""

    key: str
    heading: str
    unit: str
    form: str
    of: Callable[[Json], float | None]

    def text(self, value: float | None) -> str:
        """A value as readers see it, without the unit; a dash for one that is not known."""
        return "–" if value is None else format(value, self.form)


def engine_values(attempt: Json, name: str) -> list[float]:
    """A measurement of the program from each transfer that has it."""
    return [transfer["engine"][name] for transfer in attempt["transfers"] if transfer["engine"].get(name) is not None]


def goodput(attempt: Json) -> float | None:
    """Verified megabytes per second of wall time, over all transfers together."""
    if not attempt["wall_seconds"]:
        return None
    delivered = sum(transfer["bytes"] or 0 for transfer in attempt["transfers"] if transfer["verified"])
    return float(delivered / attempt["wall_seconds"] / 1e6)


def summed(values: Sequence[float]) -> float | None:
    """Their sum; None when there are none."""
    return sum(values) if values else None


def milliseconds(seconds: Sequence[float]) -> float | None:
    """The median in milliseconds; None when there are none."""
    return statistics.median(seconds) * 1e3 if seconds else None


def megabytes(size: float | None) -> float | None:
    """Bytes in megabytes (10^6)."""
    return None if size is None else size / 1e6


METRICS = (
    Metric("wall_seconds", "Wall time", "s", ",.3f", lambda attempt: attempt["wall_seconds"]),
    Metric("goodput_mb_per_s", "Goodput", "MB/s", ",.1f", goodput),
    Metric("cpu_seconds", "CPU time", "s", ",.3f", lambda attempt: attempt["cpu_seconds"]),
    Metric("peak_memory_mb", "Peak memory", "MB", ",.1f", lambda attempt: megabytes(attempt["peak_memory_bytes"])),
    Metric("datagrams", "Datagrams", "", ",.0f", lambda attempt: summed(engine_values(attempt, "datagrams"))),
    Metric(
        "retransmitted_bytes",
        "Sent again",
        "bytes",
        ",.0f",
        lambda attempt: summed([one["retransmitted_bytes"] or 0 for one in attempt["transfers"] if one["bytes"]]),
    ),
    Metric("rtt_min_ms", "RTT, smallest", "ms", ",.2f", lambda attempt: milliseconds(engine_values(attempt, "rtt_s"))),
    Metric(
        "rtt_smoothed_ms",
        "RTT, smoothed",
        "ms",
        ",.2f",
        lambda attempt: milliseconds(engine_values(attempt, "rtt_smoothed_s")),
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def intervals(attempt: Json) -> list[tuple[float, float]]:
    """Begin and end of each transfer, in seconds since the attempt began."""
    return [
        (transfer["start"] - attempt["start"], transfer["end"] - attempt["start"])
        for transfer in attempt["transfers"]
        if transfer["start"] is not None and transfer["end"] is not None and attempt["start"] is not None
    ]


def overlap(attempt: Json) -> float | None:
    """The share of the time with a transfer under way in which at least two were; None with fewer than two transfers."""
    spans = intervals(attempt)
    if len(spans) < 2:
        return None
    edges = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    active, busy, shared = 0, 0.0, 0.0
    for (moment, change), (following, _) in zip(edges, edges[1:]):
        active += change
        busy += (following - moment) * (active >= 1)
        shared += (following - moment) * (active >= 2)
    return shared / busy if busy else None


def start_delay(attempt: Json) -> float | None:
    """Seconds from the start of the mode to that of its first transfer: what it costs to get going."""
    return min((begin for begin, _ in intervals(attempt)), default=None)


@dataclass(frozen=True)
class ModeSummary:
    """One mode: the attempt that is shown in detail, and the figures over all attempts that count."""

    name: str
    outcome: str
    first: Json
    attempts: list[Json]
    measured: list[Json]
    figures: dict[str, Spread | None]
    overlap: Spread | None
    start_delay: Spread | None

    def repeats_verified(self, transfer: Json) -> int:
        """In how many repeats this file arrived at this server unharmed."""
        wanted = (transfer["image"], transfer["client"], transfer["server"])
        return sum(
            one["verified"]
            for attempt in self.first["repeats"]
            for one in attempt["transfers"]
            if (one["image"], one["client"], one["server"]) == wanted
        )

    @property
    def wall(self) -> Spread | None:
        """Wall time in seconds."""
        return self.figures["wall_seconds"]

    @property
    def cpu(self) -> Spread | None:
        """Processor time in seconds."""
        return self.figures["cpu_seconds"]


def outcome_of(attempts: Sequence[Json]) -> str:
    """passed when all did, unsupported when none could be tried, else failed."""
    if all(attempt["passed"] for attempt in attempts):
        return "passed"
    outcomes = {transfer["outcome"] for attempt in attempts for transfer in attempt["transfers"]}
    return "unsupported" if outcomes == {"unsupported"} else "failed"


def summarise(mode: Json) -> ModeSummary:
    """A mode's figures: over its repeats where there are any (the first attempt warmed up), else of its one attempt.

    Attempts that failed are left out of the figures; they are counted.
    """
    attempts = mode["repeats"] or [mode]
    measured = [attempt for attempt in attempts if attempt["passed"]]
    return ModeSummary(
        name=mode["mode"],
        outcome=outcome_of([mode, *mode["repeats"]]),
        first=mode,
        attempts=attempts,
        measured=measured,
        figures={metric.key: spread(map(metric.of, measured)) for metric in METRICS},
        overlap=spread(map(overlap, measured)),
        start_delay=spread(map(start_delay, measured)),
    )


@dataclass(frozen=True)
class RunData:
    """A run: its folder, its document (run.json) and a summary of each mode, in the order of the run."""

    folder: Path
    document: Json
    modes: list[ModeSummary]

    @property
    def run_id(self) -> str:
        """The run's name."""
        return str(self.document["run_id"])

    @property
    def repeated(self) -> bool:
        """Whether the figures are medians over several rounds."""
        return bool(self.document["repeats"] > 1)

    @property
    def transfers(self) -> list[Json]:
        """All transfers of all attempts."""
        return [
            transfer
            for mode in self.document["modes"]
            for attempt in (mode, *mode["repeats"])
            for transfer in attempt["transfers"]
        ]

    @property
    def timed(self) -> list[ModeSummary]:
        """The modes with a wall time, fastest first."""
        return sorted((mode for mode in self.modes if mode.wall), key=lambda mode: mode.wall.median)  # type: ignore[union-attr]


def check(document: Json, path: Path) -> None:
    """Raises ReportError when the document does not fit the published schema."""
    import jsonschema  # late: only who reads or writes a run pays for it

    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(document))
    if error is not None:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        message = f"{path} does not fit docs/run.schema.json (at {where}: {error.message}). {again(path)}"
        raise ReportError(message)


def again(path: Path) -> str:
    """What to do about a run.json that cannot be used."""
    return f"Make it again: ansible-playbook run_all.yml --tags compare -e run_id={path.parent.name}"


def document_of(folder: Path) -> Json:
    """The content of a folder's run.json. Raises ReportError when there is none, or one of another version."""
    path = folder / "run.json"
    try:
        document: Json = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{folder} holds no run.json. Run with --tags compare, or run_all.yml for a new run."
        raise ReportError(message) from error
    except ValueError as error:
        message = f"{path} is no JSON ({error}). {again(path)}"
        raise ReportError(message) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        message = f"{path} has the form of another version of this project (schema {SCHEMA} is read). {again(path)}"
        raise ReportError(message)
    return document


def read(folder: Path) -> RunData:
    """The run in this folder, trusting that it was checked when it was written. Raises ReportError when there is none."""
    document = document_of(folder)
    return RunData(folder, document, [summarise(mode) for mode in document["modes"]])


def load(folder: Path) -> RunData:
    """As `read`, but checked first: it may have been edited, or come from elsewhere. Raises ReportError."""
    check(document_of(folder), folder / "run.json")
    return read(folder)
