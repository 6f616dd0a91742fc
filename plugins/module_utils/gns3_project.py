"""A lab as a GNS3 project: made, looked at, impaired, captured and removed through the REST API.

What is there under the right name is used as it is, be it drawn by hand; only what is missing is made. A project that
was made here has an id that follows from its name, by which it is told from a user's own, which is never deleted.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.gns3_api import Api, Gns3Error

INTERFACES = "etc/network/interfaces"
ETHERNET_SWITCH = "ethernet_switch"
CLOUD = "cloud"
# GNS3 handles calls one after the other per node; more at once gain nothing on a small server.
CALLS_AT_ONCE = 8
# Places on the drawing, in pixels: hosts in a row below the switch, the NAT above it.
HOST_DISTANCE, ROW_DISTANCE = 160, 170
# Keys of an impairment that GNS3 has a filter for. Its `delay` is left out on purpose: uBridge sleeps for every packet
# in turn, so 20 ms let 50 packets a second through.
FILTERS = {"loss_pct": "packet_loss", "corrupt_pct": "corrupt"}
# Drops frames of up to one byte, which there are none of.
NO_FILTER = {"bpf": ["less 1"]}


@dataclass(frozen=True)
class Wishes:
    """How the lab shall be made where it is not there yet."""

    project: str
    compute: str = "local"
    image: str = ""
    start_command: str = ""
    adapters: int = 1
    switch: str = ETHERNET_SWITCH
    switch_interface: str = "virbr0"
    nameserver: str = ""
    write_addresses: bool = True


def own_project_id(name: str) -> str:
    """The id that a project of this name gets when it is made here."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"udpxfer-lab {name}"))


def interfaces_file(address: str, nat: str, nameserver: str) -> str:
    """/etc/network/interfaces of a host; `nat` is the NAT's address with its prefix length."""
    gateway = ipaddress.IPv4Interface(nat)
    lines = [
        "auto eth0",
        "iface eth0 inet static",
        f"\taddress {address}",
        f"\tnetmask {gateway.netmask}",
        f"\tgateway {gateway.ip}",
    ]
    if nameserver:
        lines.append(f"\tup echo nameserver {nameserver} > /etc/resolv.conf")
    return "\n".join(lines) + "\n"


def filters_of(link: dict[str, Any]) -> dict[str, list[int]]:
    """GNS3's filters for a link of the topology. Raises Gns3Error for what GNS3 cannot do."""
    name, to_host, from_host = link["node"], link["to_host"], link["from_host"]
    instead = "Use the embedded lab for that (inventory/lab.yml)."
    if unknown := sorted((set(to_host) | set(from_host)) - set(FILTERS)):
        raise Gns3Error(
            f"Link of {name}: GNS3 cannot do {', '.join(unknown)}; it can do {' and '.join(FILTERS)}. {instead}"
        )
    if to_host != from_host:
        raise Gns3Error(
            f"Link of {name}: GNS3 treats both directions of a link alike, but to_host and from_host differ. {instead}"
        )
    if broken := sorted(key for key, value in to_host.items() if value != int(value)):
        raise Gns3Error(
            f"Link of {name}: GNS3 takes whole percents only, so not {broken[0]}: {to_host[broken[0]]}. {instead}"
        )
    return {FILTERS[key]: [int(value)] for key, value in sorted(to_host.items()) if value}


