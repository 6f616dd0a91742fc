"""The main job from bare hosts to the end of the lab; the tests tell one story, in this order."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from udpxfer.modes import MODES

from tests.lab.conftest import take_down
from tests.lab.hosts_seen import changes, listing, shell
from tests.lab.playbook import Lab, PlaybookRun
from tests.lab.secrecy import CommandLines, Secret, watched_command_lines
from tests.lab.traces import Traces, namespaces_of
from tests.project import ROOT, environment, run

MAIN_JOB = "run_all.yml"
HOSTS = {"alpine-1", "alpine-2", "alpine-3"}


@pytest.fixture(scope="module")
def bare(lab: Lab) -> dict[str, list[str]]:
    """What there is on each host just booted; no run of other tests is left."""
    take_down(lab)
    shutil.rmtree(lab.results, ignore_errors=True)
    up = lab.play("playbooks/lab_up.yml")
    assert up.status == 0, up.explain()
    return {host: listing(lab, host) for host in HOSTS}


@pytest.fixture(scope="module")
def checked(lab: Lab, bare: dict[str, list[str]]) -> PlaybookRun:
    """The main job in check mode."""
    assert set(bare) == HOSTS
    return lab.play(MAIN_JOB, "--check", "--diff")


@dataclass(frozen=True)
class Deployment:
    """What one deployment showed: its output as verbose as Ansible can be, and all command lines meanwhile."""

    status: int
    output: str
    command_lines: CommandLines


@pytest.fixture(scope="module")
def deployment(lab: Lab, checked: PlaybookRun) -> Deployment:
    """The hosts deployed by one tag, from bare hosts on, once check mode has been seen on them."""
    assert checked.status == 0, checked.explain()
    settings = json.dumps(lab.settings)
    with watched_command_lines() as seen:
        command = (
            "ansible-playbook",
            "-i",
            str(lab.inventory),
            "-e",
            settings,
            MAIN_JOB,
            "--tags",
            "deploy",
            "-vvv",
            "--diff",
        )
        result = run(*command)
    return Deployment(result.returncode, result.stdout, seen)


@pytest.fixture(scope="module")
def main_job(lab: Lab, deployment: Deployment) -> PlaybookRun:
    """The main job in full."""
    assert deployment.status == 0, deployment.output
    return lab.play(MAIN_JOB)


def secret_of(lab: Lab) -> Secret:
    return Secret((lab.folder / "secrets" / "lab.key").read_text(encoding="utf-8").strip())


@pytest.fixture(scope="module")
def run_id(lab: Lab, main_job: PlaybookRun) -> str:
    assert main_job.status == 0, main_job.explain()
    return (lab.results / "latest").resolve().name


@pytest.fixture(scope="module")
def document(lab: Lab, run_id: str) -> dict[str, Any]:
    return lab.document(run_id)


def infra(lab: Lab, run_id: str) -> tuple[int, str]:
    """The checks of tests/infra on a run, as a user calls them who has not activated .venv."""
    pytest_program = str(Path(sys.executable).with_name("pytest"))
    options = (f"--ansible-inventory={lab.inventory}", f"--run-folder={lab.results / run_id}")
    result = run(pytest_program, "tests/infra", *options, env=environment(PATH=os.defpath))
    return result.returncode, result.stdout


def test_check_mode_works_on_bare_hosts_and_changes_none(
    lab: Lab, bare: dict[str, list[str]], checked: PlaybookRun
) -> None:
    assert checked.status == 0, checked.explain()
    assert set(checked.counts) >= HOSTS
    assert lab.run_ids() == set()
    assert changes(lab, bare) == {}


def test_one_tag_deploys_bare_hosts(lab: Lab, deployment: Deployment) -> None:
    assert deployment.status == 0, deployment.output
    for host in HOSTS:
        assert shell(lab, host, "stat -c '%U %a' /usr/local/bin/udpxfer /etc/udpxfer/key") == "root 755\nudpxfer 400\n"
    assert lab.run_ids() == set()


def test_a_deployment_shows_no_key(lab: Lab, deployment: Deployment) -> None:
    secret = secret_of(lab)
    assert "Install the key" in deployment.output
    assert secret.forms_in(deployment.output.encode()) == []
    seen = deployment.command_lines.seen
    assert any(MAIN_JOB.encode() in line for line in seen), "nothing seen of the controller"
    assert any(b"SSH_CONNECTION=192.168.122.1 " in line for line in seen), "nothing seen of the hosts"
    assert [line for line in seen if secret.forms_in(line)] == []


def test_main_job_succeeds(main_job: PlaybookRun) -> None:
    assert main_job.status == 0, main_job.explain()


def test_run_json_keeps_to_its_schema(document: dict[str, Any], run_schema: Path) -> None:
    jsonschema.validate(document, json.loads(run_schema.read_text(encoding="utf-8")))


def test_sample_images_are_a_small_and_a_large_one(document: dict[str, Any]) -> None:
    small, large = (image["bytes"] for image in document["images"])
    assert 200_000 < small < 400_000
    assert 2_500_000 < large < 3_500_000


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


def test_report_lies_beside_the_result(lab: Lab, run_id: str) -> None:
    folder = lab.results / run_id
    assert all((folder / name).stat().st_size for name in ("report.html", "report.md", "results.csv", "junit.xml"))
    assert f'href="{run_id}/report.html"' in (lab.results / "index.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("run_id")
def test_second_deployment_changes_no_host(lab: Lab) -> None:
    again = lab.play(MAIN_JOB, "--tags", "images,receivers")
    assert again.status == 0, again.explain()
    assert set(again.counts) >= HOSTS
    assert again.changed == []
    assert {host: counts["changed"] for host, counts in again.counts.items() if counts["changed"]} == {}


def test_nothing_that_a_run_leaves_shows_the_key(lab: Lab, run_id: str, main_job: PlaybookRun) -> None:
    secret = secret_of(lab)
    assert secret.files_below(lab.folder / "secrets") != []  # or the search finds nothing anywhere
    assert secret.files_below(lab.results / run_id) == []
    assert secret.files_below(lab.state / "logs") == []
    assert secret.forms_in(json.dumps(main_job.report).encode() + main_job.printed.encode()) == []
    key = (lab.folder / "secrets" / "lab.key").read_text(encoding="utf-8").strip()
    for host in HOSTS:
        where = "/etc /home /root /tmp /usr/local /var/log /var/lib/udpxfer /run"
        assert shell(lab, host, f"find {where} -xdev -type f -exec grep -l {key} {{}} +; true") == "/etc/udpxfer/key\n"


def test_infra_checks_pass(lab: Lab, run_id: str) -> None:
    status, output = infra(lab, run_id)
    assert status == 0, output


def test_infra_checks_see_what_does_not_belong(lab: Lab, run_id: str) -> None:
    stray = f"/var/lib/udpxfer/received/{run_id}/{MODES[0]}/stray"
    shell(lab, "alpine-1", f"su -s /bin/sh udpxfer -c 'umask 027; touch {stray}'; chmod 0644 /etc/udpxfer/key")
    status, output = infra(lab, run_id)
    shell(lab, "alpine-1", f"rm {stray}; chmod 0400 /etc/udpxfer/key")
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
    assert not (lab.results / run_id / "diagnose").exists()  # the hosts know nothing of it

    received.write_bytes(good)
    restored = lab.play("playbooks/compare.yml", "-e", f"run_id={run_id}")
    assert restored.status == 0, restored.explain()
    assert lab.document(run_id)["verdict"]["passed"] is True


@pytest.mark.parametrize(("tag", "told"), [("collect", "no longer has"), ("multi_thread", "is there already")])
def test_an_old_run_is_neither_collected_nor_made_again(lab: Lab, run_id: str, tag: str, told: str) -> None:
    def state() -> dict[str, float]:
        return {str(path): path.stat().st_mtime for path in (lab.results / run_id).rglob("*")}

    assert (lab.results / "latest").resolve().name != run_id, "the hosts still have its files"
    before = state()
    result = lab.play(MAIN_JOB, "--tags", tag, "-e", f"run_id={run_id}")
    assert result.status != 0
    assert all(told in message for message in result.messages), result.explain()
    assert state() == before


@pytest.mark.usefixtures("run_id")
@pytest.mark.parametrize("tag", ["lab", "bootstrap", "collect", "compare", "report"])
def test_one_tag_is_enough_for_the_other_steps(lab: Lab, tag: str) -> None:
    latest = (lab.results / "latest").resolve()
    result = lab.play(MAIN_JOB, "--tags", tag)
    assert result.status == 0, result.explain()
    assert (lab.results / "latest").resolve() == latest
    assert (tag == "report") == ("Verdict: PASSED" in result.printed and not result.did("Compare what was sent"))


@pytest.mark.usefixtures("run_id")
def test_a_locked_key_is_the_same_key(lab: Lab) -> None:
    key = lab.folder / "secrets" / "lab.key"
    password = lab.folder / "secrets" / "password"
    password.write_text("correct horse\n", encoding="utf-8")
    locked = run("ansible-vault", "encrypt", f"--vault-password-file={password}", str(key))
    assert locked.returncode == 0, locked.stdout
    again = lab.play(MAIN_JOB, "--tags", "deploy", f"--vault-password-file={password}")
    assert again.status == 0, again.explain()
    assert again.changed == []
    run("ansible-vault", "decrypt", f"--vault-password-file={password}", str(key))


@pytest.mark.usefixtures("run_id")
def test_one_variable_gives_every_host_a_new_key(lab: Lab) -> None:
    before = (lab.folder / "secrets" / "lab.key").read_text(encoding="utf-8")
    result = lab.play(MAIN_JOB, "--tags", "multi_thread", "-e", "udpxfer_key_rotate=true")
    assert result.status == 0, result.explain()
    after = (lab.folder / "secrets" / "lab.key").read_text(encoding="utf-8")
    assert after != before
    assert {shell(lab, host, "cat /etc/udpxfer/key") for host in HOSTS} == {after.strip()}


@pytest.mark.usefixtures("run_id")
def test_changed_setting_restarts_the_receiver(lab: Lab) -> None:
    def receiver() -> str:
        return shell(lab, "alpine-3", "pgrep -u udpxfer | sort; netstat -lnu | grep -o ':9[0-9]* '")

    before = receiver()
    changed = lab.play(MAIN_JOB, "--tags", "receivers", "-e", "udpxfer_port=9001")
    assert changed.status == 0, changed.explain()
    after = receiver()
    assert ":9000 " in before
    assert ":9001 " in after
    assert ":9000 " not in after


@pytest.mark.usefixtures("run_id")
def test_removal_leaves_the_hosts_as_they_were(lab: Lab, bare: dict[str, list[str]]) -> None:
    removed = lab.play("playbooks/remove.yml", "--diff")
    assert removed.status == 0, removed.explain()
    assert len(bare["alpine-1"]) > 500
    assert changes(lab, bare) == {}
    again = lab.play("playbooks/remove.yml")
    assert again.status == 0, again.explain()
    assert again.changed == []


@pytest.mark.usefixtures("run_id")
def test_every_role_works_with_its_defaults_and_can_be_removed(
    lab: Lab, bare: dict[str, list[str]], tmp_path: Path
) -> None:
    """All roles without a variable but the required ones, from an inventory without group_vars."""
    variables = {
        "ansible_connection": "ssh",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": f"-F {lab.state}/ssh_config -o ControlPath={lab.state}/%h",
        "project": str(ROOT),
        "scratch": str(tmp_path),
    }
    hosts = {"server": {"ansible_host": "192.168.122.11"}, "client": {"ansible_host": "192.168.122.12"}}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}), encoding="utf-8")
    key = json.dumps({"udpxfer_key_source": str(tmp_path / "key")})
    result = lab.play("tests/lab/playbooks/defaults_only.yml", "-e", key, inventory=inventory)
    assert result.status == 0, result.explain()
    assert result.failed == []
    assert json.loads((tmp_path / "sent" / "multi_thread.json").read_text(encoding="utf-8"))["ok"]
    assert changes(lab, {host: bare[host] for host in ("alpine-1", "alpine-2")}) == {}


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
