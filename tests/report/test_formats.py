"""Every format but HTML, compared with what it was found good as (tests/report/golden)."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from module_utils.report import run_data, tables
from udpxfer.modes import MODES

from tests.project import ROOT
from tests.report.conftest import Results
from tests.report.examples import CLIENT, EXAMPLES, compared, make_run, write_json

GOLDEN = ROOT / "tests" / "report" / "golden"
FORMATS = ("report.md", "results.csv", "junit.xml", "terminal.txt")


def made(run: Path, name: str) -> str:
    if name == "terminal.txt":
        return tables.terminal(run_data.load(run), ["Report: somewhere"]) + "\n"
    return (run / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_format_is_as_it_was_found_good(
    example: str, name: str, results: Results, request: pytest.FixtureRequest
) -> None:
    golden = GOLDEN / example / name
    text = made(results.runs[example], name)
    if request.config.getoption("--renew-golden", default=False):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8"), (
        "when meant: pytest tests/report --renew-golden, and read the difference"
    )


@pytest.mark.parametrize("example", EXAMPLES)
def test_all_formats_say_the_same_of_every_transfer(example: str, results: Results) -> None:
    document = json.loads((results.runs[example] / "run.json").read_text(encoding="utf-8"))
    wanted = {
        (mode["mode"], one["server"], one["image"]): one["outcome"]
        for mode in document["modes"]
        for one in mode["transfers"]
    }
    lines = csv.DictReader(io.StringIO(made(results.runs[example], "results.csv")))
    told = {(line["mode"], line["server"], line["image"]): line["outcome"] for line in lines if line["round"] == "0"}
    assert told == wanted

    kinds = {"failure": "failed", "skipped": "unsupported"}
    cases = {}
    for case in ET.fromstring(made(results.runs[example], "junit.xml")).iter("testcase"):  # noqa: S314 (made by us)
        mode, _, server = case.attrib["classname"].partition(".")
        cases[mode, server, case.attrib["name"]] = kinds[case[0].tag] if len(case) else "passed"
    assert ("failed" in cases.values()) != document["verdict"]["passed"]
    cases.pop(("run", "", "verdict"), None)
    assert cases == wanted

    text = made(results.runs[example], "terminal.txt")
    assert text.count("  yes\n") == list(wanted.values()).count("passed")
    assert ("PASSED" in text) == document["verdict"]["passed"]


@pytest.mark.parametrize(
    "ending",
    [{"exit_status": 130, "timed_out": True}, {"exit_status": 2, "timed_out": False}],
    ids=["stopped when all was verified", "a program without the mode"],
)
def test_a_mode_that_failed_as_a_whole_fails_a_case(tmp_path: Path, ending: dict[str, object]) -> None:
    folder = make_run(tmp_path / "20261123T120000Z", modes=("multi_thread",))
    client = folder / "logs" / CLIENT
    write_json(client / "multi_thread.exit.json", {**ending, "timeout_s": 60.0, "seconds": 60.0})
    if not ending["timed_out"]:
        (client / "multi_thread.json").unlink()
    run = run_data.load(compared(folder))
    (reason,) = run.document["verdict"]["reasons"]
    failures = [failure.text for failure in ET.fromstring(tables.junit_xml(run)).iter("failure")]  # noqa: S314 (made by us)
    assert failures == [reason]


def test_page_says_what_went_wrong_and_nothing_hostile_gets_through(results: Results) -> None:
    page = (results.runs["failed"] / "report.html").read_text(encoding="utf-8")
    document = json.loads((results.runs["failed"] / "run.json").read_text(encoding="utf-8"))
    assert len(document["verdict"]["reasons"]) >= 6
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count('class="badge failed"') == 6
    assert page.count('class="badge unsupported"') == 2
    assert 'href="diagnose/"' in page


def test_every_mode_is_explained() -> None:
    from module_utils.report.explanations import EXPLANATIONS

    assert tuple(EXPLANATIONS) == MODES