@dataclass
class Lab:
    """The lab's project on a server. With `check`, nothing is changed; `changes` says what was or would be."""

    api: Api
    wishes: Wishes
    topology: dict[str, Any]
    check: bool = False
    changes: list[str] = field(default_factory=list)
    _project: str = ""

    # What there is

    def find(self) -> dict[str, Any] | None:
        """The project as GNS3 shows it, None when there is none."""
        found = [project for project in self.api.get("/projects") if project["name"] == self.wishes.project]
        self._project = found[0]["project_id"] if found else ""
        return found[0] if found else None

    def status(self) -> dict[str, Any]:
        """What runs, as plain data."""
        project = self.find()
        result: dict[str, Any] = {
            "server": self.api.url,
            "version": self.api.version,
            "project": self.wishes.project,
            "project_id": self._project,
            "up": False,
            "nodes": [],
            "links": [],
        }
        if project is None or project["status"] != "opened":
            return result
        nodes, links = self._nodes(), self._links()
        result["nodes"] = [
            {
                "name": node["name"],
                "type": node["node_type"],
                "status": node["status"],
                "console": f"telnet {node['console_host']} {node['console']}" if node.get("console") else "",
            }
            for node in sorted(nodes.values(), key=lambda node: str(node["name"]))
        ]
        for name in self._host_names():
            if name in nodes and (link := self._link_of(nodes[name], links)):
                result["links"].append(
                    {
                        "node": name,
                        "filters": self._filters(link),
                        "suspended": link["suspend"],
                        "capturing": link["capturing"],
                    }
                )
        wanted = {*self._host_names(), self.topology["switch"]}
        result["up"] = all(name in nodes and nodes[name]["status"] == "started" for name in wanted)
        return result

    def _host_names(self) -> list[str]:
        return [node["name"] for node in self.topology["nodes"]]

    def _path(self, path: str) -> str:
        return f"/projects/{self._project}{path}"

    def _nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in self.api.get(self._path("/nodes"))}

    def _links(self) -> list[dict[str, Any]]:
        return list(self.api.get(self._path("/links")))

    @staticmethod
    def _link_of(node: dict[str, Any], links: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
        """The link at a node's first adapter."""
        for link in links:
            for end in link["nodes"]:
                if end["node_id"] == node["node_id"] and end["adapter_number"] == 0:
                    return link
        return None

    @staticmethod
    def _filters(link: dict[str, Any]) -> dict[str, list[Any]]:
        return {} if link["filters"] == NO_FILTER else dict(link["filters"])

    def _change(self, what: str, action: Callable[..., Any], *arguments: Any) -> None:
        """Do it, or in check mode only note it."""
        self.changes.append(what)
        if not self.check:
            action(*arguments)

    # Up

    def present(self) -> None:
        """Make what is missing, connect it, write addresses, start, and let links be as described. Raises Gns3Error."""
        for link in self.topology["links"]:
            filters_of(link)  # refuses what GNS3 cannot do before anything is made
        project = self.find()
        if project is None:
            self._check_image()
            self._change(f"make project {self.wishes.project}", self._make_project)
            if self.check:
                return
        elif project["status"] != "opened":
            self._change(f"open project {self.wishes.project}", self.api.post, self._path("/open"))
            if self.check:
                return
        try:
            if project is not None:
                self._check_links()
            nodes = self._make_nodes()
            self._make_links(nodes)
            self._write_addresses(nodes)
            self._start(nodes)
            if not (self.check and self.changes):  # else there may be no links yet to look at
                self.plug(self._host_names())
                self.impair()
        except Gns3Error:
            # A project that was made just now is removed again; GNS3 would keep the names of what failed.
            if project is None:
                self.api.delete(self._path(""))
            raise

    def _check_image(self) -> None:
        """Fail before anything is made: GNS3 would try to pull the image, for minutes."""
        images = [image["image"] for image in self.api.get(f"/computes/{self.wishes.compute}/docker/images")]
        wanted = self.wishes.image if ":" in self.wishes.image else f"{self.wishes.image}:latest"
        if wanted not in images:
            raise Gns3Error(
                f"GNS3 at {self.api.url} has no Docker image {wanted} on its compute '{self.wishes.compute}' (images there: "
                f"{', '.join(images) or 'none'}). On that machine: docker build -t {wanted} gns3/, or set lab_gns3_image."
            )

    def _check_links(self) -> None:
        """Fail before anything is made: a host that is linked elsewhere has no free adapter."""
        nodes, links = self._nodes(), self._links()
        names = {node["node_id"]: name for name, node in nodes.items()}
        for host in self._host_names():
            link = self._link_of(nodes[host], links) if host in nodes else None
            ends = {names[end["node_id"]] for end in link["nodes"]} - {host} if link else set()
            if ends - {self.topology["switch"]}:
                raise Gns3Error(
                    f"{host} in the project {self.wishes.project} is linked to {', '.join(sorted(ends))}, not to {self.topology['switch']}. Remove "
                    "that link in GNS3, or set lab_switch to the node it is linked to."
                )

    def _make_project(self) -> None:
        # auto_close would stop the nodes when the last GUI window is closed.
        body = {"name": self.wishes.project, "project_id": own_project_id(self.wishes.project), "auto_close": False}
        self._project = self.api.post("/projects", body)["project_id"]

    def _make_nodes(self) -> dict[str, dict[str, Any]]:
        nodes = self._nodes()
        missing = [node for node in self._wanted_nodes() if node["name"] not in nodes]
        if any(node["node_type"] == "docker" for node in missing):
            self._check_image()
        for node in missing:
            self.changes.append(f"make node {node['name']}")
        if not self.check:
            hosts = [node for node in missing if node["node_type"] == "docker"]
            made = [
                self._make_node(node) for node in missing if node not in hosts
            ]  # alone: what a server lacks shows there
            made += self._in_parallel(self._make_node, hosts)
            nodes.update({node["name"]: node for node in made})
        return nodes

    def _make_node(self, body: dict[str, Any]) -> dict[str, Any]:
        node: dict[str, Any] = self.api.post(self._path("/nodes"), body)
        if node["name"] != body["name"]:
            self.api.delete(self._path(f"/nodes/{node['node_id']}"))
            raise Gns3Error(
                f"GNS3 does not give the name {body['name']} to a new node: it keeps the names of nodes it could not make. "
                f"Close and open the project {self.wishes.project} in GNS3, then run again."
            )
        return node

    def _wanted_nodes(self) -> list[dict[str, Any]]:
        """Bodies of the calls that make the nodes: switch, NAT, hosts."""
        hosts = self.topology["nodes"]
        ports = range(len(hosts) + 1)
        wishes = self.wishes
        if wishes.switch == CLOUD:
            mapping = [
                {"name": f"e{port}", "port_number": port, "type": "ethernet", "interface": wishes.switch_interface}
                for port in ports
            ]
        else:
            mapping = [{"name": f"e{port}", "port_number": port, "type": "access", "vlan": 1} for port in ports]
        bodies = [self._body(self.topology["switch"], wishes.switch, 0, 0, {"ports_mapping": mapping})]
        if wishes.switch != CLOUD:  # GNS3 joins no cloud to a NAT; the cloud's bridge is the NAT's itself
            bodies.append(self._body(self.topology["nat"]["name"], "nat", 0, -ROW_DISTANCE, {}))
        properties = {"image": wishes.image, "adapters": wishes.adapters, "start_command": wishes.start_command}
        for number, host in enumerate(hosts):
            x = round((number - (len(hosts) - 1) / 2) * HOST_DISTANCE)
            # Without a console type, a Docker node would get no console.
            bodies.append({**self._body(host["name"], "docker", x, ROW_DISTANCE, properties), "console_type": "telnet"})
        return bodies

    def _body(self, name: str, kind: str, x: int, y: int, properties: dict[str, Any]) -> dict[str, Any]:
        body = {"name": name, "node_type": kind, "compute_id": self.wishes.compute, "x": x, "y": y}
        return {**body, "properties": properties} if properties else body

    def _make_links(self, nodes: dict[str, dict[str, Any]]) -> None:
        links = self._links()
        switch_name = self.topology["switch"]
        wanted = [(host["name"], host["port"]) for host in self.topology["nodes"]]
        if self.wishes.switch != CLOUD:
            # Last: no host runs yet, but a NAT may carry frames at once, and dynamips 0.2.14 (Debian's) can stop for good when
            # a frame comes in while a port is being added.
            wanted.append((self.topology["nat"]["name"], "e0"))
        for name, port in wanted:
            link = self._link_of(nodes[name], links) if name in nodes else None
            if link is None:
                self._change(f"link {name} to {switch_name} {port}", self._make_link, nodes, name, port)
        if not self.check and self.wishes.switch != CLOUD:
            self._check_nat()

    def _make_link(self, nodes: dict[str, dict[str, Any]], name: str, port: str) -> None:
        switch = nodes[self.topology["switch"]]
        ends = [self._end(nodes[name], nodes[name]["ports"][0]), self._end(switch, self._port(switch, port))]
        self.api.post(self._path("/links"), {"nodes": ends})

    def _port(self, switch: dict[str, Any], name: str) -> dict[str, Any]:
        for port in switch["ports"]:
            if name in (port["name"], port["short_name"]):
                return dict(port)
        known = ", ".join(port["name"] for port in switch["ports"])
        raise Gns3Error(
            f"{switch['name']} has no port {name}; it has {known}. Give it more ports in GNS3 (project {self.wishes.project})."
        )

    @staticmethod
    def _end(node: dict[str, Any], port: dict[str, Any]) -> dict[str, Any]:
        return {
            "node_id": node["node_id"],
            "adapter_number": port["adapter_number"],
            "port_number": port["port_number"],
            "label": {"text": port["short_name"]},
        }

    def _check_nat(self) -> None:
        """GNS3 makes a NAT's link also when it cannot start the NAT, and says so to its GUI only; asked again it tells."""
        nat = self._nodes()[self.topology["nat"]["name"]]
        if nat["status"] != "started":
            self.api.post(self._path(f"/nodes/{nat['node_id']}/start"))
            raise Gns3Error(
                f"{nat['name']} is linked but not running. Look at GNS3's log; mostly uBridge is missing or may not use interfaces."
            )

    def _write_addresses(self, nodes: dict[str, dict[str, Any]]) -> None:
        """Docker nodes get their address from a file in the project, which outlives their containers."""
        if not self.wishes.write_addresses:
            return
        hosts = [
            host
            for host in self.topology["nodes"]
            if nodes.get(host["name"], {"node_type": "docker"})["node_type"] == "docker"
        ]
        for host in hosts:
            wanted = interfaces_file(host["address"], self.topology["nat"]["address"], self.wishes.nameserver).encode()
            node = nodes.get(host["name"])
            path = self._path(f"/nodes/{node['node_id']}") if node else ""
            if node is None or self.api.get_file(f"{path}/files/{INTERFACES}") != wanted:
                self._change(f"address of {host['name']}", self.api.post_file, f"{path}/files/{INTERFACES}", wanted)
                if node is not None and node["status"] == "started":
                    self._change(f"stop {host['name']}", self.api.post, f"{path}/stop")
                    node["status"] = "stopped"

    def _start(self, nodes: dict[str, dict[str, Any]]) -> None:
        names = [
            name
            for name in (*self._host_names(), self.topology["switch"])
            if nodes.get(name, {"status": ""})["status"] != "started"
        ]
        self.changes += [f"start {name}" for name in names]
        if not self.check:
            self._in_parallel(lambda name: self.api.post(self._path(f"/nodes/{nodes[name]['node_id']}/start")), names)

    @staticmethod
    def _in_parallel(action: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            return list(pool.map(action, items))

    # Down

    def absent(self) -> None:
        """Delete the project that was made here; a user's own is kept, its hosts are stopped. Raises Gns3Error."""
        project = self.find()
        if project is None:
            return
        if self._project == own_project_id(self.wishes.project):
            self._change(f"delete project {self.wishes.project}", self.api.delete, self._path(""))
        elif project["status"] == "opened":
            nodes = self._nodes()
            names = [name for name in self._host_names() if name in nodes and nodes[name]["status"] != "stopped"]
            self.changes += [f"stop {name}" for name in names]
            if not self.check:
                self._in_parallel(
                    lambda name: self.api.post(self._path(f"/nodes/{nodes[name]['node_id']}/stop")), names
                )

    # Links

    def impair(self) -> None:
        """Give every link the filters that the topology asks for. Raises Gns3Error, before any is changed, for what GNS3 cannot do."""
        wanted = {link["node"]: filters_of(link) for link in self.topology["links"]}
        for name, link in self._links_of(list(wanted)).items():
            if self._filters(link) != wanted[name]:
                self._update(link, {"filters": wanted[name]}, f"filters of {name}: {wanted[name] or 'none'}")

    def plug(self, names: list[str], up: bool = True) -> None:
        """Let the links of these hosts carry frames, or none. Raises Gns3Error."""
        for name, link in self._links_of(names).items():
            if link["suspend"] == up:
                self._update(link, {"suspend": not up}, f"link of {name} {'up' if up else 'down'}")

    def start_capture(self, name: str) -> None:
        """Write what crosses a host's link into a file of the project. Raises Gns3Error."""
        link = self._links_of([name])[name]
        if not link["capturing"]:
            body = {"data_link_type": "DLT_EN10MB", "capture_file_name": f"{name}.pcap"}
            self._change(f"capture {name}", self.api.post, self._capture_path(link, "start"), body)

    def stop_capture(self, name: str) -> bytes | None:
        """End the capture and bring its file; None when there was no capture. Raises Gns3Error."""
        link = self._links_of([name])[name]
        if not link["capturing"]:
            return None
        self._change(f"end capture of {name}", self.api.post, self._capture_path(link, "stop"))
        content: bytes | None = self.api.get_file(
            self._path(f"/files/project-files/captures/{link['capture_file_name']}")
        )
        return content

    def _capture_path(self, link: dict[str, Any], verb: str) -> str:
        path = self._path(f"/links/{link['link_id']}")
        return f"{path}/capture/{verb}" if self.api.is_v3 else f"{path}/{verb}_capture"

    def _links_of(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """The links of these hosts. Raises Gns3Error when one is not there."""
        project = self.find()
        if project is None or project["status"] != "opened":
            raise Gns3Error(
                f"GNS3 at {self.api.url} has no open project {self.wishes.project}. Bring the lab up first."
            )
        nodes, links = self._nodes(), self._links()
        found = {}
        for name in names:
            link = self._link_of(nodes[name], links) if name in nodes else None
            if link is None:
                raise Gns3Error(
                    f"The project {self.wishes.project} has no linked host {name}; it has: {', '.join(sorted(nodes))}."
                )
            found[name] = link
        return found

    def _update(self, link: dict[str, Any], body: dict[str, Any], what: str) -> None:
        # GNS3 3.0 stores that filters or a suspension are gone, but does not tell uBridge (GNS3/gns3-server #2532, #2536); it
        # tells of other filters. Making the link anew (its `reset`) would end captures and touch the switch's ports.
        after = {**link, **body}
        if self.api.version.startswith("3.0.") and not after["filters"] and not after["suspend"]:
            body = {**body, "filters": NO_FILTER}
        self._change(what, self.api.put, self._path(f"/links/{link['link_id']}"), body)
