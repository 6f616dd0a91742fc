"""What the data say, in plain sentences: one for each chart, and one line for each mode. Nothing here is said without a figure."""

from __future__ import annotations

from collections.abc import Sequence

from .curves import Curve, time_of_share
from .run_data import BY_KEY, Json, ModeSummary, RunData, Spread, intervals, overlap

MOSTLY = 0.5
"""From this share of the time on, transfers count as overlapping for a sentence."""
NOTHING_MEASURED = "No mode passed, so there is nothing to measure."
ONE_PASS = "One pass says little about small differences; -e transfer_repeats=10 gives medians."  # noqa: S105


def seconds(value: float) -> str:
    """A time with its unit, with three digits that mean something."""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:,.2f} s"


def size(count: float) -> str:
    """A number of bytes with its unit (powers of ten)."""
    for limit, divisor, unit in ((1e3, 1, "bytes"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if count < limit:
            return f"{count / divisor:.3g} {unit}"
    return f"{count / 1e9:,.2f} GB"


def joined(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def times(larger: float, smaller: float) -> str:
    """How many times as much, for a reader."""
    return f"{larger / smaller:.1f} times as long" if smaller else "much longer"


def middle_half(values: Spread) -> str:
    """The quartiles in words."""
    return f"middle half {seconds(values.low)} to {seconds(values.high)}"


def wall_time(run: RunData) -> str:
    """Who was fastest and slowest, by how much, and how sure that is."""
    timed = run.timed
    if not timed:
        return NOTHING_MEASURED
    best, last = timed[0], timed[-1]
    assert best.wall
    assert last.wall
    rounds = f"median of {best.wall.count}, {middle_half(best.wall)}"
    if len(timed) == 1:
        return f"{best.name} took {seconds(best.wall.median)}{f' ({rounds})' if best.wall.count > 1 else ''}."
    text = (
        f"{best.name} was fastest ({seconds(best.wall.median)}{f', {rounds}' if run.repeated else ''}), {last.name} slowest "
        f"({seconds(last.wall.median)}, {times(last.wall.median, best.wall.median)})."
    )
    if not run.repeated:
        return f"{text} {ONE_PASS}"
    unsettled = [mode.name for mode in timed[1:] if mode.wall and mode.wall.overlaps(best.wall)]
    if unsettled:
        return f"{text} The middle half of {best.name} overlaps that of {joined(unsettled)}, so the order among them is not settled."
    return f"{text} Its middle half overlaps no other's."


def gantt(run: RunData) -> str:
    """Where transfers ran side by side, and where one after the other."""
    shares = {mode.name: overlap(mode.first) for mode in run.modes}
    known = {name: share for name, share in shares.items() if share is not None}
    if not any(intervals(mode.first) for mode in run.modes):
        return "No transfer ended, so there is nothing to show."
    if not known:
        return "No mode had two transfers, so nothing could overlap."
    beside = [f"{name} ({share:.0%} of the time)" for name, share in known.items() if share >= MOSTLY]
    partly = [f"{name} ({share:.0%})" for name, share in known.items() if 0 < share < MOSTLY]
    apart = [name for name, share in known.items() if share == 0]
    parts = [
        *([f"side by side in {joined(beside)}"] if beside else []),
        *([f"partly side by side in {joined(partly)}"] if partly else []),
        *([f"one after the other in {joined(apart)}"] if apart else []),
    ]
    return f"Transfers ran {'; '.join(parts)}."


def progress(curves: Sequence[Curve]) -> str:
    """When half and all of the bytes were at the servers, in the first and the last mode."""
    done = sorted(curves, key=lambda curve: time_of_share(curve, 1.0))
    if not done:
        return "Nothing arrived, so there is nothing to show."
    first, last = done[0], done[-1]
    text = (
        f"{first.mode} had half of its {size(first.points[-1][1])} at the servers after "
        f"{seconds(time_of_share(first, 0.5))} and all after {seconds(time_of_share(first, 1.0))}"
    )
    if len(done) == 1:
        return f"{text}."
    return f"{text}; {last.mode} needed {seconds(time_of_share(last, 0.5))} and {seconds(time_of_share(last, 1.0))}."


def busy(mode: ModeSummary) -> float | None:
    """Processors busy on average: processor time by wall time."""
    if not mode.cpu or not mode.wall or not mode.wall.median:
        return None
    return mode.cpu.median / mode.wall.median


def cpu(run: RunData) -> str:
    """Which mode used the least and the most processor time, and how many processors that kept busy."""
    known = sorted((mode for mode in run.modes if mode.cpu and mode.wall), key=lambda mode: mode.cpu.median)  # type: ignore[union-attr]
    if not known:
        return NOTHING_MEASURED

    def words(mode: ModeSummary) -> str:
        assert mode.cpu
        return f"{mode.name} ({seconds(mode.cpu.median)}, {busy(mode) or 0:.2g} processors busy on average)"

    if len(known) == 1:
        return f"The client's processor time in {words(known[0])}."
    return f"{words(known[0])} needed the least processor time on the client, {words(known[-1])} the most."


def sweep(points: Sequence[Json]) -> str:
    """Under which profile the best goodput was highest, and under which lowest."""
    best: dict[str, Json] = {}
    for point in points:
        if point["goodput"] > best.get(point["profile"], {"goodput": -1.0})["goodput"]:
            best[point["profile"]] = point
    if not best:
        return NOTHING_MEASURED
    highest = max(best.values(), key=lambda point: float(point["goodput"]))
    lowest = min(best.values(), key=lambda point: float(point["goodput"]))
    text = f"The best goodput under {highest['profile']} was {highest['goodput']:,.1f} MB/s ({highest['mode']})"
    if lowest is highest:
        return f"{text}."
    return f"{text}; under {lowest['profile']} it was {lowest['goodput']:,.1f} MB/s ({lowest['mode']})."


def trend(points: Sequence[Json]) -> str:
    """How the newest run's fastest mode compares with the runs before it."""
    if not points:
        return NOTHING_MEASURED
    newest = max(point["number"] for point in points)
    latest = min(
        (point for point in points if point["number"] == newest), key=lambda point: float(point["wall_seconds"])
    )
    earlier = [
        point["wall_seconds"] for point in points if point["mode"] == latest["mode"] and point["number"] != newest
    ]
    text = f"In the newest of these runs {latest['mode']} was fastest with {seconds(latest['wall_seconds'])}"
    if not earlier:
        return f"{text}."
    if len(earlier) == 1:
        return f"{text}; in the one before it took {seconds(earlier[0])}."
    return f"{text}; in the {len(earlier)} before it took {seconds(min(earlier))} to {seconds(max(earlier))}."


def conditions(run: RunData) -> str:
    """Under what a run was made, in words."""
    document = run.document
    images = joined([image["name"] for image in document["images"]])
    return f"{len(document['hosts'])} {document['backend']} hosts, network {document['impairment'] or 'as it is'}, {images}"


def in_this_run(mode: ModeSummary) -> tuple[str, str]:
    """A mode's own figures in one line, for its explanation: what they are, and they."""
    if not mode.wall:
        return "In this run:", "not measured, as it did not pass."
    facts = [f"{seconds(mode.wall.median)} in all"]
    if mode.start_delay:
        facts.append(f"its first transfer began after {seconds(mode.start_delay.median)}")
    if mode.overlap:
        facts.append(f"transfers overlapped for {mode.overlap.median:.0%} of the time")
    ratio, memory = busy(mode), mode.figures["peak_memory_mb"]
    if ratio is not None:
        facts.append(f"{ratio:.2g} processors busy on average")
    if memory:
        facts.append(f"largest process {BY_KEY['peak_memory_mb'].text(memory.median)} MB")
    kind = f"medians of {mode.wall.count}" if mode.wall.count > 1 else "one pass"
    return f"In this run ({kind}):", f"{', '.join(facts)}."
