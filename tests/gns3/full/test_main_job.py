"""The main job on a real GNS3 server with real Docker nodes, from nothing to nothing; the tests tell one story for each version."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from alpinelab import image
from ansible.module_utils.gns3_api import Api
from udpxfer.modes import MODES

from tests.gns3 import programs
from tests.gns3.machine import GNS3, PASSWORD, USER, Machine
from tests.lab.playbook import Lab, PlaybookRun
from tests.project import ROOT

IMAGE = "udpxfer-lab-alpine"
HOSTS = ["alpine-1", "alpine-2", "alpine-3"]
MAIN_JOB = "run_all.yml"


def projects(lab: Gns3Lab) -> list[str]:
    """Names of the projects on the server."""
    with lab.machine.network():
        api = Api(GNS3, USER, PASSWORD)
        api.connect()
        return [project["name"] for project in api.get("/projects")]


@dataclass(frozen=True)
class Gns3Lab(Lab):
    """A lab on the test's GNS3 machine, whose user runs Ansible there too."""

    machine: Machine
    bare_image: str

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory" / "gns3.yml"

    @property
    def state(self) -> Path:
        return ROOT / ".lab" / f"gns3-{self.lab_id}"

    def inside(self, command: list[str]) -> list[str]:
        return self.machine.inside(*command)

    def environment(self, **extra: str) -> dict[str, str]:
        # The drawn sample images stay in the user's cache.
        cache = str(image.cache_folder().parent)
        return self.machine.environment(GNS3_PASSWORD=PASSWORD, XDG_CACHE_HOME=cache, **extra)

    @property
    def project(self) -> str:
        """The project's id."""
        return (self.state / "project_id").read_text(encoding="utf-8").strip()

    def on_host(self, host: str, command: str) -> tuple[int, str]:
        """Exit status and output of a shell command on a host, by Docker alone."""
        done = self.machine.run("docker", "exec", f"GNS3.{host}.{self.project}", "sh", "-c", command)
        return done.returncode, done.stdout

    def reaches(self, host: str, address: str) -> bool:
        return self.on_host(host, f"ping -c 1 -W 1 {address}")[0] == 0


@pytest.fixture(scope="module")
def lab(machine: Machine, version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gns3Lab]:
    """A GNS3 machine as a user has it, with the node image and no project."""
    try:
        machine.start_docker()
        machine.add_dynamips()
    except programs.MissingError as error:
        pytest.skip(str(error))
    machine.add_ubridge()
    machine.add_nat_bridge()
    machine.start_gns3(version)
    key = machine.folder / "key"
    machine.check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    bare = machine.build_image(IMAGE, image.ensure(print), key.with_suffix(".pub").read_text(encoding="utf-8").strip())
    found = Gns3Lab(f"test-{version}", tmp_path_factory.mktemp(version), machine, bare)
    found.copy_inventory()
    try:
        yield found
    finally:
        shutil.rmtree(found.state, ignore_errors=True)


@pytest.fixture(scope="module")
def main_job(lab: Gns3Lab) -> PlaybookRun:
    return lab.play(MAIN_JOB)


def good(run: PlaybookRun) -> PlaybookRun:
    assert run.status == 0, run.explain()
    return run


def verified(lab: Gns3Lab, modes: list[str]) -> None:
    document = lab.document((lab.results / "latest").resolve().name)
    assert document["verdict"] == {"passed": True, "reasons": []}
    assert [mode["mode"] for mode in document["modes"]] == modes


def test_check_mode_makes_nothing(lab: Gns3Lab) -> None:
    good(lab.play("playbooks/lab_up.yml", "--check"))
    assert lab.machine.check("docker", "ps", "--all", "--quiet") == ""


def test_missing_image_is_named_before_anything_is_made(lab: Gns3Lab) -> None:
    refused = lab.play("playbooks/lab_up.yml", "-e", "lab_gns3_image=nobodys")
    assert refused.status != 0
    (message,) = set(refused.messages)  # once by the module, once by the play that looks whether a host is silent
    assert "has no Docker image nobodys:latest on its compute 'local'" in message
    assert f"{IMAGE}:latest" in message  # what there is
    assert "docker build -t nobodys:latest gns3/" in message
    assert projects(lab) == []


