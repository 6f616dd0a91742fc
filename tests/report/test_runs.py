"""What cannot be shown is refused with the way out; two runs are compared, and all runs listed, whatever they are."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from action import compare_two_runs, render_run
from module_utils.report import documents, history, pages, run_data
from module_utils.report.run_data import ReportError, Spread, spread
from udpxfer.modes import MODES

from tests.report import examples


def test_median_and_quartiles() -> None:
    assert spread([5.0, None, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert spread([None]) is None


def test_figures_are_of_the_repeats_and_not_of_the_warm_up(tmp_path: Path) -> None:
    run = run_data.load(examples.repeated(tmp_path / "20261123T120000Z"))
    wall = next(mode.wall for mode in run.modes if mode.name == "single_thread")
    assert wall
    # Rounds take 1.02, 1.04, 1.06, 1.00 and 1.02 times 0.053 s.
    assert (wall.low, wall.median, wall.high) == pytest.approx((0.05406, 0.05406, 0.05512), abs=1e-5)
    assert wall.count == 5


def test_a_failed_repeat_fails_the_run_is_named_and_does_not_count(tmp_path: Path) -> None:
    folder = examples.make_run(tmp_path / "20261123T120000Z", rounds=5)
    told = folder / "logs/alpine-3/repeats.json"
    arrived = json.loads(told.read_text(encoding="utf-8"))
    arrived["multi_thread.4/image2.png"]["sha256"] = "0" * 64
    examples.write_json(told, arrived)
    run = run_data.load(examples.compared(folder))
    assert [reason.partition(": digests")[0] for reason in run.document["verdict"]["reasons"]] == [
        "multi_thread, repeat 4: image2.png to alpine-3"
    ]
    assert {mode.name: len(mode.measured) for mode in run.modes} == dict.fromkeys(MODES, 5) | {"multi_thread": 4}
    assert [mode.name for mode in run.modes if mode.outcome == "failed"] == ["multi_thread"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "holds no run.json. Run with --tags compare"),
        ("{", "is no JSON"),
        ('{"schema": 1}', "has the form of another version"),
        ('{"schema": 2}', "does not fit docs/run.schema.json"),
        ("[]", "has the form of another version"),
    ],
)
def test_what_is_no_run_is_refused_with_the_way_out(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ReportError, match=told):
        render_run.render(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_rendering_again_writes_the_same(tmp_path: Path) -> None:
    folder = examples.passed(tmp_path / "20261123T120000Z")
    text = render_run.render(folder)
    first = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    assert {"report.html", "report.md", "results.csv", "junit.xml", "run.json"} <= first.keys()
    assert render_run.render(folder) == text
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")} == first


class TestTwoRuns:
    """A takes what it takes; B is made slower or faster by a factor."""

    def compare(self, results: Path, slower: float, rounds: int = 1, modes: tuple[str, ...] = MODES) -> dict[str, str]:
        a = examples.compared(examples.make_run(results / "20261123T120000Z", rounds=rounds))
        b = examples.compared(
            examples.make_run(results / "20261123T120001Z", rounds=rounds, modes=modes, slower=slower)
        )
        found = history.differences(run_data.load(a), run_data.load(b), 0.2)
        return {one.mode: one.verdict for one in found}

    @pytest.mark.parametrize(
        ("slower", "verdict"),
        [(1.0, "same"), (1.19, "same"), (1.3, "regression"), (0.82, "same"), (0.7, "improvement")],
    )
    @pytest.mark.parametrize("rounds", [1, 5])
    def test_threshold(self, tmp_path: Path, slower: float, verdict: str, rounds: int) -> None:
        assert self.compare(tmp_path, slower, rounds) == dict.fromkeys(MODES, verdict)

    @pytest.mark.parametrize(("low", "verdict"), [(1.3, "same"), (1.5, "regression")])
    def test_overlapping_middle_halves_are_no_regression(self, tmp_path: Path, low: float, verdict: str) -> None:
        run = run_data.load(examples.repeated(tmp_path / "20261123T120000Z"))
        a, b = (
            dataclasses.replace(run.modes[0], figures={**run.modes[0].figures, "wall_seconds": wall})
            for wall in (Spread(1.0, 0.9, 1.4, 5), Spread(1.6, low, 1.7, 5))
        )
        assert history.difference("single_thread", a, b, threshold=0.2).verdict == verdict

    def test_a_mode_of_one_run_only_is_named_and_not_judged(self, tmp_path: Path) -> None:
        verdicts = self.compare(tmp_path, 1.0, modes=("multi_thread",))
        assert verdicts == dict.fromkeys(MODES, "not compared") | {"multi_thread": "same"}

    def test_a_mode_that_fails_now_is_a_regression(self, tmp_path: Path) -> None:
        a = examples.passed(tmp_path / "20261123T120000Z")
        b = examples.failed(tmp_path / "20261123T120001Z")
        result = compare_two_runs.compare(a, b, 0.2)
        assert [text.partition(" ")[0] for text in result["regressions"]] == list(MODES)
        assert "Verdict: REGRESSION" in result["report_text"]
        assert (tmp_path / "compare-20261123T120000Z-20261123T120001Z.html").is_file()

    def test_other_conditions_are_named(self, tmp_path: Path) -> None:
        a = examples.passed(tmp_path / "20261123T120000Z")
        b = examples.own_hosts(tmp_path / "20261123T120001Z")
        text = compare_two_runs.compare(a, b, 0.2)["report_text"]
        assert "  - network: lossy in A, as it is in B" in text
        assert "Verdict: NO REGRESSION" in text

    def test_nothing_in_common_is_an_error(self, tmp_path: Path) -> None:
        a = examples.compared(examples.make_run(tmp_path / "20261123T120000Z", modes=("multi_thread",)))
        b = examples.compared(examples.make_run(tmp_path / "20261123T120001Z", modes=("multi_process",)))
        with pytest.raises(ReportError, match="no mode in common"):
            compare_two_runs.compare(a, b, 0.2)


def test_index_names_runs_that_cannot_be_read(tmp_path: Path, maker: pages.Pages) -> None:
    documents.write_run(examples.passed(tmp_path / "20261123T120000Z"), maker)
    documents.write_run(examples.one_mode(tmp_path / "20261123T120001Z"), maker)
    (tmp_path / "20261123T120001Z/run.json").write_text('{"schema": 1}', encoding="utf-8")
    (tmp_path / "20261123T120002Z").mkdir()
    (tmp_path / "latest").symlink_to("20261123T120002Z")
    runs = history.past_runs(tmp_path)
    assert [(past.name, past.run is None) for past in runs] == [
        ("20261123T120002Z", True),
        ("20261123T120001Z", True),
        ("20261123T120000Z", False),
    ]
    page = documents.write_index(tmp_path, maker).read_text(encoding="utf-8")
    assert page.count('class="badge unknown"') == 2


def test_runs_with_names_of_their_own_stand_where_their_time_says(tmp_path: Path) -> None:
    for name in ("20261123T115959Z", "exercise-3", "20261123T120001Z"):  # all were opened at 12:00:00
        examples.compared(examples.make_run(tmp_path / name, modes=("multi_thread",)))
    (tmp_path / "captures").mkdir()
    (tmp_path / "latest").symlink_to("exercise-3")
    runs = [(past.name, past.problem) for past in history.past_runs(tmp_path)]
    assert runs == [("20261123T120001Z", None), ("exercise-3", None), ("20261123T115959Z", None)]


def test_trends_are_of_runs_under_the_same_conditions(tmp_path: Path) -> None:
    slow = {**examples.TOPOLOGY, "profile": "slow"}
    for second, topology in enumerate([examples.TOPOLOGY, slow, examples.TOPOLOGY, None, examples.TOPOLOGY]):
        examples.compared(examples.make_run(tmp_path / f"20261123T12000{second}Z", topology=topology))
    alike = history.alike(history.past_runs(tmp_path))
    assert [run.run_id[-2] for run in alike] == ["0", "2", "4"]
    assert len(history.trend_points(alike)) == 3 * len(MODES)
    assert history.alike([]) == []


def test_a_sweep_shows_in_the_reports_of_its_runs(tmp_path: Path, maker: pages.Pages) -> None:
    sweep = examples.make_sweep(tmp_path)
    documents.write_sweep(sweep, maker)
    assert "no result" in (sweep / "sweep.html").read_text(encoding="utf-8")
    points = history.sweep_points(history.sweep_runs(sweep))
    assert len(points) == 3 * len(MODES)
    for run in tmp_path.glob("2*Z"):
        assert "Goodput under each network profile" in (run / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(sweep)
    documents.write_run(tmp_path / "20261123T130000Z", maker)
    assert "Goodput under each network profile" not in (tmp_path / "20261123T130000Z/report.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("content", ["", "{}", '[{"profile": "clean"}]', "[1]"])
def test_a_broken_sweep_is_refused(tmp_path: Path, content: str, maker: pages.Pages) -> None:
    (tmp_path / "sweep.json").write_text(content, encoding="utf-8")
    with pytest.raises(ReportError, match=r"sweep\.json is no list"):
        documents.write_sweep(tmp_path, maker)
