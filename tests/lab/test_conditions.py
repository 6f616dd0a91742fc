"""The main job under bad conditions: impaired links, a server that fails in the middle; and make's targets for a running lab."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import lab_of_its_own, take_down
from tests.lab.playbook import Lab
from tests.project import run

LAB_ID = "conditions"
HOSTS = ["alpine-1", "alpine-2", "alpine-3"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of_its_own(LAB_ID, tmp_path_factory.mktemp("lab")) as made:
        yield made


def make(lab: Lab, target: str, **variables: str) -> tuple[int, str]:
    settings = {"LAB": LAB_ID, **variables}
    if target in ("capture", "graph"):
        settings["ARGS"] = f"-e run_results_dir={lab.results}"
    done = run("make", target, *(f"{name}={value}" for name, value in settings.items()))
    return done.returncode, done.stdout


def status(lab: Lab) -> dict[str, Any]:
    code, said = make(lab, "status", ARGS="--json")
    assert code == 0, said
    found: dict[str, Any] = json.loads(said)
    return {**found, "nodes": {node["name"]: node for node in found["nodes"]}}


def test_sweep_runs_modes_under_each_profile(lab: Lab) -> None:
    modes = ["multi_process_async"]
    wanted = {"sweep_profiles": ["lossy", "lan"], "sweep_modes": modes}
    swept = lab.play("playbooks/sweep.yml", "-e", json.dumps(wanted), "-e", "transfer_repeats=2")
    assert swept.status == 0, swept.explain()
    (file,) = lab.results.glob("sweep-*/sweep.json")
    runs = json.loads(file.read_text(encoding="utf-8"))
    assert [entry["profile"] for entry in runs] == ["lossy", "lan"]
    for entry in runs:
        document = lab.document(entry["run_id"])
        assert [mode["mode"] for mode in document["modes"]] == modes
        assert document["impairment"] == entry["profile"]
        assert document["repeats"] == 2
        assert document["verdict"] == {"passed": True, "reasons": []}
    assert status(lab)["profile"] == "clean"  # as the inventory says


def test_unknown_profile_is_refused_before_anything_runs(lab: Lab) -> None:
    before = lab.run_ids()
    swept = lab.play("playbooks/sweep.yml", "-e", json.dumps({"sweep_profiles": ["slow"]}))
    assert swept.status != 0
    assert "profiles of clean, lan, wan, lossy, satellite, mobile (not: slow)" in swept.explain()
    assert lab.run_ids() == before


@pytest.mark.parametrize("failure", ["receiver_killed", "host_rebooted", "host_cut_off"])
def test_transfer_survives_the_failure_of_its_server(lab: Lab, failure: str) -> None:
    before = lab.run_ids()
    played = lab.play("playbooks/scenario.yml", "-e", f"scenario_failure={failure}")
    assert played.status == 0, played.explain()
    (new,) = lab.run_ids() - before
    document = lab.document(new)
    assert document["verdict"] == {"passed": True, "reasons": []}
    transfer = next(found for found in document["modes"][0]["transfers"] if found["server"] == "alpine-3")
    if failure != "host_cut_off":  # the new process knows only what the old one had put on disk
        log = (lab.results / new / "logs" / "alpine-3" / "receiver.log").read_text(encoding="utf-8")
        events = [json.loads(line) for line in log.splitlines()]
        accepted = [event for event in events if event["event"] == "accepted" and event["label"].startswith(new)]
        assert [event["resumed_records"] > 0 for event in accepted] == [False, True]
    else:
        assert (
            transfer["engine"]["sessions"] == 2
        )  # the outage lay within: the client gave up and offered the file again


def test_second_run_on_one_lab_is_refused_while_the_first_lives(lab: Lab) -> None:
    with subprocess.Popen(["sleep", "600"]) as first:
        held = lab.play("playbooks/lab_up.yml", "-e", f"lab_controller_pid={first.pid}")
        assert held.status == 0, held.explain()
        second = lab.play("playbooks/lab_up.yml")
        first.kill()
    assert second.status != 0
    assert f"lab '{LAB_ID}' belongs to a run that has not ended (process {first.pid})" in second.explain()


def test_make_status_tells_hosts_and_links(lab: Lab) -> None:
    up = lab.play("playbooks/lab_up.yml")
    assert up.status == 0, up.explain()
    assert {name: node["ssh"] for name, node in status(lab)["nodes"].items()} == dict.fromkeys(HOSTS, True)
    code, table = make(lab, "status")
    assert code == 0
    assert [line.split()[0] for line in table.splitlines()[2:]] == HOSTS


def test_make_exec_runs_a_command_and_tells_its_status(lab: Lab) -> None:
    code, said = make(lab, "exec", HOST="alpine-3", CMD="hostname; exit 7")
    assert code != 0
    assert said.splitlines()[0] == "alpine-3"
    assert "Error 7" in said
    assert make(lab, "exec", HOST="alpine-3", CMD="true")[0] == 0


def test_make_impair_sets_and_resets(lab: Lab) -> None:
    for profile, delays in (("wan", {20}), ("clean", {None})):
        code, said = make(lab, "impair", PROFILE=profile)
        assert code == 0, said
        found = status(lab)
        assert found["profile"] == profile
        assert {node["to_host"].get("delay_ms") for node in found["nodes"].values()} == delays
    assert make(lab, "impair", PROFILE="nonsense")[0] != 0


def test_make_link_pulls_and_plugs(lab: Lab) -> None:
    for state in ("down", "up"):
        code, said = make(lab, "link", HOST="alpine-3", STATE=state)
        assert code == 0, said
        assert status(lab)["nodes"]["alpine-3"]["link"] == state


def test_make_capture_leaves_a_pcap_file_in_the_results(lab: Lab) -> None:
    file = lab.results / "captures" / f"{LAB_ID}-alpine-2.pcap"
    for state in ("start", "stop"):
        code, said = make(lab, "capture", HOST="alpine-2", STATE=state)
        assert code == 0, said
        make(lab, "exec", HOST="alpine-2", CMD="true")
    assert run("tshark", "-r", str(file), "-Y", "tcp.port == 22", "-c", "1").stdout.count("192.168.122.12") == 1


def test_make_graph_draws_the_topology(lab: Lab) -> None:
    code, said = make(lab, "graph")
    assert code == 0, said
    assert ET.parse(lab.results / "topology.svg").getroot().tag.endswith("svg")  # noqa: S314 made by the project
    assert "alpine-3" in (lab.results / "topology.mmd").read_text(encoding="utf-8")


def test_exec_playbook_works_on_a_host_of_any_inventory(lab: Lab) -> None:
    for command, good in (("true", True), ("exit 9", False)):
        wanted = {"lab_host": "alpine-1", "lab_command": command}
        played = lab.play("playbooks/lab_exec.yml", "-e", json.dumps(wanted))
        assert (played.status == 0) == good, played.explain()
        assert good or '"rc": 9' in played.explain()


def test_down_removes_it_all(lab: Lab) -> None:
    take_down(lab)
    assert not status(lab)["up"]
    assert Path(lab.state / "state.json").exists() is False
