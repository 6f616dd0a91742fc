"""The lab's topology: read from its one description, checked, and drawn.

A plain-data model, so that it can be a variable, stand in run.json and be handed to a program as it is. Pure functions
apart from reading the description.
"""

from __future__ import annotations

import html
import ipaddress
import re
from pathlib import Path
from typing import Any

import jsonschema
import yaml

# A percentage, and what one link may do to the frames of one direction. Bounds keep out slips, not extremes.
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}
_IMPAIRMENT_KEYS: dict[str, Any] = {
    "delay_ms": {"type": "number", "minimum": 0, "maximum": 60_000},
    "jitter_ms": {"type": "number", "minimum": 0, "maximum": 60_000},
    "loss_pct": _PERCENT,
    "burst": {"type": "number", "minimum": 1, "maximum": 10_000},
    "rate_mbit": {"type": "number", "exclusiveMinimum": 0, "maximum": 100_000},
    "queue_kb": {"type": "number", "minimum": 2, "maximum": 1_000_000},
    "reorder_pct": _PERCENT,
    "duplicate_pct": _PERCENT,
    "corrupt_pct": _PERCENT,
}
_IMPAIRMENT = {"type": "object", "additionalProperties": False, "properties": _IMPAIRMENT_KEYS}
DIRECTIONS = ("to_host", "from_host")
_LINK = {
    "type": "object",
    "additionalProperties": False,
    "properties": {**_IMPAIRMENT_KEYS, **dict.fromkeys(DIRECTIONS, _IMPAIRMENT)},
}
# A host's name is also its port's in the embedded lab, and Linux allows 15 characters there.
_NODE_NAME = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,14}$"}
_WORD = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("lab_id", "lab_switch", "lab_nat", "lab_servers", "lab_clients", "lab_first_host", "lab_impairment"),
        "lab_profiles",
    ],
    "properties": {
        "lab_id": _WORD,
        "lab_switch": _WORD,
        "lab_nat": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "address"],
            "properties": {"name": _WORD, "address": {"type": "string"}},
        },
        "lab_servers": {"type": "integer", "minimum": 1},
        "lab_clients": {"type": "integer", "minimum": 1},
        "lab_first_host": {"type": "integer", "minimum": 1, "maximum": 65_534},
        "lab_nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "role", "address"],
                "properties": {
                    "name": _NODE_NAME,
                    "role": {"enum": ["server", "client"]},
                    "address": {"type": "string"},
                },
            },
        },
        "lab_impairment": {"type": "string"},
        "lab_links": {"type": "object", "additionalProperties": _LINK},
        "lab_profiles": {"type": "object", "propertyNames": _WORD, "additionalProperties": _LINK},
    },
}
RESERVED_NAMES = ("br0", "lo", "localhost", "nat1")


class TopologyError(ValueError):
    """The description is wrong: where (file and line, or the command line), what, and what to do."""


class Description:
    """The values of a description, and where each of them was written."""

    def __init__(self, path: Path, extra: dict[str, Any] | None = None) -> None:
        """Read the file; values of ``extra`` (the command line's) take the place of the file's."""
        self._path = path
        try:
            text = path.read_text(encoding="utf-8")
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            found = yaml.safe_load(text)
        except (OSError, yaml.YAMLError) as error:
            raise TopologyError(f"{path}: {error}") from error
        self._extra = {key: _typed(value) for key, value in (extra or {}).items() if key in SCHEMA["properties"]}
        self.values: dict[str, Any] = {**found, **self._extra} if isinstance(found, dict) else found

    def error(self, where: list[Any], what: str) -> TopologyError:
        """An error about the entry at this path of keys and indices."""
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
        given = bool(where) and where[0] in self._extra
        place = "on the command line (-e)" if given else f"{self._path}, line {self._line(where)}"
        return TopologyError(f"{place}: {name + ': ' if name else ''}{what}")

    def _line(self, where: list[Any]) -> int:
        """Line of the entry, or of the last one above it that is there."""
        node, line = self._root, 1
        for part in where:
            if isinstance(node, yaml.MappingNode):
                inner = next(((key, value) for key, value in node.value if key.value == part), None)
            elif isinstance(node, yaml.SequenceNode) and part < len(node.value):
                inner = (node.value[part], node.value[part])
            else:
                inner = None
            if inner is None:
                break
            line, node = inner[0].start_mark.line + 1, inner[1]
        return line


