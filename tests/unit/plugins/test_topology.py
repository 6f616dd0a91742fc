"""The lab's description: what it makes, what is wrong with it and on which line, and how it is drawn."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from module_utils import topology

from tests.project import ROOT

DESCRIPTION = ROOT / "inventory" / "group_vars" / "all" / "lab.yml"
PROFILES = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))["lab_profiles"]


def edited(folder: Path, old: str, new: str) -> Path:
    """A copy of the project's description with one text replaced."""
    text = DESCRIPTION.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = folder / "lab.yml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def line_of(text: str) -> int:
    return DESCRIPTION.read_text(encoding="utf-8").partition(text)[0].count("\n") + 1


def test_classic_lab() -> None:
    found = topology.load(DESCRIPTION)
    assert json.loads(json.dumps(found)) == {
        "id": "main",
        "switch": "Switch1",
        "nat": {"name": "NAT1", "address": "192.168.122.1/24"},
        "nodes": [
            {"name": "alpine-1", "role": "server", "address": "192.168.122.11", "port": "e1"},
            {"name": "alpine-2", "role": "client", "address": "192.168.122.12", "port": "e2"},
            {"name": "alpine-3", "role": "server", "address": "192.168.122.13", "port": "e3"},
        ],
        "links": [{"node": f"alpine-{n}", "to_host": {}, "from_host": {}} for n in (1, 2, 3)],
        "profile": "clean",
    }


def test_more_hosts_follow_in_a_fixed_order() -> None:
    nodes = topology.load(DESCRIPTION, {"lab_servers": "3", "lab_clients": 2})["nodes"]
    assert [node["role"] for node in nodes] == ["server", "client", "server", "server", "client"]
    assert nodes[4] == {"name": "alpine-5", "role": "client", "address": "192.168.122.15", "port": "e5"}


def test_fifty_servers() -> None:
    found = topology.load(DESCRIPTION, {"lab_servers": 50})
    assert sum(node["role"] == "server" for node in found["nodes"]) == 50
    assert len({node["address"] for node in found["nodes"]}) == len(found["links"]) == 51


def test_labs_on_one_network_begin_at_addresses_of_their_own() -> None:
    nodes = topology.load(DESCRIPTION, {"lab_first_host": "21"})["nodes"]
    assert [node["address"] for node in nodes] == ["192.168.122.21", "192.168.122.22", "192.168.122.23"]


def test_own_list_of_nodes() -> None:
    nodes = [
        {"name": "web", "role": "server", "address": "10.0.0.9"},
        {"name": "me", "role": "client", "address": "10.0.0.8"},
    ]
    found = topology.load(DESCRIPTION, {"lab_nodes": nodes, "lab_nat": {"name": "N", "address": "10.0.0.1/8"}})
    assert found["nodes"] == [{**node, "port": f"e{n}"} for n, node in enumerate(nodes, 1)]


@pytest.mark.parametrize("profile", PROFILES)
def test_profile_is_on_every_link(profile: str) -> None:
    found = topology.load(DESCRIPTION, {"lab_impairment": profile})
    assert found["profile"] == profile
    assert len({json.dumps([link["to_host"], link["from_host"]]) for link in found["links"]}) == 1
    assert bool(found["links"][0]["to_host"]) == (profile != "clean")


def test_directions_add_to_what_both_have() -> None:
    link = topology.load(DESCRIPTION, {"lab_impairment": "satellite"})["links"][0]
    assert (link["to_host"]["rate_mbit"], link["from_host"]["rate_mbit"]) == (25, 5)
    assert link["to_host"]["delay_ms"] == link["from_host"]["delay_ms"] == 140


