"""Several runs: all of them with their trends, two beside each other, and those of a sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .run_data import Json, ModeSummary, ReportError, RunData, Spread, goodput, load, read, spread

MAX_RUNS = 100
"""The index shows so many of the newest runs; older folders stay, and their pages too."""


@dataclass(frozen=True)
class PastRun:
    """A line of the index: a run, or why its folder cannot be read."""

    name: str
    run: RunData | None
    problem: str | None
    page: str | None

    @property
    def walls(self) -> dict[str, Spread | None]:
        """Wall time by mode."""
        return {mode.name: mode.wall for mode in self.run.modes} if self.run else {}


def opened(folder: Path) -> str:
    """When a run was opened, as in the names that runs have by themselves."""
    if folder.match("2*Z*"):
        return folder.name
    try:
        start = json.loads((folder / "plan.json").read_text())["start"]
        return datetime.fromtimestamp(start, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def run_folders(results: Path) -> list[Path]:
    """Folders of runs, newest first: those named after their time, and those with a plan."""
    found = {*results.glob("2*Z*"), *(plan.parent for plan in results.glob("*/plan.json"))}
    return sorted(
        (path for path in found if path.is_dir() and not path.is_symlink()),
        key=lambda path: (opened(path), path.name),
        reverse=True,
    )


def past_runs(results: Path) -> list[PastRun]:
    """The newest runs; one that cannot be read is named, not hidden."""
    found = []
    for folder in run_folders(results)[:MAX_RUNS]:
        page = f"{folder.name}/report.html" if (folder / "report.html").exists() else None
        try:
            found.append(PastRun(folder.name, read(folder), None, page))
        except ReportError:
            problem = "not compared, or in the form of another version (--tags compare makes it anew)"
            found.append(PastRun(folder.name, None, problem, page))
    return found


def conditions(run: RunData) -> dict[str, Any]:
    """Under what a run was made: what must be the same before its times may be set beside another's."""
    document = run.document
    return {
        "backend": document["backend"],
        "network": document["impairment"] or "as it is",
        "hosts": len(document["hosts"]),
        "images": [f"{image['name']} ({image['bytes']} bytes)" for image in document["images"]],
    }


def alike(runs: Sequence[PastRun]) -> list[RunData]:
    """The newest readable run and all before it that were made under its conditions, oldest first."""
    readable = [past.run for past in reversed(runs) if past.run]
    return [run for run in readable if conditions(run) == conditions(readable[-1])]


def trend_points(runs: Sequence[RunData]) -> list[Json]:
    """Wall time of every mode in each run, in the order of the runs."""
    return [
        {"number": number, "run": run.run_id, "mode": mode.name, "wall_seconds": mode.wall.median}
        for number, run in enumerate(runs)
        for mode in run.modes
        if mode.wall
    ]


@dataclass(frozen=True)
class Difference:
    """One mode in two runs. `change` is (B - A) / A of the median wall time; None when it cannot be compared."""

    mode: str
    a: Spread | None
    b: Spread | None
    change: float | None
    verdict: str
    reason: str

    @property
    def regressed(self) -> bool:
        """Whether this mode makes the comparison fail."""
        return self.verdict == "regression"


def difference(mode: str, a: ModeSummary | None, b: ModeSummary | None, threshold: float) -> Difference:
    """Compare a mode; None where a run did not have it."""
    if a is None or b is None:
        return Difference(
            mode,
            a.wall if a else None,
            b.wall if b else None,
            None,
            "not compared",
            f"only in {'B' if a is None else 'A'}",
        )
    if a.outcome == "passed" and b.outcome != "passed":
        return Difference(mode, a.wall, b.wall, None, "regression", f"passed in A, {b.outcome} in B")
    if not a.wall or not b.wall or not a.wall.median:
        return Difference(mode, a.wall, b.wall, None, "not compared", "not measured in both")
    change = b.wall.median / a.wall.median - 1
    if abs(change) <= threshold:
        return Difference(mode, a.wall, b.wall, change, "same", f"within {threshold:.0%}")
    if min(a.wall.count, b.wall.count) > 1 and a.wall.overlaps(b.wall):
        return Difference(mode, a.wall, b.wall, change, "same", "the middle halves overlap")
    verdict = "regression" if change > 0 else "improvement"
    return Difference(mode, a.wall, b.wall, change, verdict, f"more than {threshold:.0%}")


def differences(a: RunData, b: RunData, threshold: float) -> list[Difference]:
    """Every mode of both runs. Raises ReportError when they have none in common."""
    of_a, of_b = ({mode.name: mode for mode in run.modes} for run in (a, b))
    if not of_a.keys() & of_b.keys():
        message = (
            f"{a.run_id} and {b.run_id} have no mode in common, so there is nothing to compare. Choose other runs."
        )
        raise ReportError(message)
    return [difference(name, of_a.get(name), of_b.get(name), threshold) for name in dict.fromkeys([*of_a, *of_b])]


def other_conditions(a: RunData, b: RunData) -> list[str]:
    """What differs between two runs beside their figures; a reader should know before believing a difference."""

    def facts(run: RunData) -> dict[str, Any]:
        document = run.document
        kernels = sorted({host["kernel"] or "unknown" for host in document["hosts"]})
        return {
            **conditions(run),
            "rounds": document["repeats"],
            "udpxfer": document["versions"]["udpxfer"] or "unknown",
            "kernels": kernels,
        }

    def words(value: Any) -> str:
        return ", ".join(value) if isinstance(value, list) else str(value)

    of_a, of_b = facts(a), facts(b)
    return [f"{name}: {words(of_a[name])} in A, {words(of_b[name])} in B" for name in of_a if of_a[name] != of_b[name]]


def read_sweep(folder: Path) -> list[Json]:
    """Profile and run_id of a sweep's runs. Raises ReportError when sweep.json is missing or of another form."""
    path = folder / "sweep.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise TypeError(type(content).__name__)  # a mapping could be walked too
        return [{"profile": str(entry["profile"]), "run_id": str(entry["run_id"])} for entry in content]
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{path} is no list of profile and run_id ({error!r}). Run the sweep again: playbooks/sweep.yml."
        raise ReportError(message) from error


def sweep_points(runs: Sequence[tuple[str, RunData]]) -> list[Json]:
    """Median goodput of each mode under each profile."""
    points = []
    for profile, run in runs:
        for mode in run.modes:
            measured = spread(map(goodput, mode.measured))
            if measured:
                points.append({"profile": profile, "run": run.run_id, "mode": mode.name, "goodput": measured.median})
    return points


def sweep_of(run_folder: Path) -> Path | None:
    """The newest sweep beside the run that names it."""
    for path in sorted(run_folder.parent.glob("sweep-*/sweep.json"), reverse=True):
        try:
            if any(entry["run_id"] == run_folder.name for entry in read_sweep(path.parent)):
                return path.parent
        except ReportError:
            continue
    return None


def sweep_runs(folder: Path) -> list[tuple[str, RunData]]:
    """Profile and data of the sweep's runs that can be read, in its order."""
    found = []
    for entry in read_sweep(folder):
        try:
            found.append((entry["profile"], load(folder.parent / entry["run_id"])))
        except ReportError:
            continue  # the page shows that the run has no result
    return found
