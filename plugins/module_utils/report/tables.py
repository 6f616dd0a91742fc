"""A run for programs and terminals: results.csv, junit.xml and the table after a run."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime, timezone

from .run_data import Json, ModeSummary, RunData, Spread

MISSING = "-"
# Numbers line up on their last digit.
RIGHT = {"seconds", "middle half", "bytes", "MB/s", "resent", "A s", "B s", "change"}


def moment(seconds: float) -> str:
    """A time of day for readers."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def number(value: float | None, form: str = ",.0f") -> str:
    """A number for the table, a dash for one that is not known."""
    return MISSING if value is None else format(value, form)


def table(headings: Sequence[str], content: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table with columns as wide as their longest cell."""
    widths = [max(len(row[column]) for row in [tuple(headings), *content]) for column in range(len(headings))]
    lines = []
    for row in [tuple(headings), tuple("-" * width for width in widths), *content]:
        cells = (
            cell.rjust(width) if heading in RIGHT else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings)
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def span(values: Spread | None) -> str:
    """The middle half of repeats."""
    return MISSING if values is None else f"{values.low:,.3f}-{values.high:,.3f}"


def mode_cells(mode: ModeSummary, repeated: bool) -> tuple[str, ...]:
    """What stands once for a mode: its name and time, and with repeats the spread of that."""
    if repeated:
        return mode.name, number(mode.wall.median if mode.wall else None, ",.3f"), span(mode.wall)
    return mode.name, number(mode.first["wall_seconds"], ",.3f")


def rows(run: RunData) -> list[tuple[str, ...]]:
    """One row per mode and transfer; the mode and its time stand in its first row only."""
    content: list[tuple[str, ...]] = []
    for mode in run.modes:
        head = mode_cells(mode, run.repeated)
        for transfer in mode.first["transfers"]:
            goodput = transfer["goodput_bytes_per_s"]
            content.append(
                (
                    *head,
                    transfer["image"],
                    transfer["server"],
                    number(transfer["bytes"]),
                    number(None if goodput is None else goodput / 1e6, ".1f"),
                    number(transfer["retransmitted_bytes"]),
                    "yes" if transfer["verified"] else "NO",
                )
            )
            head = ("",) * len(head)
    return content


def terminal(run: RunData, shown: Sequence[str]) -> str:
    """The text after a run: which run, the table, the verdict with its reasons, and where to look (`shown`)."""
    document = run.document
    versions = ", ".join(f"{name} {version or 'unknown'}" for name, version in document["versions"].items())
    verdict, transfers = document["verdict"], run.transfers
    good = sum(transfer["verified"] for transfer in transfers)
    spread = ("middle half",) if run.repeated else ()
    headings = ("mode", "seconds", *spread, "image", "server", "bytes", "MB/s", "resent", "verified")
    note = [f"Seconds are medians of {document['repeats']} rounds; the other columns are the first attempt's."]
    lines = [
        f"Run {run.run_id} ({document['backend']}, {moment(document['start'])}; {versions})",
        "",
        *table(headings, rows(run)),
        *(note if run.repeated else []),
        "",
        f"Verdict: {'PASSED' if verdict['passed'] else 'FAILED'}, {good} of {len(transfers)} transfers verified",
        *("  - " + reason.replace("\n", "\n    ") for reason in verdict["reasons"]),
        *shown,
    ]
    return "\n".join(lines)


CSV_FIELDS = ("run_id", "mode", "round", "client", "server", "image", "outcome", "bytes", "start", "end", "seconds")
CSV_ENGINE = ("datagrams", "lost_datagrams", "rtt_s", "rtt_smoothed_s", "cpu_s", "peak_memory_bytes")
CSV_ATTEMPT = ("wall_seconds", "cpu_seconds")


def results_csv(run: RunData) -> str:
    """One line per transfer and attempt (round 0: the first); what belongs to the whole attempt is named mode_...."""
    buffer = io.StringIO()
    headings = [
        *CSV_FIELDS,
        "goodput_bytes_per_s",
        "retransmitted_bytes",
        *CSV_ENGINE,
        *(f"mode_{name}" for name in CSV_ATTEMPT),
    ]
    writer = csv.DictWriter(buffer, headings, lineterminator="\n")
    writer.writeheader()
    for mode in run.document["modes"]:
        for attempt in (mode, *mode["repeats"]):
            for transfer in attempt["transfers"]:
                line = {name: transfer.get(name) for name in headings}
                line.update({name: transfer["engine"].get(name) for name in ("seconds", *CSV_ENGINE)})
                line.update({f"mode_{name}": attempt[name] for name in CSV_ATTEMPT})
                line.update(run_id=run.run_id, mode=mode["mode"], round=attempt.get("round", 0))
                writer.writerow(line)
    return buffer.getvalue()


def junit_case(suite: ET.Element, mode: Json, transfer: Json, problems: list[str]) -> bool:
    """A case for one mode, server and image: failed when any attempt of it did, which is returned."""
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{mode['mode']}.{transfer['server']}",
        name=transfer["image"],
        time=f"{transfer['engine'].get('seconds') or 0:.6f}",
    )
    if not problems:
        return False
    kind = "skipped" if transfer["outcome"] == "unsupported" else "failure"
    ET.SubElement(case, kind, message=problems[0]).text = "\n".join([*problems, *mode["problems"]])
    return kind == "failure"


def problems_of(mode: Json, transfer: Json) -> dict[str, str]:
    """What went wrong with this file in any attempt of the mode, by the reason that the verdict has for it."""
    found = {}
    for attempt in (mode, *mode["repeats"]):
        repeat = f"repeat {attempt['round']}" if "round" in attempt else ""
        name = f"{mode['mode']}, {repeat}" if repeat else mode["mode"]
        for other in attempt["transfers"]:
            same = all(other[key] == transfer[key] for key in ("image", "server", "client"))
            if same and other["problem"]:
                reason = f"{name}: {other['image']} to {other['server']}: {other['problem']}"
                found[reason] = f"{repeat}: {other['problem']}" if repeat else other["problem"]
    return found


def junit_xml(run: RunData) -> str:
    """A suite with a case for each mode, server and image, and one for every reason of the verdict that fails none of them."""
    started = datetime.fromtimestamp(run.document["start"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    suite = ET.Element("testsuite", name="udpxfer-lab", timestamp=started, hostname=run.document["backend"])
    told: set[str] = set()
    for mode in run.document["modes"]:
        for transfer in mode["transfers"]:
            problems = problems_of(mode, transfer)
            if junit_case(suite, mode, transfer, list(problems.values())):
                told |= {*problems, *(f"{mode['mode']}: {problem}" for problem in mode["problems"])}
    others = [reason for reason in run.document["verdict"]["reasons"] if reason not in told]
    if others:
        case = ET.SubElement(suite, "testcase", classname="run", name="verdict", time="0")
        ET.SubElement(case, "failure", message=others[0]).text = "\n".join(others)
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    suite.set("time", f"{run.document['end'] - run.document['start']:.3f}")
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"
