from __future__ import annotations

import json
from pathlib import Path

import pytest
from action import open_run
from ansible.errors import AnsibleActionFail

NOON = 1795435200.0  # 2026-11-23 12:00:00 UTC


def test_runs_in_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    results = tmp_path / "results"
    names = [open_run.open_run(results, {}, NOON) for _ in range(3)]
    assert names == ["20261123T120000Z", "20261123T120000Z-2", "20261123T120000Z-3"]
    assert all((results / name).is_dir() for name in names)


def test_latest_points_to_the_last_one_and_survives_a_move_of_the_project(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for moment in (NOON, NOON + 1):
        open_run.open_run(results, {}, moment)
    moved = results.rename(tmp_path / "moved")
    assert (moved / "latest").resolve() == moved / "20261123T120001Z"
    assert sorted(path.name for path in moved.iterdir()) == ["20261123T120000Z", "20261123T120001Z", "latest"]


def test_a_run_gets_the_name_it_is_given(tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert open_run.open_run(results, {}, NOON, "exercise-3") == "exercise-3"
    assert (results / "latest").resolve() == results / "exercise-3"


def test_a_run_that_is_there_is_not_opened_again(tmp_path: Path) -> None:
    open_run.open_run(tmp_path, {"modes": []}, NOON, "exercise-3")
    plan = (tmp_path / "exercise-3" / "plan.json").read_text()
    open_run.open_run(tmp_path, {}, NOON)
    with pytest.raises(AnsibleActionFail, match=r"exercise-3 is there already"):
        open_run.open_run(tmp_path, {}, NOON, "exercise-3")
    assert (tmp_path / "exercise-3" / "plan.json").read_text() == plan
    assert (tmp_path / "latest").resolve().name == "20261123T120000Z"


@pytest.mark.parametrize("name", ["latest", "../elsewhere", "a/b", ".hidden", "a b", "x" * 57])
def test_a_name_that_is_none_for_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AnsibleActionFail, match="A run cannot be called"):
        open_run.open_run(tmp_path / "results", {}, NOON, name)
    assert list(tmp_path.iterdir()) == []


def test_plan_is_written_with_id_and_start(tmp_path: Path) -> None:
    name = open_run.open_run(tmp_path, {"modes": ["single_thread"]}, NOON)
    plan = json.loads((tmp_path / name / "plan.json").read_text())
    assert plan == {"schema": 1, "run_id": name, "start": NOON, "modes": ["single_thread"]}