def test_own_link_takes_the_place_of_the_profile() -> None:
    found = topology.load(
        DESCRIPTION, {"lab_impairment": "wan", "lab_links": {"alpine-3": {"to_host": {"loss_pct": 5}}}}
    )
    assert found["links"][2] == {"node": "alpine-3", "to_host": {"loss_pct": 5}, "from_host": {}}
    assert found["links"][0]["to_host"]["delay_ms"] == 20
    assert found["profile"] == "wan+links"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lab_servers: 2", "lab_servers: 0", "lab_servers: 0 is less than the minimum of 1"),
        ("lab_servers: 2", "lab_servers: many", "lab_servers: 'many' is not of type 'integer'"),
        ("lab_servers: 2", "lab_servers: 300", "alpine-245: 192.168.122.255 is no free address of 192.168.122.0/24"),
        ("lab_clients: 1", "lab_client: 1", "lab_client: unknown; known here are: lab_clients, lab_first_host"),
        ("192.168.122.1/24}", "192.168.122.300/24}", "lab_nat.address: .*write it like 192.168.122.1/24"),
        ("192.168.122.1/24}", "192.168.122.12/24}", "alpine-2: 192.168.122.12 is no free address"),
        ("lab_impairment: clean", "lab_impairment: slow", "lab_impairment: 'slow' is no profile; known are: clean"),
        (
            "lab_links: {}",
            "lab_links: {alpine-9: {}}",
            "lab_links.alpine-9: no host has this name; there are: alpine-1",
        ),
        ("lab_links: {}", "lab_links: {alpine-1: {los: 1}}", "lab_links.alpine-1.los: unknown; known here are: burst"),
        ("{delay_ms: 0.5,", "{delay_ms: fast,", "lab_profiles.lan.delay_ms: 'fast' is not of type 'number'"),
        ("{rate_mbit: 25}", "{rate_mbit: 0}", "lab_profiles.satellite.to_host.rate_mbit: 0 is less than or equal to"),
        ("jitter_ms: 10\n", "jitter_ms: 30\n", r"lab_profiles.mobile: jitter_ms is more than delay_ms \(to_host\)"),
        ("burst: 4", "duplicate_pct: 101", "lab_profiles.mobile.duplicate_pct: 101 is greater than the maximum of 100"),
        ("lab_id: main", "lab_id: a/b", "lab_id: 'a/b' does not match"),
        (
            "lab_nodes: []",
            "lab_nodes: [{name: A, role: server, address: 192.168.122.9}]",
            r"lab_nodes\[0\].name: 'A' does",
        ),
        (
            "lab_nodes: []",
            "lab_nodes: [{name: a, role: server, address: 192.168.122.9}]",
            "no client; give at least one",
        ),
        ("lab_nodes: []", "lab_nodes: [{name: br0, role: server, address: 192.168.122.9}]", "the lab uses this name"),
        (
            "lab_nodes: []",
            "lab_nodes: [{name: a, role: server, address: 192.168.122.9}, {name: b, role: client, address: 192.168.122.9}]",
            r"lab_nodes\[1\]: b \(192.168.122.9\): a \(192.168.122.9\) has the same",
        ),
    ],
)
def test_error_names_file_line_and_entry(tmp_path: Path, old: str, new: str, message: str) -> None:
    # What only shows when entries are taken together is reported where the outer one begins.
    line = line_of({"192.168.122.12/24}": "lab_servers: 2", "jitter_ms: 30\n": "  mobile:"}.get(new, old))
    path = edited(tmp_path, old, new)
    with pytest.raises(topology.TopologyError, match=f"{path}, line {line}: .*{message}"):
        topology.load(path)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ({"jitter_ms": 1}, "jitter_ms needs delay_ms"),
        ({"delay_ms": 1, "to_host": {"jitter_ms": 2}}, r"jitter_ms is more than delay_ms \(to_host\)"),
        ({"reorder_pct": 1}, "reorder_pct needs delay_ms"),
        ({"from_host": {"burst": 2}}, r"burst needs loss_pct beside it \(from_host\)"),
        ({"queue_kb": 9}, "queue_kb needs rate_mbit"),
    ],
)
def test_error_of_the_command_line_names_it(link: dict[str, Any], message: str) -> None:
    with pytest.raises(topology.TopologyError, match=rf"on the command line \(-e\): lab_links.alpine-1: {message}"):
        topology.load(DESCRIPTION, {"lab_links": {"alpine-1": link}})


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    path = edited(tmp_path, "lab_servers: 2", "lab_servers: [2")
    with pytest.raises(topology.TopologyError, match=rf"line {line_of('lab_servers: 2')}\b"):
        topology.load(path)


LOSSY = topology.load(DESCRIPTION, {"lab_impairment": "lossy", "lab_links": {"alpine-1": {"to_host": {"loss_pct": 5}}}})


def test_svg_is_well_formed_and_names_all() -> None:
    root = ET.fromstring(topology.to_svg(LOSSY))  # noqa: S314 made by the line itself
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"NAT1", "Switch1", "e1", "e2", "e3", "alpine-2 (client)", "192.168.122.13"} <= texts
    assert {"to host: loss 5 %", "from host: perfect"} <= texts
    assert topology.in_words(LOSSY["links"][1]["to_host"]) in texts
    description = root.find("{http://www.w3.org/2000/svg}desc")
    assert description is not None
    assert "alpine-3 (server, 192.168.122.13)" in (description.text or "")


def test_svg_escapes_what_stands_in_the_description() -> None:
    strange = {**LOSSY, "switch": "<b>&"}
    assert ET.fromstring(topology.to_svg(strange)) is not None  # noqa: S314


def test_mermaid_names_all() -> None:
    text = topology.to_mermaid(LOSSY)
    assert text.startswith("graph LR\n")
    assert (
        '  switch -- "e1<br/>to host: loss 5 %<br/>from host: perfect" --- host1["alpine-1<br/>server<br/>192.168.122.11"]\n'
        in text
    )


def test_words() -> None:
    every = {"delay_ms": 10, "jitter_ms": 2, "loss_pct": 2, "burst": 3, "rate_mbit": 50, "queue_kb": 500}
    assert topology.in_words(every) == "10 ms ± 2 ms, loss 2 % in bursts of 3, 50 Mbit/s, queue 500 KB"


def test_the_graph_in_the_docs_is_that_of_the_description() -> None:
    assert topology.to_mermaid(topology.load(DESCRIPTION)) in (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
