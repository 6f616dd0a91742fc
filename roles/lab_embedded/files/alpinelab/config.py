"""What a lab is, and every text file that is made from it."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .system import LabError

PROGRAM = Path(__file__).parent.with_name("lab.py")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# A node's name is also its switch port's: Linux allows 15 characters.
NODE_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")
# No name server in the lab: give up on an unknown name after 1 s, not 10 s.
RESOLVER = "options timeout:1 attempts:1\n"
RESERVED_NAMES = ("br0", "lo", "localhost", "nat1")
Link = dict[str, dict[str, float]]  # impairment by direction


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
    # Impairments by host and direction (to_host, from_host), and their common name.
    links: dict[str, Link] = field(default_factory=dict, compare=False)
    profile: str = field(default="clean", compare=False)

    @property
    def nat1(self) -> str:
        """nat1's address."""
        return self.gateway.partition("/")[0]

    def to_json(self) -> str:
        """The form that parse() reads."""
        document = {
            "nat": {"address": self.gateway},
            "nodes": [{"name": node.name, "address": node.address} for node in self.nodes],
            "links": [{"node": name, **link} for name, link in self.links.items()],
            "profile": self.profile,
        }
        return json.dumps(document, indent=2) + "\n"


def parse(text: str) -> Description:
    """Read {"nat": {"address": "192.168.122.1/24"}, "nodes": [{"name": ..., "address": ...}], "links": [{"node": ..., "to_host": ...,
    "from_host": ...}], "profile": ...}; other keys are not looked at. Raise LabError naming what is wrong.
    """
    try:
        document = json.loads(text)
        nodes = tuple(Node(str(node["name"]), str(node["address"])) for node in document["nodes"])
        links = {
            link["node"]: {way: dict(link.get(way, {})) for way in ("to_host", "from_host")}
            for link in document.get("links", [])
        }
        profile = str(document.get("profile", "clean"))
        description = Description(str(document["nat"]["address"]), nodes, links, profile)
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
    if strangers := set(links) - {node.name for node in nodes}:
        raise LabError(f"lab description: links of hosts that are not there: {', '.join(sorted(strangers))}")
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
