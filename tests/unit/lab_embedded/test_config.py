from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from alpinelab import config
from alpinelab.system import LabError

GATEWAY = "192.168.122.1/24"


def document(*nodes: tuple[str, str], gateway: str = GATEWAY) -> str:
    return json.dumps(
        {"nat": {"address": gateway}, "nodes": [{"name": name, "address": address} for name, address in nodes]}
    )


TWO = config.parse(document(("alpine-1", "192.168.122.11"), ("alpine-2", "192.168.122.12")))


def test_description_survives_a_round_trip() -> None:
    assert config.parse(TWO.to_json()) == TWO
    assert TWO.nat1 == "192.168.122.1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lab description"),
        ("[]", "lab description"),
        (json.dumps({"nat": {"address": GATEWAY}, "nodes": [{"name": "alpine-1"}]}), "KeyError: 'address'"),
        (document(), "name at least one in the inventory"),
        (document(("alpine-1", "192.168.122.300")), "192.168.122.300"),
        (document(("alpine-1", "192.168.122.11"), gateway="here"), "here"),
        (document(("alpine-1", "10.0.0.1")), "alpine-1.*must be in 192.168.122.0/24"),
        (document(("alpine-1", "192.168.122.1")), "differ from nat1's 192.168.122.1"),
        (document(("a-name-too-long-for-linux", "192.168.122.11")), "1 to 15"),
        (document(("../escape", "192.168.122.11")), "1 to 15"),
        (document(("br0", "192.168.122.11")), "br0"),
        (document(("alpine-1", "192.168.122.11"), ("alpine-1", "192.168.122.12")), "share a name"),
        (document(("alpine-1", "192.168.122.11"), ("alpine-2", "192.168.122.11")), "share a name or an address"),
    ],
)
def test_bad_description_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        config.parse(text)


def test_host_knows_itself_its_neighbours_and_nat1() -> None:
    names = {name: line.split()[0] for line in config.hosts_file(TWO).splitlines() for name in line.split()[1:]}
    assert names["alpine-1"] == "192.168.122.11"
    assert names["alpine-2"] == "192.168.122.12"
    assert names["nat1"] == "192.168.122.1"
    assert names["localhost"] == "127.0.0.1"


def test_interfaces_give_address_and_gateway() -> None:
    text = config.interfaces_file(TWO, TWO.nodes[1])
    assert "address 192.168.122.12/24" in text
    assert "gateway 192.168.122.1\n" in text


def test_mac_addresses_are_fixed_and_local() -> None:
    assert [node.mac for node in TWO.nodes] == ["02:00:c0:a8:7a:0b", "02:00:c0:a8:7a:0c"]


def test_known_hosts_name_addresses() -> None:
    keys = {"alpine-1": "ssh-ed25519 AAAA one", "alpine-2": "ssh-ed25519 BBBB two"}
    text = config.known_hosts(TWO, keys)
    assert text == "192.168.122.11 ssh-ed25519 AAAA one\n192.168.122.12 ssh-ed25519 BBBB two\n"


def settings_seen_by_ssh(folder: Path, host: str) -> dict[str, str]:
    """What OpenSSH itself makes of the file."""
    folder.mkdir(parents=True)
    (folder / "ssh_config").write_text(config.ssh_config(TWO, folder))
    command = ["ssh", "-G", "-F", str(folder / "ssh_config"), host]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)


def test_ssh_config_is_strict_and_reaches_hosts_by_name_and_address(tmp_path: Path) -> None:
    for host in ("alpine-2", "192.168.122.12"):
        seen = settings_seen_by_ssh(tmp_path / host, host)
        assert seen["hostname"] == "192.168.122.12"
        assert seen["user"] == "root"
        assert seen["stricthostkeychecking"] == "true"
        assert seen["proxyusefdpass"] == "yes"


@pytest.mark.parametrize("name", ["plain", "with space", "100%h", "it's"])
def test_ssh_config_quotes_the_lab_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    seen = settings_seen_by_ssh(folder, "alpine-1")
    # ssh replaces %% and %h later, so they still stand here.
    doubled = str(folder).replace("%", "%%")
    assert shlex.split(seen["proxycommand"])[1:] == [str(config.PROGRAM), "connect", doubled, "%h", "%p"]
    assert seen["identityfile"] == f"{doubled}/id_ed25519"
    assert seen["userknownhostsfile"] == f"{folder}/known_hosts"  # shown with %% replaced


def test_ssh_config_names_are_not_patterns(tmp_path: Path) -> None:
    stranger: dict[str, Any] = settings_seen_by_ssh(tmp_path / "lab", "alpine-10")
    assert stranger["hostname"] == "alpine-10"
