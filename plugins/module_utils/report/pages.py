"""Pages for people, made from the data model by the templates beside this file."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .. import topology as topologies
from . import charts, history, sentences, tables
from .curves import Curve, curve_of
from .explanations import EXPLANATIONS
from .run_data import METRICS, Json, ModeSummary, RunData, Spread, intervals
from .thumbnails import Thumbnail, thumbnail


@dataclass(frozen=True)
class Figure:
    """A chart of a page: its name there, its title, the picture and the sentence that says what it shows."""

    name: str
    title: str
    says: str
    svg: Markup | None = None
    note: str = ""


def figure(name: str, title: str, says: str, spec: Json | None, note: str = "") -> Figure:
    """A chart drawn; without a spec there is only the sentence."""
    return Figure(name, title, says, None if spec is None else Markup(charts.draw(spec, name)), note)  # noqa: S704 (own drawing)


def curves_of(run: RunData) -> list[Curve]:
    """Progress curves of the modes that have one."""
    return [curve for curve in map(curve_of, run.modes) if curve]


def figures(run: RunData) -> list[Figure]:
    """The charts of a run, each with its sentence."""
    curves, any_time = curves_of(run), any(mode.wall for mode in run.modes)
    any_transfer = any(intervals(mode.first) for mode in run.modes)
    first = "The first attempt of each mode, which warmed up." if run.repeated else ""
    medians = f"Medians of {run.document['repeats']} rounds" if run.repeated else ""
    whiskers = f"{medians}; the line over a bar spans the middle half." if run.repeated else ""
    drawn = [
        figure(
            "wall-time",
            "Time per mode",
            sentences.wall_time(run),
            charts.wall_time(run) if any_time else None,
            whiskers,
        ),
        figure(
            "gantt", "When each transfer ran", sentences.gantt(run), charts.gantt(run) if any_transfer else None, first
        ),
        figure(
            "progress",
            "Bytes at the servers over time",
            sentences.progress(curves),
            charts.progress(run, curves) if curves else None,
            first,
        ),
        figure(
            "cpu",
            "Processor time against wall time",
            sentences.cpu(run),
            charts.cpu(run) if any_time else None,
            medians and f"{medians}.",
        ),
    ]
    sweep = history.sweep_of(run.folder)
    if sweep:
        drawn.append(sweep_figure(history.sweep_runs(sweep)))
    return drawn


def sweep_figure(runs: Sequence[tuple[str, RunData]]) -> Figure:
    """Goodput under each profile of a sweep."""
    points = history.sweep_points(runs)
    return figure(
        "sweep", "Goodput under each network profile", sentences.sweep(points), charts.sweep(points) if points else None
    )


@dataclass(frozen=True)
class Received:
    """Pictures that arrived alike: at which server, in which modes, whether they are what was sent."""

    server: str
    modes: list[str]
    same: bool
    path: str | None
    thumbnail: Thumbnail | None


@dataclass(frozen=True)
class Pictures:
    """An image as sent and as received."""

    image: str
    size: int | None
    client: str
    path: str | None
    thumbnail: Thumbnail | None
    received: list[Received]


class Files:
    """Links from a page to files of the run: only to what is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thumbnails: dict[str, Thumbnail | None] = {}

    def __call__(self, path: str) -> str | None:
        """The address of a file or folder of the run, None when it is not there."""
        return path if (self._folder / path).exists() else None

    def thumbnail(self, path: str | None, digest: str | None) -> Thumbnail | None:
        """A small copy of an image, made once for all files of the same content."""
        if path is None:
            return None
        key = digest or path
        if key not in self._thumbnails:
            self._thumbnails[key] = thumbnail(self._folder / path)
        return self._thumbnails[key]


