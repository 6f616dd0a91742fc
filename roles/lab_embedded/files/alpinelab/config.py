"""What a lab is, and every text file that is made from it."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from .system import LabError

PROGRAM = Path(__file__).parent.with_name("lab.py")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# A node's name is also its switch port's: Linux allows 15 characters.
NODE_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")
# No name server in the lab: give up on an unknown name after 1 s, not 10 s.
RESOLVER = "options timeout:1 attempts:1\n"
RESERVED_NAMES = ("br0", "lo", "localhost", "nat1")


@dataclass(frozen=True)
class Node:
    """One Alpine host."""

    name: str
    address: str

    @property
    def mac(self) -> str:
        """Fixed, so that neighbours still know the host after a reboot."""
        return "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(self.address).packed)


@dataclass(frozen=True)
class Description:
    """Hosts on one switch, and nat1 which connects it; `gateway` is nat1's address with the prefix length."""

    gateway: str
    nodes: tuple[Node, ...]

    @property
    def nat1(self) -> str:
        """nat1's address."""
        return self.gateway.partition("/")[0]

    def to_json(self) -> str:
        """The form that parse() reads."""
        nodes = [{"name": node.name, "address": node.address} for node in self.nodes]
        return json.dumps({"gateway": self.gateway, "nodes": nodes}, indent=2) + "\n"


def parse(text: str) -> Description:
    """Read {"gateway": "192.168.122.1/24", "nodes": [{"name": ..., "address": ...}]}; raise LabError naming what is wrong."""
    try:
        document = json.loads(text)
        nodes = tuple(Node(str(node["name"]), str(node["address"])) for node in document["nodes"])
        description = Description(str(document["gateway"]), nodes)
        switch = ipaddress.IPv4Interface(description.gateway)
        addresses = [ipaddress.IPv4Address(node.address) for node in nodes]
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"lab description: {type(error).__name__}: {error}; see docs/lab.md for its form") from error
    for node, address in zip(nodes, addresses, strict=True):
        if not NODE_NAME.fullmatch(node.name) or node.name in RESERVED_NAMES:
            raise LabError(f"lab host '{node.name}': use 1 to 15 of a-z, 0-9 and '-', beginning with a letter")
        if address not in switch.network or address == switch.ip:
            raise LabError(
                f"lab host '{node.name}': {address} must be in {switch.network} and differ from nat1's {switch.ip}"
            )
    for what in ([node.name for node in nodes], addresses):
        if len(set(what)) < len(what):
            raise LabError(f"lab description: two hosts share a name or an address: {', '.join(map(str, what))}")
    if not nodes:
        raise LabError("lab description: no hosts; name at least one in the inventory")
    return description


def hosts_file(lab: Description) -> str:
    """/etc/hosts of every host: without its own name in it, musl waits 5 s for DNS."""
    lines = [f"{node.address}\t{node.name}" for node in lab.nodes]
    return "\n".join(["127.0.0.1\tlocalhost localhost.localdomain", f"{lab.nat1}\tnat1", *lines]) + "\n"


def interfaces_file(lab: Description, node: Node) -> str:
    """/etc/network/interfaces of one host."""
    prefix = lab.gateway.partition("/")[2]
    return f"""\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
\taddress {node.address}/{prefix}
\tgateway {lab.nat1}
"""


def known_hosts(lab: Description, keys: dict[str, str]) -> str:
    """Known hosts for ssh: `keys` maps a host's name to its public key."""
    return "".join(f"{node.address} {keys[node.name]}\n" for node in lab.nodes)


def ssh_config(lab: Description, folder: Path) -> str:
    """Client configuration; works from any current folder and with the Python that runs now."""
    names = "".join(f"Host {node.name}\n  HostName {node.address}\n" for node in lab.nodes)
    connect = shlex.join([sys.executable, str(PROGRAM), "connect", str(folder)]).replace("%", "%%")
    quoted = str(folder).replace("%", "%%")
    return f"""\
# Written by the lab program; use: ssh -F {folder}/ssh_config {lab.nodes[0].name}
{names}Host *
  User root
  IdentityFile "{quoted}/id_ed25519"
  IdentitiesOnly yes
  PreferredAuthentications publickey
  StrictHostKeyChecking yes
  UserKnownHostsFile "{quoted}/known_hosts"
  GlobalKnownHostsFile /dev/null
  ServerAliveInterval 15
  ProxyUseFdpass yes
  ProxyCommand {connect} %h %p
"""
