"""What goes wrong is told: which host, which mode, what to do; logs come back, what went well is kept, the status is not 0.

The tests tell one story, in this order: from bare hosts to lost ones. Texts: golden/.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import take_down
from tests.lab.golden import expected, normal
from tests.lab.hosts_seen import shell
from tests.lab.playbook import Lab, PlaybookRun
from tests.lab.program import wait_until
from tests.lab.real_inventory import real_inventory

MAIN_JOB = "run_all.yml"
PLAYBOOKS = "tests/lab/playbooks"
BUFFER = "net.core.rmem_max"
HOSTS = {"alpine-1", "alpine-2", "alpine-3"}
BAD_INVENTORY = {
    "all": {
        "vars": {"image_urls": ["ftp://192.0.2.1/image1.jpg", "http://192.0.2.1/"], "lab_gateway": "192.0.2.1/24"},
        "children": {
            "servers": {"hosts": {"one": {"ansible_host": "192.0.2.11"}, "two": {"ansible_host": "192.0.2.11"}}},
            "clients": {"hosts": {"one": {}}},
        },
    }
}


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[Lab]:
    """The lab with bare hosts."""
    take_down(lab)
    up = lab.play("playbooks/lab_up.yml")
    assert up.status == 0, up.explain()
    yield lab
    take_down(lab)


def assert_told(result: PlaybookRun, golden: str) -> None:
    assert result.status != 0
    assert normal("\n\n".join(result.messages)) == expected(golden), result.explain()


def diagnosed(lab: Lab) -> set[str]:
    """Hosts whose logs came back from the latest run."""
    return {path.parent.name for path in (lab.results / "latest" / "diagnose").glob("*/processes.txt")}


def test_everything_wrong_with_what_was_asked_for_is_told_at_once(lab: Lab) -> None:
    inventory = lab.inventory.with_name("bad.yml")
    inventory.write_text(yaml.safe_dump(BAD_INVENTORY), encoding="utf-8")
    key = lab.folder / "secrets" / "exposed.key"
    key.parent.mkdir(exist_ok=True)
    key.write_text("no key\n", encoding="utf-8")
    key.chmod(0o644)
    known = lab.run_ids()
    result = lab.play(MAIN_JOB, "-e", f"udpxfer_key_source={key}", inventory=inventory)
    assert_told(result, "preflight")
    assert lab.run_ids() == known


@pytest.mark.parametrize(
    ("option", "value", "golden"),
    [("--tags", "multithread", "tags"), ("--skip-tags", "multi_thread", "skipped")],
)
def test_an_option_that_would_leave_out_too_much_is_told(lab: Lab, option: str, value: str, golden: str) -> None:
    assert_told(lab.play(MAIN_JOB, option, value), golden)


def test_hosts_that_get_no_python_are_told(hosts: Lab) -> None:
    shell(hosts, "alpine-1", "mv /etc/apk/repositories /etc/apk/none")
    shell(hosts, "alpine-3", "mv /sbin/apk /sbin/none")
    result = hosts.play(MAIN_JOB, "--tags", "bootstrap")
    shell(hosts, "alpine-1", "mv /etc/apk/none /etc/apk/repositories")
    shell(hosts, "alpine-3", "mv /sbin/none /sbin/apk")
    assert_told(result, "bootstrap")


def test_an_inventory_made_from_the_example_works(hosts: Lab) -> None:
    result = hosts.play(MAIN_JOB, "--tags", "multi_thread", inventory=real_inventory(hosts))
    assert result.status == 0, result.explain()
    document = hosts.document((hosts.results / "latest").resolve().name)
    assert document["backend"] == "real"
    assert document["verdict"]["passed"]
    assert {host["name"] for host in document["hosts"]} == {"server-1", "server-2", "client-1"}


def test_a_kernel_that_refuses_larger_socket_buffers_is_told(hosts: Lab) -> None:
    wanted = 2**30
    result = hosts.play(MAIN_JOB, "--tags", "deploy", "-e", f'{{"udpxfer_sysctls": {{"{BUFFER}": {wanted}}}}}')
    assert result.status == 0, result.explain()
    for host in HOSTS:
        granted = int(shell(hosts, host, f"cat /proc/sys/{BUFFER.replace('.', '/')}")) >= wanted
        kept = f"{BUFFER} = {wanted}" in shell(hosts, host, "cat /etc/sysctl.d/60-udpxfer.conf 2>/dev/null || true")
        refused = result.of("Let the kernel grant large socket buffers", host)["refused"]
        assert (granted, kept, BUFFER not in refused) in {(True, True, True), (False, False, False)}


def test_a_host_that_cannot_be_reached_is_told(hosts: Lab) -> None:
    inventory = real_inventory(hosts)
    text = inventory.read_text(encoding="utf-8")
    inventory.write_text(text.replace("192.168.122.13", "192.168.122.99"), encoding="utf-8")
    result = hosts.play(MAIN_JOB, "-e", "ansible_ssh_retries=0", inventory=inventory)
    told = [message.partition(" SSH said:")[0] for message in result.messages]
    assert result.status != 0
    assert normal("\n\n".join(told)) == expected("unreachable"), result.explain()
    assert diagnosed(hosts) == {"server-1", "client-1"}


def test_a_taken_port_and_a_small_disk_are_told(hosts: Lab) -> None:
    code = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9000)); time.sleep(600)"
    shell(hosts, "alpine-3", "rc-service -q udpxfer-receiver stop")
    shell(hosts, "alpine-3", f'start-stop-daemon -S -b -m -p /run/taker -x /usr/bin/python3 -- -c "{code}" >&2')
    result = hosts.play(MAIN_JOB, "-e", json.dumps({"preflight_free_bytes": 10**18}))
    shell(hosts, "alpine-3", "start-stop-daemon -K -p /run/taker")
    assert_told(result, "hosts")
    assert diagnosed(hosts) == HOSTS


def test_an_image_that_is_not_there_is_told(hosts: Lab) -> None:
    result = hosts.play(
        MAIN_JOB, "-e", json.dumps({"image_urls": ["http://192.168.122.1/none.png"], "images_retries": 0})
    )
    assert result.status != 0
    assert "alpine-2: the download of http://192.168.122.1/none.png ended with status" in result.messages[0]
    assert "Check that the host reaches these addresses" in result.messages[0]
    assert diagnosed(hosts) == HOSTS
    assert (hosts.results / "latest" / "diagnose" / "alpine-2" / "fetch.log").read_text(encoding="utf-8")


def test_faults_of_some_modes_leave_the_others_as_they_are(hosts: Lab) -> None:
    result = hosts.play(f"{PLAYBOOKS}/faults.yml")
    document = hosts.document((hosts.results / "latest").resolve().name)
    passed = {mode["mode"]: mode["passed"] for mode in document["modes"]}
    assert result.status != 0
    assert normal("\n".join(document["verdict"]["reasons"])) == expected("faults"), result.explain()
    assert passed == {
        "single_thread": True,
        "multi_thread": False,
        "multi_process": False,
        "multi_thread_async": False,
        "multi_process_async": True,
    }
    assert diagnosed(hosts) == HOSTS
    logs = hosts.results / "latest" / "diagnose"
    assert '"stored"' in (logs / "alpine-1" / "receiver.log").read_text(encoding="utf-8")
    assert list((logs / "alpine-2" / "sent").rglob("multi_process.log"))


def test_a_server_lost_after_the_transfers_is_told(hosts: Lab) -> None:
    result = hosts.play(f"{PLAYBOOKS}/lost_server.yml", "-e", json.dumps({"run_modes": ["single_thread"]}))
    document = hosts.document((hosts.results / "latest").resolve().name)
    assert result.status != 0
    assert normal("\n".join(document["verdict"]["reasons"])) == expected("lost"), result.explain()
    assert {transfer["server"]: transfer["verified"] for transfer in document["modes"][0]["transfers"]} == {
        "alpine-1": True,
        "alpine-3": False,
    }
    assert diagnosed(hosts) == HOSTS - {"alpine-3"}


def test_a_silent_host_at_the_start_is_told(hosts: Lab) -> None:
    command = ["ssh", "-F", str(hosts.state / "ssh_config"), "alpine-3", "true"]
    if subprocess.run(command, check=False, capture_output=True).returncode == 0:  # the test before was left out
        subprocess.run([*command[:-1], "rc-service dropbear stop; killall dropbear"], check=False, capture_output=True)
    assert wait_until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 255)
    result = hosts.play(MAIN_JOB, "-e", "lab_embedded_timeout_s=5", "-e", "ansible_ssh_retries=0")
    assert result.status != 0
    assert "alpine-3 (192.168.122.13): no SSH within 5 s" in result.messages[-1], result.explain()
    assert "Nothing came from alpine-3." in result.messages[-1]
    assert diagnosed(hosts) == HOSTS - {"alpine-3"}


def test_every_golden_text_is_used() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [
        path.stem for path in (Path(__file__).parent / "golden").glob("*.txt") if f'"{path.stem}"' not in source
    ] == []
