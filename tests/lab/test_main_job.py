"""The main job from bare hosts to the end of the lab; the tests tell one story, in this order."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from udpxfer.modes import MODES

from tests.lab.playbook import Lab, PlaybookRun
from tests.lab.traces import Traces, namespaces_of
from tests.project import run

MAIN_JOB = "run_all.yml"
HOSTS = {"alpine-1", "alpine-2", "alpine-3"}


@pytest.fixture(scope="module")
def checked(lab: Lab) -> PlaybookRun:
    """The main job in check mode, on hosts just booted."""
    up = lab.play("playbooks/lab_up.yml")
    assert up.status == 0, up.explain()
    return lab.play(MAIN_JOB, "--check", "--diff")


@pytest.fixture(scope="module")
def main_job(lab: Lab, checked: PlaybookRun) -> PlaybookRun:
    """The main job in full, once check mode has been seen on the bare hosts."""
    assert checked.status == 0, checked.explain()
    return lab.play(MAIN_JOB)


@pytest.fixture(scope="module")
def run_id(lab: Lab, main_job: PlaybookRun) -> str:
    assert main_job.status == 0, main_job.explain()
    return (lab.results / "latest").resolve().name


@pytest.fixture(scope="module")
def document(lab: Lab, run_id: str) -> dict[str, Any]:
    return lab.document(run_id)


def infra(lab: Lab, run_id: str) -> tuple[int, str]:
    """The checks of tests/infra on a run, as a user calls them."""
    result = run(
        "pytest", "tests/infra", f"--ansible-inventory={lab.inventory}", f"--run-folder={lab.results / run_id}"
    )
    return result.returncode, result.stdout


def on_host(lab: Lab, host: str, command: str) -> str:
    """What a shell command prints on a host that may lack Python."""
    result = run("ansible", "-i", str(lab.inventory), host, "-m", "ansible.builtin.raw", "-a", command)
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_check_mode_works_on_bare_hosts_and_changes_none(lab: Lab, checked: PlaybookRun) -> None:
    assert checked.status == 0, checked.explain()
    assert set(checked.counts) >= HOSTS
    assert lab.run_ids() == set()
    for host in sorted(HOSTS):
        found = on_host(lab, host, "ls -d /usr/bin/python3 /usr/local/bin/udpxfer /etc/udpxfer /var/lib/udpxfer; true")
        assert "\n/" not in found


def test_main_job_succeeds(main_job: PlaybookRun) -> None:
    assert main_job.status == 0, main_job.explain()


def test_run_json_keeps_to_its_schema(document: dict[str, Any], run_schema: Path) -> None:
    jsonschema.validate(document, json.loads(run_schema.read_text(encoding="utf-8")))


def test_every_mode_brought_every_image_unharmed(lab: Lab, run_id: str, document: dict[str, Any]) -> None:
    assert document["verdict"] == {"passed": True, "reasons": []}
    assert [mode["mode"] for mode in document["modes"]] == list(MODES)
    at_source = {image["name"]: image["sha256"] for image in document["images"]}
    assert len(at_source) == 2
    fetched = {
        path.relative_to(lab.results / run_id / "received").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (lab.results / run_id / "received").rglob("*")
        if path.is_file()
    }
    reported = {
        f"{transfer['server']}/{mode['mode']}/{transfer['image']}": transfer["sha256_received"]
        for mode in document["modes"]
        for transfer in mode["transfers"]
    }
    assert fetched == reported
    assert {path: at_source[path.rpartition("/")[2]] for path in fetched} == fetched


@pytest.mark.usefixtures("run_id")
def test_second_deployment_changes_no_host(lab: Lab) -> None:
    again = lab.play(MAIN_JOB, "--tags", "images,receivers")
    assert again.status == 0, again.explain()
    assert set(again.counts) >= HOSTS
    assert again.changed == []
    assert {host: counts["changed"] for host, counts in again.counts.items() if counts["changed"]} == {}


def test_infra_checks_pass(lab: Lab, run_id: str) -> None:
    status, output = infra(lab, run_id)
    assert status == 0, output


def test_infra_checks_see_what_does_not_belong(lab: Lab, run_id: str) -> None:
    stray = f"/var/lib/udpxfer/received/{run_id}/{MODES[0]}/stray"
    on_host(lab, "alpine-1", f"su -s /bin/sh udpxfer -c 'umask 027; touch {stray}'; chmod 0644 /etc/udpxfer/key")
    status, output = infra(lab, run_id)
    on_host(lab, "alpine-1", f"rm {stray}; chmod 0400 /etc/udpxfer/key")
    failed = re.findall(r"^FAILED \S+::(\S+)", output, flags=re.MULTILINE)
    assert status == 1, output
    assert set(failed) == {
        "test_what_was_sent_arrived_and_nothing_else[ansible://alpine-1]",
        "test_key_belongs_to_the_user_alone[ansible://alpine-1]",
    }, output


@pytest.mark.usefixtures("run_id")
@pytest.mark.parametrize("mode", MODES)
def test_one_tag_runs_one_mode(lab: Lab, mode: str) -> None:
    known = lab.run_ids()
    result = lab.play(MAIN_JOB, "--tags", mode)
    assert result.status == 0, result.explain()
    (new,) = lab.run_ids() - known
    document = lab.document(new)
    assert [entry["mode"] for entry in document["modes"]] == [mode]
    assert document["verdict"] == {"passed": True, "reasons": []}


def test_tampered_file_fails_the_comparison(lab: Lab, run_id: str) -> None:
    received = next(path for path in sorted((lab.results / run_id / "received").rglob("*")) if path.is_file())
    good = received.read_bytes()
    received.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    tampered = lab.play("playbooks/compare.yml", "-e", f"run_id={run_id}")
    assert tampered.status != 0
    assert lab.document(run_id)["verdict"]["passed"] is False
    assert received.name in tampered.explain()

    received.write_bytes(good)
    restored = lab.play("playbooks/compare.yml", "-e", f"run_id={run_id}")
    assert restored.status == 0, restored.explain()
    assert lab.document(run_id)["verdict"]["passed"] is True


@pytest.mark.usefixtures("run_id")
def test_changed_setting_restarts_the_receiver(lab: Lab) -> None:
    def receiver() -> str:
        return on_host(lab, "alpine-3", "pgrep -u udpxfer | sort; netstat -lnu | grep -o ':9[0-9]* '")

    before = receiver()
    changed = lab.play(MAIN_JOB, "--tags", "receivers", "-e", "udpxfer_port=9001")
    assert changed.status == 0, changed.explain()
    after = receiver()
    assert ":9000 " in before
    assert ":9001 " in after
    assert ":9000 " not in after


@pytest.mark.usefixtures("run_id")
def test_down_leaves_nothing(lab: Lab) -> None:
    namespaces = namespaces_of(lab.state)
    up = Traces.of(lab.state, namespaces)
    assert len(namespaces) > len(HOSTS)
    assert len(up.processes) > len(HOSTS)

    down = lab.play("playbooks/lab_down.yml")
    assert down.status == 0, down.explain()
    assert Traces.of(lab.state, namespaces) == Traces(processes=[], mounts=[], interfaces=up.interfaces)
    assert [path for path in lab.state.rglob("*") if path.is_socket()] == []