def _typed(value: Any) -> Any:
    """A value of the command line: `-e lab_servers=50` gives text."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def load(path: Path, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """The topology that a description (lab.yml) and the command line's values make. Raises TopologyError."""
    description = Description(path, extra)
    _check_form(description)
    values = description.values
    nodes = _nodes(description)
    for profile, link in values["lab_profiles"].items():
        _check_link(description, ["lab_profiles", profile], link)
    if values["lab_impairment"] not in values["lab_profiles"]:
        known = ", ".join(sorted(values["lab_profiles"]))
        raise description.error(["lab_impairment"], f"'{values['lab_impairment']}' is no profile; known are: {known}")
    own = values.get("lab_links", {})
    names = [node["name"] for node in nodes]
    for name, link in own.items():
        if name not in names:
            raise description.error(["lab_links", name], f"no host has this name; there are: {', '.join(names)}")
        _check_link(description, ["lab_links", name], link)
    profile = values["lab_profiles"][values["lab_impairment"]]
    return {
        "id": values["lab_id"],
        "switch": values["lab_switch"],
        "nat": dict(values["lab_nat"]),
        "nodes": nodes,
        "links": [{"node": name, **_directions(own.get(name, profile))} for name in names],
        "profile": values["lab_impairment"] + ("+links" if own else ""),
    }


def _check_form(description: Description) -> None:
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(SCHEMA).iter_errors(description.values))
    if error is None:
        return
    where = list(error.absolute_path)
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        wrong = next(key for key in error.instance if key not in known)
        raise description.error([*where, wrong], f"unknown; known here are: {', '.join(known)}")
    raise description.error(where, error.message)


def _check_link(description: Description, where: list[Any], link: dict[str, Any]) -> None:
    """What the schema cannot say: values that only make sense together."""
    for direction, impairment in _directions(link).items():
        for key, needed in (
            ("jitter_ms", "delay_ms"),
            ("reorder_pct", "delay_ms"),
            ("burst", "loss_pct"),
            ("queue_kb", "rate_mbit"),
        ):
            if impairment.get(key, 0) and not impairment.get(needed):
                raise description.error(where, f"{key} needs {needed} beside it ({direction})")
        if impairment.get("jitter_ms", 0) > impairment.get("delay_ms", 0):
            raise description.error(where, f"jitter_ms is more than delay_ms ({direction})")