def test_main_job_succeeds_in_all_modes(lab: Gns3Lab, main_job: PlaybookRun) -> None:
    good(main_job)
    verified(lab, list(MODES))


def test_second_time_changes_nothing(lab: Gns3Lab) -> None:
    assert good(lab.play("playbooks/lab_up.yml")).changed == []
    again = good(lab.play(MAIN_JOB, "--tags", "images,receivers"))
    assert again.changed == []
    assert set(again.counts) >= set(HOSTS)


def test_lab_belongs_to_one_run_at_a_time(lab: Gns3Lab) -> None:
    first_process = 1  # of the machine: runs as long as that does
    good(lab.play("playbooks/lab_up.yml", "-e", f"lab_controller_pid={first_process}"))
    second = lab.play("playbooks/lab_up.yml")
    assert second.status != 0
    assert "belongs to a run that has not ended (process 1)" in second.explain()
    (ROOT / ".lab" / f"gns3-{lab.lab_id}.run.json").unlink()


def test_infra_checks_pass(lab: Gns3Lab) -> None:
    run_folder = (lab.results / "latest").resolve()
    arguments = ["tests/infra", f"--ansible-inventory={lab.inventory}", f"--run-folder={run_folder}"]
    done = lab.machine.run("pytest", *arguments)
    assert done.returncode == 0, done.stdout


def test_status_tells_what_runs(lab: Gns3Lab) -> None:
    printed = json.dumps(good(lab.play("playbooks/lab_status.yml")).report)
    for name in ("Switch1", "NAT1", *HOSTS):
        assert name in printed


def test_cable_is_pulled_and_plugged(lab: Gns3Lab) -> None:
    assert lab.reaches("alpine-2", "192.168.122.11")
    good(lab.play("playbooks/lab_link.yml", "-e", "lab_host=alpine-1", "-e", "lab_link=down"))
    assert not lab.reaches("alpine-2", "192.168.122.11")
    good(lab.play("playbooks/lab_link.yml", "-e", "lab_host=alpine-1", "-e", "lab_link=up"))
    assert lab.reaches("alpine-2", "192.168.122.11")


def test_impairment_is_set_and_reset(lab: Gns3Lab) -> None:
    everything = json.dumps({"lab_impair": "set", "lab_links": {"alpine-3": {"loss_pct": 100}}})
    good(lab.play("playbooks/lab_impair.yml", "-e", everything))
    assert not lab.reaches("alpine-2", "192.168.122.13")
    good(lab.play("playbooks/lab_impair.yml", "-e", "lab_impair=reset"))
    assert lab.reaches("alpine-2", "192.168.122.13")


def test_what_gns3_cannot_do_is_refused(lab: Gns3Lab) -> None:
    refused = lab.play("playbooks/lab_impair.yml", "-e", "lab_impair=set", "-e", "lab_impairment=wan")
    assert refused.status != 0
    assert "GNS3 cannot do delay_ms" in refused.explain()
    refused = lab.play("playbooks/scenario.yml", "-e", "scenario_failure=host_cut_off")
    assert refused.status != 0
    assert "needs the embedded lab" in refused.explain()


def test_lossy_run_passes_and_capture_shows_it(lab: Gns3Lab) -> None:
    good(lab.play("playbooks/lab_capture.yml", "-e", "lab_host=alpine-1", "-e", "lab_capture=start"))
    lossy = json.dumps({"lab_links": {host: {"loss_pct": 2} for host in HOSTS}})
    good(lab.play(MAIN_JOB, "--tags", "multi_thread", "-e", lossy))
    verified(lab, ["multi_thread"])
    good(lab.play("playbooks/lab_capture.yml", "-e", "lab_host=alpine-1", "-e", "lab_capture=stop"))
    (capture,) = (lab.results / "captures").glob("*.pcap")
    port = (9000).to_bytes(2, "big")
    assert capture.read_bytes().count(port) > 100
    good(lab.play("playbooks/lab_impair.yml", "-e", "lab_impair=reset"))