def pictures(run: RunData, files: Files) -> list[Pictures]:
    """Every image beside what arrived of it; what arrived alike is one picture with the names of its modes."""
    found = []
    for image in run.document["images"]:
        sendings = [
            (mode, one) for mode in run.document["modes"] for one in mode["transfers"] if one["image"] == image["name"]
        ]
        if not sendings:
            continue
        groups: dict[tuple[str, str | None], list[str]] = {}
        for mode, one in sendings:
            groups.setdefault((one["server"], one["sha256_received"]), []).append(mode["mode"])
        client = sendings[0][1]["client"]
        path = files(f"images/{client}/{image['name']}")
        found.append(
            Pictures(
                image["name"],
                image["bytes"],
                client,
                path,
                files.thumbnail(path, image["sha256"]),
                [received(files, image, server, digest, modes) for (server, digest), modes in groups.items()],
            )
        )
    return found


def received(files: Files, image: Json, server: str, digest: str | None, modes: list[str]) -> Received:
    """What arrived at a server in these modes, which is one and the same content."""
    path = files(f"received/{server}/{modes[0]}/{image['name']}") if digest else None
    same = digest is not None and digest == image["sha256"]
    return Received(server, modes, same, path, files.thumbnail(path, digest))


@dataclass(frozen=True)
class Cell:
    """A figure as text: the median, and the middle half where there are several values."""

    median: str
    middle_half: str = ""

    def __str__(self) -> str:
        return f"{self.median} ({self.middle_half})" if self.middle_half else self.median


def cell(text: Callable[[float | None], str], values: Spread | None) -> Cell:
    """A figure for a table."""
    if values is None:
        return Cell(text(None))
    if values.count == 1 or values.low == values.high:
        return Cell(text(values.median))
    return Cell(text(values.median), f"{text(values.low)}–{text(values.high)}")


def measurements(run: RunData) -> list[tuple[ModeSummary, list[Cell]]]:
    """The table of figures: a row for each mode, a cell for each metric."""
    return [(mode, [cell(metric.text, mode.figures[metric.key]) for metric in METRICS]) for mode in run.modes]


def path_facts(run: RunData) -> list[tuple[str, str]]:
    """What the program used on the way: datagram size, segmentation and aggregation in the kernel."""
    engines = [transfer["engine"] for transfer in run.transfers]
    sizes = sorted({engine["datagram_bytes"] for engine in engines if engine.get("datagram_bytes")})
    sending = sorted({engine["segmentation"] for engine in engines if engine.get("segmentation")})
    receiving = sorted({host["aggregation"] for host in run.document["hosts"] if host["aggregation"]})
    return [
        ("Datagram size", ", ".join(f"{size:,} bytes" for size in sizes) or "unknown"),
        ("Segmentation when sending (GSO)", "; ".join(sending) or "unknown"),
        ("Aggregation when receiving (GRO)", "; ".join(receiving) or "unknown"),
    ]


def tiles(run: RunData) -> list[tuple[str, str]]:
    """The few figures that a reader looks for first."""
    transfers, timed = run.transfers, run.timed
    payload = sum(image["bytes"] or 0 for image in run.document["images"])
    found = [("transfers verified", f"{sum(one['verified'] for one in transfers)} of {len(transfers)}")]
    if len(timed) > 1 and timed[0].wall:
        found.append((f"fastest: {timed[0].name}", sentences.seconds(timed[0].wall.median)))
    if payload:
        found.append(("sent in each mode", sentences.size(payload)))
    if run.document["repeats"] > 1:
        found.append(("measured rounds", str(run.document["repeats"])))
    if run.document["impairment"]:
        found.append(("network", run.document["impairment"]))
    return found


def topology_svg(run: RunData) -> Markup:
    """The lab's drawing; for own hosts one of the hosts alone, as nothing is known of the network between them."""
    known = run.document["topology"]
    hosts = run.document["hosts"]
    return Markup(topologies.to_svg(known) if known else topologies.hosts_to_svg(hosts))  # noqa: S704 (own drawing)