def _directions(link: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Both directions in full: keys beside them stand for both."""
    both = {key: value for key, value in link.items() if key not in DIRECTIONS}
    merged = {direction: {**both, **link.get(direction, {})} for direction in DIRECTIONS}
    return {way: {key: value for key, value in found.items() if value} for way, found in merged.items()}


def _nodes(description: Description) -> list[dict[str, str]]:
    values = description.values
    try:
        nat = ipaddress.IPv4Interface(values["lab_nat"]["address"])
    except ValueError as error:
        raise description.error(["lab_nat", "address"], f"{error}; write it like 192.168.122.1/24") from error
    if given := values.get("lab_nodes"):
        where: list[list[Any]] = [["lab_nodes", index] for index in range(len(given))]
    else:
        given = _counted(
            values["lab_servers"], values["lab_clients"], nat.network.network_address + values["lab_first_host"]
        )
        where = [["lab_servers"]] * len(given)
    nodes: list[dict[str, str]] = []
    for number, (place, node) in enumerate(zip(where, given), 1):
        _check_node(description, place, node, nat, nodes)
        nodes.append({**node, "port": f"e{number}"})
    for role in ("server", "client"):
        if role not in {node["role"] for node in nodes}:
            raise description.error(["lab_nodes"], f"no {role}; give at least one host the role {role}")
    return nodes


def _counted(servers: int, clients: int, first: ipaddress.IPv4Address) -> list[dict[str, str]]:
    """Hosts by number, in the order of the classic drawing."""
    roles = ["server", "client"] + ["server"] * (servers - 1) + ["client"] * (clients - 1)
    return [{"name": f"alpine-{n + 1}", "role": role, "address": str(first + n)} for n, role in enumerate(roles)]


def _check_node(
    description: Description,
    where: list[Any],
    node: dict[str, str],
    nat: ipaddress.IPv4Interface,
    others: list[dict[str, str]],
) -> None:
    name = node["name"]
    try:
        address = ipaddress.IPv4Address(node["address"])
    except ValueError as error:
        raise description.error([*where, "address"], str(error)) from error
    edges = (nat.network.network_address, nat.network.broadcast_address, nat.ip)
    if address not in nat.network or address in edges:
        raise description.error(
            where,
            f"{name}: {address} is no free address of {nat.network}; choose another, or another network in lab_nat",
        )
    if name in RESERVED_NAMES:
        raise description.error(where, f"{name}: the lab uses this name itself; choose another")
    for other in others:
        if other["name"] == name or other["address"] == node["address"]:
            raise description.error(
                where, f"{name} ({address}): {other['name']} ({other['address']}) has the same name or address"
            )


def in_words(impairment: dict[str, Any]) -> str:
    """One direction of a link for people; empty for a perfect one."""
    forms = (
        ("delay_ms", "{} ms"),
        ("jitter_ms", "± {} ms"),
        ("loss_pct", "loss {} %"),
        ("burst", "in bursts of {}"),
        ("rate_mbit", "{} Mbit/s"),
        ("queue_kb", "queue {} KB"),
        ("reorder_pct", "reordered {} %"),
        ("duplicate_pct", "duplicated {} %"),
        ("corrupt_pct", "corrupted {} %"),
    )
    words = ", ".join(form.format(f"{impairment[key]:g}") for key, form in forms if impairment.get(key))
    return re.sub(r", (±|in bursts)", r" \1", words)


def link_labels(link: dict[str, Any]) -> list[str]:
    """A link's impairments for people: one line when both directions are alike, none for a perfect link."""
    to_host, from_host = (in_words(link[direction]) for direction in DIRECTIONS)
    if to_host == from_host:
        return [to_host] if to_host else []
    return [f"to host: {to_host or 'perfect'}", f"from host: {from_host or 'perfect'}"]


def to_mermaid(topology: dict[str, Any]) -> str:
    """The topology as a Mermaid flowchart, which GitHub and many editors draw."""
    nat, links = topology["nat"], {link["node"]: link for link in topology["links"]}
    lines = ["graph LR", f'  nat["{nat["name"]}<br/>{nat["address"]}"] --- switch["{topology["switch"]}"]']
    for number, node in enumerate(topology["nodes"], 1):
        label = "<br/>".join([node["port"], *link_labels(links[node["name"]])])
        box = "<br/>".join([node["name"], node["role"], node["address"]])
        lines.append(f'  switch -- "{label}" --- host{number}["{box}"]')
    return "\n".join(lines) + "\n"


# Measures of the drawing in pixels: rows of hosts at the right, one bar for the switch.
_ROW, _NAT, _SWITCH, _HOST, _WIDTH = 64, (10, 150), (210, 110), (690, 160), 860
_STYLE = (
    ".topology{color:#1f2328;font:13px sans-serif}@media(prefers-color-scheme:dark){.topology{color:#e6edf3}}"
    ".topology rect,.topology line{fill:none;stroke:currentColor;stroke-width:1.5}"
    ".topology text{fill:currentColor;text-anchor:middle}.topology .small{font-size:11px}"
)


def to_svg(topology: dict[str, Any]) -> str:
    """The topology as a self-contained drawing, readable on light and dark ground and by screen readers."""
    nodes, links = topology["nodes"], {link["node"]: link for link in topology["links"]}
    height = _ROW * len(nodes) + 20
    middle = height // 2
    nat, switch = topology["nat"], topology["switch"]
    parts = [
        *_box(_NAT[0], middle - 22, _NAT[1], 44, [nat["name"], nat["address"]]),
        *_box(_SWITCH[0], 10, _SWITCH[1], height - 20, [switch]),
        _line(_NAT[0] + _NAT[1], _SWITCH[0], middle),
    ]
    for row, node in enumerate(nodes):
        y = 10 + _ROW * row + _ROW // 2
        left = _SWITCH[0] + _SWITCH[1]
        parts += [_line(left, _HOST[0], y), _text(left + 14, y - 5, node["port"], "small")]
        parts += _box(_HOST[0], y - 24, _HOST[1], 48, [f"{node['name']} ({node['role']})", node["address"]])
        for label, dy in zip(link_labels(links[node["name"]]), (-5, 15)):
            parts.append(_text((left + _HOST[0]) // 2 + 12, y + dy, label, "small"))
    names = ", ".join(f"{node['name']} ({node['role']}, {node['address']})" for node in nodes)
    description = f"{len(nodes)} hosts on {switch} behind {nat['name']} ({nat['address']}): {names}. Profile: {topology['profile']}."
    return _drawing(height, description, parts)


def hosts_to_svg(hosts: list[dict[str, Any]]) -> str:
    """Hosts (name, role, address) of whose network nothing is known, drawn as `to_svg` draws them."""
    height = _ROW * len(hosts) + 20
    parts = _box(_SWITCH[0], 10, _SWITCH[1], height - 20, ["network"])
    for row, host in enumerate(hosts):
        y = 10 + _ROW * row + _ROW // 2
        parts.append(_line(_SWITCH[0] + _SWITCH[1], _HOST[0], y))
        parts += _box(_HOST[0], y - 24, _HOST[1], 48, [f"{host['name']} ({host['role']})", host["address"]])
    names = ", ".join(f"{host['name']} ({host['role']}, {host['address']})" for host in hosts)
    return _drawing(height, f"{len(hosts)} hosts on a network of which nothing is known: {names}.", parts)


def _drawing(height: int, description: str, parts: list[str]) -> str:
    head = (
        f'<svg class="topology" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"<title>Topology</title><desc>{html.escape(description)}</desc><style>{_STYLE}</style>"
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _box(x: int, y: int, width: int, height: int, lines: list[str]) -> list[str]:
    top = y + height // 2 + 5 - 9 * (len(lines) - 1)
    texts = [_text(x + width // 2, top + 18 * index, line) for index, line in enumerate(lines)]
    return [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>', *texts]


def _line(x1: int, x2: int, y: int) -> str:
    return f'<line x1="{x1}" y1="{y}" x2="{x2}" y2="{y}"/>'


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{style}>{html.escape(text)}</text>'