def test_closed_project_is_opened_and_run_again(lab: Gns3Lab) -> None:
    containers = lab.machine.check("docker", "ps", "--all", "--quiet").split()
    with lab.machine.network():
        api = Api(GNS3, USER, PASSWORD)
        api.connect()
        api.post(f"/projects/{lab.project}/close")
    good(lab.play(MAIN_JOB, "--tags", "multi_process"))
    verified(lab, ["multi_process"])
    assert not set(containers) & set(lab.machine.check("docker", "ps", "--quiet").split())  # GNS3 makes them anew


@contextlib.contextmanager
def connection(lab: Gns3Lab, old: str, new: str) -> Iterator[None]:
    """The inventory with one text replaced."""
    text = lab.inventory.read_text(encoding="utf-8")
    assert text.count(old) == 1
    lab.inventory.write_text(text.replace(old, new), encoding="utf-8")
    try:
        yield
    finally:
        lab.inventory.write_text(text, encoding="utf-8")


def test_hosts_are_reached_by_ssh_too(lab: Gns3Lab) -> None:
    options = (
        f"-i {lab.machine.folder}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlPath=none"
    )
    ssh = f"ansible_connection: ssh\n  ansible_user: root\n  ansible_ssh_common_args: {options}"
    with connection(lab, "ansible_connection: community.docker.docker", ssh):
        good(lab.play(MAIN_JOB, "--tags", "multi_thread_async"))
    verified(lab, ["multi_thread_async"])


def test_docker_of_another_machine_is_reached_by_ssh(lab: Gns3Lab) -> None:
    try:
        there = lab.machine.start_ssh_server(lab.machine.folder / "key")
    except programs.MissingError as error:
        pytest.skip(str(error))
    with connection(
        lab, "# ansible_docker_extra_args: -H ssh://gns3@192.0.2.10", f"ansible_docker_extra_args: -H ssh://{there}"
    ):
        good(lab.play(MAIN_JOB, "--tags", "multi_process_async"))
    verified(lab, ["multi_process_async"])
    assert "Accepted publickey for root" in lab.machine.log("sshd")


def test_labs_of_a_class_live_side_by_side(lab: Gns3Lab) -> None:
    other = f"{lab.lab_id}-ann"
    settings = ["-e", f"lab_id={other}", "-e", "lab_first_host=21", "-e", "lab_gns3_web=192.168.122.1:8021"]
    try:
        good(lab.play("playbooks/lab_up.yml", *settings))
        assert lab.reaches("alpine-1", "192.168.122.23")
        good(lab.play("playbooks/lab_down.yml", *settings))
    finally:
        shutil.rmtree(ROOT / ".lab" / f"gns3-{other}", ignore_errors=True)
    assert lab.reaches("alpine-1", "192.168.122.13")
    assert not lab.reaches("alpine-1", "192.168.122.23")


def test_down_leaves_nothing(lab: Gns3Lab) -> None:
    good(lab.play("playbooks/lab_down.yml"))
    assert lab.machine.check("docker", "ps", "--all", "--quiet") == ""
    assert "http.server" not in lab.machine.check("ps", "ax")
    assert good(lab.play("playbooks/lab_down.yml")).changed == []


def test_cloud_is_a_switch_where_dynamips_is_missing(lab: Gns3Lab) -> None:
    lab.machine.remove_program("dynamips")
    # Bare Alpine this time: the bootstrap role adds the packages.
    wishes = json.dumps({"lab_gns3_switch": "cloud", "lab_gns3_image": lab.bare_image})
    good(lab.play(MAIN_JOB, "--tags", "single_thread", "-e", wishes))
    verified(lab, ["single_thread"])
    with lab.machine.network():
        api = Api(GNS3, USER, PASSWORD)
        api.connect()
        nodes = {node["name"]: node["node_type"] for node in api.get(f"/projects/{lab.project}/nodes")}
    assert nodes == {"Switch1": "cloud", **dict.fromkeys(HOSTS, "docker")}
    good(lab.play("playbooks/lab_down.yml"))
    assert lab.machine.check("docker", "ps", "--all", "--quiet") == ""
