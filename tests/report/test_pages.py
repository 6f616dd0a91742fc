"""Every page in a real browser, at the width of a desk and of a telephone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from module_utils.report import documents, history, pages, run_data

from tests.report import browser as questions
from tests.report.browser import Browser
from tests.report.conftest import Results
from tests.report.examples import EXAMPLES

DESK, PHONE = 1280, 390
VIEWS = {
    "desk, light": (DESK, "light", "screen"),
    "phone, dark": (PHONE, "dark", "screen"),
    "print": (718, "light", "print"),  # A4 with margins of 1 cm,
}


def comparison(results: Results, maker: pages.Pages) -> Path:
    a, b = (run_data.load(results.runs[name]) for name in ("passed", "failed"))
    page = results.folder / "compare.html"
    documents.write_text(page, maker.comparison(a, b, history.differences(a, b, 0.2), 0.2))
    return page


PAGES: dict[str, Callable[[Results, pages.Pages], Path]] = {
    **{name: lambda results, _, name=name: results.runs[name] / "report.html" for name in EXAMPLES},  # type: ignore[misc]
    "run of a sweep": lambda results, _: results.folder / "20261123T130001Z" / "report.html",
    "index": lambda results, _: results.folder / "index.html",
    "sweep": lambda results, _: results.sweep / "sweep.html",
    "comparison": comparison,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound(name: str, view: str, results: Results, maker: pages.Pages, browser: Browser) -> None:
    page = PAGES[name](results, maker)
    browser.open(page, *VIEWS[view])
    assert browser.messages() == []
    assert browser.ask(questions.UNDECODED) == []
    assert browser.broken_links() == []
    content, window = browser.width()
    assert content <= window
    assert browser.ask(questions.CUT_OFF) == []
    assert browser.ask(questions.OVERLAPPING) == []
    assert browser.ask(questions.FIGURES_WITHOUT_NAME) == 0
    assert browser.complaints() == []
