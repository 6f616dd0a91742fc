"""A real browser without a window, and the questions that the tests ask it about a page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
UNDECODED = (
    """return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.alt || i.src.slice(0, 60))"""
)
LINKS = """return [...document.querySelectorAll('[href], [src]')].map(e => e.getAttribute('href') ?? e.getAttribute('src'))"""
ANCHORS = """return [...document.querySelectorAll('[id]')].map(e => e.id)"""
CUT_OFF = """
return [...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => text.textContent.trim()).filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  }).map(text => text.textContent);
})"""
OVERLAPPING = """
return [...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim() && getComputedStyle(t).opacity !== '0');
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect()]);
  const found = [];
  for (const [i, [a, p]] of boxes.entries()) for (const [b, q] of boxes.slice(i + 1))
    if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 3 && q.top < p.bottom - 3) found.push(a + ' / ' + b);
  return found;
})"""
FIGURES_WITHOUT_NAME = """
return [...document.querySelectorAll('svg[role=img]')].filter(svg => {
  const id = svg.getAttribute('aria-labelledby');
  const name = id ? document.getElementById(id)?.textContent : svg.querySelector('title')?.textContent;
  return !name?.trim();
}).length"""


class Browser:
    """Chromium in a window of a chosen size and colour scheme."""

    def __init__(self, profile: Path) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            pytest.fail(
                "chromium or chromedriver is not installed: tools/system_requirements.sh browser", pytrace=False
            )
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self._driver = webdriver.Chrome(options=options, service=Service(driver))
        self._axe = Axe()

    def close(self) -> None:
        self._driver.quit()

    def open(self, page: Path, width: int, scheme: str, medium: str = "screen") -> None:
        """Open a page as on a screen of this width."""
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", media=medium, features=features)
        self.messages()  # those of the page before
        self._driver.get(page.as_uri())
        self.page = page

    def _command(self, name: str, **parameters: Any) -> Any:
        return self._driver.execute_cdp_cmd(name, parameters)

    def ask(self, script: str) -> Any:
        """The result of a script."""
        return self._driver.execute_script(script)

    def text(self) -> str:
        """What a reader sees."""
        return str(self.ask("return document.body.innerText"))

    def messages(self) -> list[str]:
        """What the browser complained about."""
        entries = self._driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def width(self) -> tuple[int, int]:
        """Width of the content and of the window."""
        script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        content, window = self.ask(script)
        return content, window

    def broken_links(self) -> list[str]:
        """Links to places, files or folders that are not there, and all that lead into a network."""
        ids = set(self.ask(ANCHORS))
        return [link for link in self.ask(LINKS) if not self._leads_somewhere(link, ids)]

    def _leads_somewhere(self, link: str, ids: set[str]) -> bool:
        parts = urlsplit(link)
        if parts.scheme == "data":
            return True
        if parts.scheme or parts.netloc:
            return False
        if not parts.path:
            return parts.fragment in ids
        return (self.page.parent / unquote(parts.path)).exists()

    def complaints(self) -> list[str]:
        """What axe finds: contrast, alternative texts, headings, names, tables, language and so on."""
        found = self._axe.run(self._driver)
        return [
            f"{violation['id']}: {node['html'][:160]}: {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]