class Pages:
    """The templates, ready to render."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
            autoescape=jinja2.select_autoescape(["html.j2"]),
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._environment.filters.update(
            breakable=breakable, moment=tables.moment, seconds=sentences.seconds, cell=markdown_cell
        )

    def render(self, template: str, **data: Any) -> str:
        """A template's text."""
        return self._environment.get_template(template).render(**data)

    def report(self, run: RunData) -> dict[str, str]:
        """report.html and report.md of a run."""
        files = Files(run.folder)
        sweep = history.sweep_of(run.folder)
        data: Json = {
            "run": run,
            "document": run.document,
            "files": files,
            "tiles": tiles(run),
            "figures": figures(run),
            "metrics": METRICS,
            "measurements": measurements(run),
            "pictures": pictures(run, files),
            "explanations": EXPLANATIONS,
            "in_this_run": sentences.in_this_run,
            "path_facts": path_facts(run),
            "topology_svg": topology_svg(run),
            "sweep": f"../{sweep.name}/sweep.html" if sweep and (sweep / "sweep.html").exists() else None,
        }
        return {name: self.render(f"{name}.j2", **data) for name in ("report.html", "report.md")}

    def index(self, results: Path) -> str:
        """The page over all runs below the results."""
        runs = history.past_runs(results)
        alike = history.alike(runs)
        points = history.trend_points(alike)
        note = (
            f"{len(alike)} runs under the conditions of the newest: {sentences.conditions(alike[-1])}." if alike else ""
        )
        modes = list(dict.fromkeys(mode.name for past in runs if past.run for mode in past.run.modes))
        trend = figure(
            "trend", "Wall time over the runs", sentences.trend(points), charts.trend(points) if points else None, note
        )
        sweeps = sorted(path.parent.name for path in results.glob("sweep-*/sweep.html"))
        return self.render(
            "index.html.j2",
            runs=runs,
            modes=modes,
            trend=trend,
            sweeps=sweeps,
            more=len(history.run_folders(results)) - len(runs),
        )

    def sweep(self, folder: Path) -> str:
        """The page of a sweep."""
        runs = history.sweep_runs(folder)
        points = history.sweep_points(runs)
        by_id = {run.run_id: run for _, run in runs}
        entries = [
            {
                **entry,
                "run": by_id.get(entry["run_id"]),
                "page": f"../{entry['run_id']}/report.html" if entry["run_id"] in by_id else None,
                "goodput": {one["mode"]: one["goodput"] for one in points if one["run"] == entry["run_id"]},
            }
            for entry in history.read_sweep(folder)
        ]
        return self.render(
            "sweep.html.j2",
            name=folder.name,
            entries=entries,
            modes=list(dict.fromkeys(point["mode"] for point in points)),
            repeated=any(run.repeated for run in by_id.values()),
            figure=sweep_figure(runs),
        )

    def comparison(self, a: RunData, b: RunData, found: Sequence[history.Difference], threshold: float) -> str:
        """The page of two runs beside each other, for the folder of all runs."""
        rows = [
            {"mode": one.mode, "run": name, "wall_seconds": side.median}
            for one in found
            for name, side in (("A", one.a), ("B", one.b))
            if side
        ]
        return self.render(
            "comparison.html.j2",
            a=a,
            b=b,
            a_page=f"{a.folder.name}/report.html",
            b_page=f"{b.folder.name}/report.html",
            regressed=any(one.regressed for one in found),
            differences=found,
            threshold=threshold,
            conditions=history.other_conditions(a, b),
            figure_of_both=figure(
                "comparison",
                "Wall time of both runs",
                comparison_sentence(found),
                charts.comparison(rows, ("A", "B")) if rows else None,
            ),
            cell=lambda values: cell(METRICS[0].text, values),
        )


def comparison_sentence(found: Sequence[history.Difference]) -> str:
    """How many modes changed which way."""
    parts = []
    for verdict, words in (
        ("regression", "slower or failing in B"),
        ("improvement", "faster in B"),
        ("same", "unchanged"),
        ("not compared", "not to be compared"),
    ):
        names = [one.mode for one in found if one.verdict == verdict]
        if names:
            parts.append(f"{words}: {sentences.joined(names)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def breakable(name: str) -> Markup:
    """A mode's name that may be broken after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def markdown_cell(text: object) -> str:
    """A text for a line or a cell of Markdown."""
    return html.escape(str(text), quote=False).replace("|", "\\|").replace("\n", " ")
