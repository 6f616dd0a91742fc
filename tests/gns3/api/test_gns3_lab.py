"""The module gns3_lab with real GNS3 servers of both versions, without Docker: the hosts are UDP ports, as a user's own nodes.

The tests tell one story for each version, in this order.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.gns3_api import Api, Gns3Error
from modules import gns3_lab

from tests.gns3 import programs
from tests.gns3.machine import GNS3, PASSWORD, USER, Machine
from tests.project import ROOT
from tests.unit.plugins.modules_in_process import run_module

PROJECT = "drawn by hand"
TOPOLOGY: dict[str, Any] = {
    "switch": "Switch1",
    "nat": {"name": "NAT1", "address": "192.168.122.1/24"},
    "nodes": [
        {"name": f"alpine-{n}", "role": "server", "address": f"192.168.122.{10 + n}", "port": f"e{n}"}
        for n in (1, 2, 3)
    ],
    "links": [{"node": f"alpine-{n}", "to_host": {}, "from_host": {}} for n in (1, 2, 3)],
}
# A frame of an experimental EtherType to all, long enough for Ethernet.
FRAME = bytes.fromhex("ffffffffffff 020000000001 88b5") + bytes(range(50))
ARRIVAL_TIMEOUT_S = 10.0
ABSENCE_S = 0.5  # a frame that is not there by then is taken for lost

Lab = Callable[..., dict[str, Any]]


def impaired(**impairment: float) -> dict[str, Any]:
    """The topology with this on both directions of alpine-1's link."""
    topology = copy.deepcopy(TOPOLOGY)
    topology["links"][0].update(to_host=impairment, from_host=impairment)
    return topology


@pytest.fixture(scope="module")
def server(machine: Machine, version: str) -> Machine:
    """A machine with a GNS3 server and nothing else: no Docker, no dynamips, no uBridge, no libvirt."""
    machine.start_gns3(version)
    return machine


@pytest.fixture(scope="module")
def session(server: Machine) -> Api:
    """A log-in, used again and again: GNS3 3 takes its time to check a password."""
    found = Api(GNS3, USER, PASSWORD)
    with server.network():
        found.connect()
    return found


@pytest.fixture
def api(server: Machine, session: Api) -> Iterator[Api]:
    """The server's API, inside the machine's network."""
    with server.network():
        yield session


@pytest.fixture
def module(server: Machine, capsys: pytest.CaptureFixture[str]) -> Lab:
    """Calls the module as Ansible does; the values given take the place of good ones."""

    def call(**options: Any) -> dict[str, Any]:
        good = {"url": GNS3, "user": USER, "password": PASSWORD, "project": PROJECT, "topology": TOPOLOGY}
        with server.network():
            return run_module("gns3_lab", capsys, **{**good, **options})

    return call


@pytest.fixture
def lab(api: Api) -> Lab:
    """Does what the module does after its log-in."""
    defaults = {name: argument.get("default") for name, argument in gns3_lab.ARGUMENTS.items()}

    def call(*, check: bool = False, **options: Any) -> dict[str, Any]:
        given = {**defaults, "project": PROJECT, "topology": TOPOLOGY, **options}
        try:
            return gns3_lab.bring_about(api, given, check)
        except Gns3Error as error:
            return {"failed": True, "msg": str(error)}

    return call


@pytest.fixture(scope="module")
def drawn(server: Machine, session: Api) -> str:
    """A project with three nodes that a user drew: each is a UDP port that the test sends and receives frames at."""
    server.add_ubridge()
    with server.network():
        project = str(session.post("/projects", {"name": PROJECT})["project_id"])
        for number, node in enumerate(TOPOLOGY["nodes"]):
            port = {
                "name": "eth0",
                "port_number": 0,
                "type": "udp",
                "lport": 41000 + number,
                "rhost": "127.0.0.1",
                "rport": 42000 + number,
            }
            body = {
                "name": node["name"],
                "node_type": "cloud",
                "compute_id": "local",
                "properties": {"ports_mapping": [port]},
            }
            session.post(f"/projects/{project}/nodes", body)
    return project


@pytest.fixture(scope="module")
def switchable(server: Machine, drawn: str) -> str:
    """The drawn project on a server that can make Ethernet switches."""
    try:
        server.add_dynamips()
    except programs.MissingError as error:
        pytest.skip(str(error))
    return drawn


def arrives(server: Machine, source: int, target: int, timeout_s: float = ARRIVAL_TIMEOUT_S) -> bool:
    """True when a frame that host `source` sends reaches host `target` (counted from 0)."""
    with (
        server.network(),
        socket.socket(type=socket.SOCK_DGRAM) as sender,
        socket.socket(type=socket.SOCK_DGRAM) as receiver,
    ):
        sender.bind(("127.0.0.1", 42000 + source))
        receiver.bind(("127.0.0.1", 42000 + target))
        sender.sendto(FRAME, ("127.0.0.1", 41000 + source))
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            receiver.settimeout(left)
            with contextlib.suppress(TimeoutError):
                if receiver.recv(2000) == FRAME:  # NAT1's interface has a word to say now and then, too
                    return True
        return False


