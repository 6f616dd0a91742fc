"""Files that are made from a run, or from several, and where they lie."""

from __future__ import annotations

from pathlib import Path

from ..host_files import put_file
from . import history, pages, run_data, tables


def write_text(path: Path, text: str) -> None:
    """Write a file of the report, whole."""
    put_file(path, text.encode(), 0o644)


def write_run(folder: Path, maker: pages.Pages) -> run_data.RunData:
    """Write what is shown of a run into its folder; returns its data. Raises ReportError."""
    run = run_data.load(folder)
    contents = {**maker.report(run), "results.csv": tables.results_csv(run), "junit.xml": tables.junit_xml(run)}
    for name, content in contents.items():
        write_text(folder / name, content)
    return run


def write_index(results: Path, maker: pages.Pages) -> Path:
    """Write the page over all runs; returns its path."""
    path = results / "index.html"
    write_text(path, maker.index(results))
    return path


def write_sweep(folder: Path, maker: pages.Pages) -> Path:
    """Write the page of a sweep, and its chart into the pages of its runs; returns the page's path. Raises ReportError."""
    path = folder / "sweep.html"
    write_text(path, maker.sweep(folder))
    for _, run in history.sweep_runs(folder):
        write_run(run.folder, maker)
    write_index(folder.parent, maker)
    return path
