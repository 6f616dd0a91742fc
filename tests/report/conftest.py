"""Reports of all examples, made once, and a browser to look at them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from module_utils.report import documents, pages

from tests.report import examples
from tests.report.browser import Browser


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write tests/report/golden anew; read the difference!")


@dataclass(frozen=True)
class Results:
    """A folder of results with every example, a sweep, and the page over all of them."""

    folder: Path
    runs: dict[str, Path]
    sweep: Path


@pytest.fixture(scope="session")
def maker() -> pages.Pages:
    return pages.Pages()


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, maker: pages.Pages) -> Results:
    folder = tmp_path_factory.mktemp("results")
    runs = {}
    for second, (name, make) in enumerate(examples.EXAMPLES.items()):
        runs[name] = make(folder / f"20261123T1200{second:02}Z")
        documents.write_run(runs[name], maker)
    sweep = examples.make_sweep(folder)
    documents.write_sweep(sweep, maker)
    return Results(folder, runs, sweep)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory() as profile:
        one = Browser(Path(profile))
        yield one
        one.close()