def reopen(api: Api, project: str) -> None:
    for verb in ("close", "open"):
        api.post(f"/projects/{project}/{verb}")


def test_no_server(module: Lab) -> None:
    result = module(url="http://127.0.0.1:1")
    assert result["failed"]
    assert re.search(r"No GNS3 server answers at http://127\.0\.0\.1:1.*lab_gns3_url", result["msg"])


def test_wrong_password(module: Lab) -> None:
    result = module(password="guess")
    assert result["failed"]
    assert re.search(r"does not accept user and password.*lab_gns3_password", result["msg"])
    assert "guess" not in result["msg"]


def test_no_docker(lab: Lab, api: Api) -> None:
    result = lab(project="new")
    assert result["failed"]
    assert re.search(r"Cannot connect to unix socket /var/run/docker\.sock.*Install Docker", result["msg"])
    assert api.get("/projects") == []


def test_unknown_compute(lab: Lab) -> None:
    assert re.search(r"GNS3 VM not configured.*lab_gns3_compute", lab(project="new", compute="vm")["msg"])


def test_appliance_file_is_accepted(api: Api, version: str) -> None:
    (file,) = (ROOT / "gns3").glob("*.gns3a")
    ours = json.loads(file.read_text(encoding="utf-8"))
    (found,) = [appliance for appliance in api.get("/appliances") if appliance["name"] == ours["name"]]
    assert found["docker"]["image"].removesuffix(":latest") == ours["docker"]["image"]
    if version == "v3":  # version 2 leaves the installation to its GUI
        api.post(f"/appliances/{ours['appliance_id']}/install")
        (template,) = [template for template in api.get("/templates") if template["name"] == ours["name"]]
        assert template["image"].removesuffix(":latest") == ours["docker"]["image"]
        assert template["start_command"] == ours["docker"]["start_command"]


def test_absent_without_a_project_changes_nothing(lab: Lab) -> None:
    assert lab(state="absent")["changed"] is False


def test_links_need_a_project(lab: Lab) -> None:
    assert re.search(r"no open project.*Bring the lab up", lab(state="linked", host="alpine-1", link="down")["msg"])


def test_no_dynamips(lab: Lab, drawn: str) -> None:
    assert drawn
    assert re.search(r"Could not find Dynamips.*Install dynamips.*lab_gns3_switch to cloud", lab()["msg"])


@pytest.mark.usefixtures("switchable")
def test_no_nat_interface(lab: Lab, api: Api, drawn: str) -> None:
    assert "Close and open the project" in lab()["msg"]  # GNS3 keeps the name of the node that failed
    reopen(api, drawn)
    assert re.search(r"NAT interface virbr0 is missing.*virsh net-start default", lab()["msg"])


@pytest.mark.usefixtures("switchable")
def test_no_ubridge(lab: Lab, api: Api, server: Machine, drawn: str) -> None:
    reopen(api, drawn)
    server.add_nat_bridge()
    server.remove_program("ubridge")
    assert re.search(r"uBridge is not available.*Install uBridge", lab()["msg"])
    server.add_ubridge()
    reopen(api, drawn)


@pytest.mark.usefixtures("switchable")
def test_check_mode_changes_nothing(lab: Lab, api: Api, drawn: str) -> None:
    nodes, links = api.get(f"/projects/{drawn}/nodes"), api.get(f"/projects/{drawn}/links")
    result = lab(check=True)
    assert result["changed"]
    assert "link NAT1 to Switch1 e0" in result["changes"]
    assert api.get(f"/projects/{drawn}/nodes") == nodes
    assert api.get(f"/projects/{drawn}/links") == links


@pytest.mark.usefixtures("switchable")
def test_present_makes_what_is_missing_and_frames_pass(lab: Lab, server: Machine, version: str, drawn: str) -> None:
    result = lab()
    assert result["lab"]["up"], result
    assert result["lab"]["version"] == programs.SERVERS[version]
    assert result["lab"]["project_id"] == drawn
    assert {node["name"]: node["type"] for node in result["lab"]["nodes"]} == {
        "Switch1": "ethernet_switch",
        "NAT1": "nat",
        **dict.fromkeys(["alpine-1", "alpine-2", "alpine-3"], "cloud"),
    }
    assert arrives(server, 0, 1)
    assert arrives(server, 2, 0)


@pytest.mark.usefixtures("switchable")
def test_ports_are_those_of_the_drawing(api: Api, drawn: str) -> None:
    nodes = {node["node_id"]: node for node in api.get(f"/projects/{drawn}/nodes")}
    found = {}
    for link in api.get(f"/projects/{drawn}/links"):
        ends = {nodes[end["node_id"]]["name"]: end["port_number"] for end in link["nodes"]}
        switch = ends.pop("Switch1")
        found[next(iter(ends))] = switch
    assert found == {"NAT1": 0, "alpine-1": 1, "alpine-2": 2, "alpine-3": 3}


@pytest.mark.usefixtures("switchable")
def test_second_time_changes_nothing(module: Lab) -> None:
    result = module()
    assert (result["changed"], result["changes"]) == (False, [])


@pytest.mark.parametrize(
    ("topology", "why"),
    [
        (impaired(delay_ms=10), "GNS3 cannot do delay_ms"),
        (impaired(loss_pct=0.5), "whole percents only"),
        ({**TOPOLOGY, "links": [{"node": "alpine-1", "to_host": {"loss_pct": 5}, "from_host": {}}]}, "both directions"),
    ],
    ids=["delay", "fraction", "one direction"],
)
@pytest.mark.usefixtures("switchable")
def test_what_gns3_cannot_do_is_refused(lab: Lab, topology: dict[str, Any], why: str) -> None:
    result = lab(state="impaired", topology=topology)
    assert result["failed"]
    assert why in result["msg"]
    assert "embedded lab" in result["msg"]


@pytest.mark.usefixtures("switchable")
def test_loss_begins_and_ends(lab: Lab, server: Machine) -> None:
    assert lab(state="impaired", topology=impaired(loss_pct=100))["changed"]
    assert lab(state="impaired", topology=impaired(loss_pct=100))["changed"] is False
    assert not arrives(server, 0, 1, ABSENCE_S)
    assert arrives(server, 1, 2)

    assert lab(state="impaired")["changed"]
    result = lab(state="impaired")
    assert result["changed"] is False
    assert [link["filters"] for link in result["lab"]["links"]] == [{}, {}, {}]
    assert arrives(server, 0, 1)


@pytest.mark.usefixtures("switchable")
def test_link_goes_down_and_up(lab: Lab, server: Machine) -> None:
    result = lab(state="linked", host="alpine-1", link="down")
    assert result["changed"]
    assert [link["suspended"] for link in result["lab"]["links"]] == [True, False, False]
    assert lab(state="linked", host="alpine-1", link="down")["changed"] is False
    assert not arrives(server, 1, 0, ABSENCE_S)
    assert arrives(server, 1, 2)

    assert lab(state="linked", host="alpine-1", link="up")["changed"]
    assert lab(state="linked", host="alpine-1", link="up")["changed"] is False
    assert arrives(server, 1, 0)


@pytest.mark.usefixtures("switchable")
def test_unknown_host_is_named(lab: Lab) -> None:
    result = lab(state="linked", host="alpine-9", link="down")
    assert "no linked host alpine-9" in result["msg"]


@pytest.mark.usefixtures("switchable")
def test_capture_holds_what_crossed_the_link(lab: Lab, server: Machine, tmp_path: Path) -> None:
    path = tmp_path / "captures" / "one.pcap"
    assert lab(state="captured", host="alpine-1")["changed"]
    assert lab(state="captured", host="alpine-1")["changed"] is False
    assert arrives(server, 0, 1)
    # Pulling and plugging must not end it.
    lab(state="linked", host="alpine-1", link="down")
    lab(state="linked", host="alpine-1", link="up")
    assert arrives(server, 0, 1)

    assert lab(state="captured", host="alpine-1", capture="stop", capture_file=str(path))["changed"]
    content = path.read_bytes()
    assert content[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")
    assert content.count(FRAME) == 2
    assert lab(state="captured", host="alpine-1", capture="stop", capture_file=str(path))["changed"] is False


@pytest.mark.usefixtures("switchable")
def test_up_makes_links_as_described(lab: Lab) -> None:
    lab(state="linked", host="alpine-2", link="down")
    lab(state="impaired", topology=impaired(loss_pct=7))
    changes = ["link of alpine-2 up", "filters of alpine-1: none"]
    assert lab(check=True)["changes"] == changes
    result = lab()
    assert result["changes"] == changes
    assert [(link["suspended"], link["filters"]) for link in result["lab"]["links"]] == [(False, {})] * 3


@pytest.mark.usefixtures("switchable")
def test_closed_project_is_opened(lab: Lab, api: Api, server: Machine, drawn: str) -> None:
    api.post(f"/projects/{drawn}/close")
    assert lab(state="status")["lab"]["up"] is False
    result = lab()
    assert result["changes"] == [f"open project {PROJECT}"]
    assert arrives(server, 0, 2)


@pytest.mark.usefixtures("switchable")
def test_host_linked_elsewhere_is_left_alone(lab: Lab, api: Api, drawn: str) -> None:
    nodes = api.get(f"/projects/{drawn}/nodes")
    result = lab(topology={**TOPOLOGY, "switch": "Switch9"})
    assert result["failed"]
    assert "alpine-1 in the project drawn by hand is linked to Switch1, not to Switch9" in result["msg"]
    assert api.get(f"/projects/{drawn}/nodes") == nodes


@pytest.mark.usefixtures("switchable")
def test_absent_keeps_a_users_project(lab: Lab, api: Api, drawn: str) -> None:
    result = lab(state="absent")
    assert result["changes"] == ["stop alpine-1", "stop alpine-2", "stop alpine-3"]
    assert [project["project_id"] for project in api.get("/projects")] == [drawn]
