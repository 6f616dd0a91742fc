"""Ansible filters: who sends which image where, and what is wrong with the lists given."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# Narrower than what the engine stores: safe in paths, addresses and reports without quoting.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# Files that a client has beside its images.
OWN_NAMES = ("manifest.json", "fetch.log")

KEY_TEXT = re.compile(r"[0-9a-fA-F]{64}")
VAULT_HEADER = "$ANSIBLE_VAULT;"


def image_name(url: str) -> str:
    """The file name of an image: the last part of its address, as the engine reads it."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def transfer_plan(urls: list[str], clients: list[str], servers: list[str]) -> list[dict[str, str]]:
    """Image i goes from client i to server i; the shorter lists go round. Empty without clients or servers."""
    if not clients or not servers:
        return []
    return [
        {
            "image": image_name(url),
            "url": url,
            "client": clients[index % len(clients)],
            "server": servers[index % len(servers)],
        }
        for index, url in enumerate(urls)
    ]


def image_list(urls: list[str]) -> list[dict[str, str]]:
    """Name and address of each image."""
    return [{"name": image_name(url), "url": url} for url in urls]


def images_to_collect(transfers: list[dict[str, str]], client: str, folder: str, into: str) -> list[dict[str, str]]:
    """What a run has in a client's folder of images: its own and their manifest, not those that former runs left there."""
    names = [transfer["image"] for transfer in transfers if transfer["client"] == client]
    return [{"path": f"{folder}/{name}", "into": f"{into}/{name}"} for name in (*names, *OWN_NAMES)]


def image_problems(urls: Any) -> list[str]:
    """What is wrong with a list of image addresses, one text per problem with its fix."""
    if not isinstance(urls, list) or not urls:
        return ["image_urls must be a list with at least one address, such as ['http://192.168.122.1/image1.jpg']."]
    problems = []
    for url in urls:
        if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
            problems.append(f"image_urls: {url!r} is no address. Give one that begins with http:// or https://.")
        elif not SAFE_NAME.fullmatch(image_name(url)):
            problems.append(
                f"image_urls: {url} ends in no usable file name. It must be of letters, digits, dot, dash and "
                "underscore, at most 64, and begin with a letter or digit."
            )
        elif image_name(url) in OWN_NAMES:
            problems.append(
                f"image_urls: {url} has the name of a file that each client keeps beside its images. Rename it."
            )
    names = Counter(image_name(url) for url in urls if isinstance(url, str))
    problems += [
        f"image_urls: {count} addresses end in {name}, so one file would take the other's place. Rename one."
        for name, count in names.items()
        if count > 1
    ]
    return problems


def address_of(variables: Mapping[str, Any], name: str) -> str:
    """Where a host is reached by the others: udpxfer_address, else ansible_host, else its name."""
    return str(variables.get("udpxfer_address") or variables.get("ansible_host") or name)


def with_port(address: str, port: int) -> str:
    """ADDRESS:PORT, with brackets around an IPv6 address."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def targets_of(hostvars: Mapping[str, Mapping[str, Any]], transfers: list[dict[str, str]], client: str) -> list[str]:
    """What this client sends where, as IMAGE=ADDRESS:PORT; the port is that of the server."""
    return [
        f"{transfer['image']}={with_port(address_of(server, transfer['server']), server['udpxfer_port'])}"
        for transfer in transfers
        if transfer["client"] == client
        for server in [hostvars[transfer["server"]]]
    ]


def host_list(
    hostvars: Mapping[str, Mapping[str, Any]], servers: list[str], clients: list[str]
) -> list[dict[str, str]]:
    """Name, address and role of every host, servers first."""
    roles = [(name, "server") for name in servers] + [(name, "client") for name in clients]
    return [{"name": name, "address": address_of(hostvars[name], name), "role": role} for name, role in roles]


def host_problems(hosts: list[dict[str, str]]) -> list[str]:
    """What is wrong with the hosts of host_list, one text per problem with its fix."""
    problems = [
        f"The inventory has no {role}. Put at least one host into its group `{role}s`."
        for role in ("server", "client")
        if role not in {host["role"] for host in hosts}
    ]
    names = Counter(host["name"] for host in hosts)
    problems += [
        f"{name} is in the groups `servers` and `clients`. Leave it in one of them."
        for name, count in names.items()
        if count > 1
    ]
    users: dict[str, set[str]] = {}
    for host in hosts:
        users.setdefault(host["address"], set()).add(host["name"])
    problems += [
        f"{' and '.join(sorted(sharing))} have the same address {address}. Correct ansible_host of one of them."
        for address, sharing in users.items()
        if len(sharing) > 1
    ]
    return problems


def renamed_problems(variables: list[str], renamed: Mapping[str, str]) -> list[str]:
    """Which of the variables have another name now: under the old one they would be ignored."""
    return [
        f"The variable {old} is called {new} now. Rename it where you set it (inventory or command line)."
        for old, new in sorted(renamed.items())
        if old in variables
    ]


def key_problems(paths: list[str], rotate: bool = False) -> list[str]:
    """What is wrong with the key on the controller, given the file that each host names.

    A key that is not there yet, or is to be rotated, is made by the role that installs it.
    """
    path, *others = sorted(set(paths)) or [""]
    if others:
        named = " and ".join([path, *others])
        return [f"The hosts name different keys ({named}). Name one for all of them: -e udpxfer_key_source=FILE."]
    file = Path(path)
    if rotate or not file.is_file():
        return []
    problems = []
    if file.stat().st_mode & 0o077:
        problems.append(f"Others may read the key {path}. chmod 600 it, or make a new one: -e udpxfer_key_rotate=true.")
    text = file.read_text(errors="replace")
    if not text.startswith(VAULT_HEADER) and not KEY_TEXT.fullmatch(text.strip()):
        problems.append(f"{path} holds no key (64 hexadecimal digits). Make a new one: -e udpxfer_key_rotate=true.")
    return problems


def chosen_by_tags(names: list[str], run_tags: list[str]) -> list[str]:
    """The names that --tags leaves, in their own order."""
    return [name for name in names if name in run_tags or "all" in run_tags]


def tag_problems(run_tags: list[str], skip_tags: list[str], steps: list[str], modes: list[str]) -> list[str]:
    """What is wrong with --tags and --skip-tags, one text per problem with its fix.

    What all modes share carries the tag of each, and Ansible leaves out what has any tag that is skipped.
    """
    problems = []
    unknown = [tag for tag in [*run_tags, *skip_tags] if tag not in {*steps, *modes, "all", "always", "never"}]
    if unknown:
        problems.append(f"Unknown tags: {', '.join(unknown)}. Known are: {', '.join(steps + modes)}.")
    shared = [tag for tag in skip_tags if tag in {*modes, "all"}]
    if shared:
        problems.append(
            f"--skip-tags {','.join(shared)} would leave out what the other modes need too. "
            f"Use --tags with the modes that shall run, of {', '.join(modes)}."
        )
    return problems


def repeats_problems(repeats: Any) -> list[str]:
    """What is wrong with the number of measured rounds."""
    if str(repeats).isdecimal() and int(repeats) >= 1:
        return []
    return [f"transfer_repeats is {repeats!r}. Give the number of measured rounds: 1, or more for medians."]


def rotated_rounds(modes: list[str], rounds: int) -> list[dict[str, Any]]:
    """Every mode once per round; each round begins one mode later, so that no mode always follows the same one.

    One round means none: the run's first attempt is the only one then.
    """
    if rounds < 2:
        return []
    return [
        {"round": count, "mode": modes[(position + count - 1) % len(modes)]}
        for count in range(1, rounds + 1)
        for position in range(len(modes))
    ]


def file_base64(path: str) -> str:
    """A file of the controller in base64. Raises FileNotFoundError, which names it."""
    return base64.b64encode(Path(path).read_bytes()).decode()


def files_digest(paths: list[str]) -> str:
    """One SHA-256 over several files of the controller; one that is not there (check mode) counts as empty."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        digest.update(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest())
    return digest.hexdigest()


class FilterModule:
    """Tells Ansible the names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filter names and their functions."""
        return {
            "chosen_by_tags": chosen_by_tags,
            "file_base64": file_base64,
            "files_digest": files_digest,
            "host_list": host_list,
            "host_problems": host_problems,
            "image_list": image_list,
            "image_problems": image_problems,
            "images_to_collect": images_to_collect,
            "key_problems": key_problems,
            "renamed_problems": renamed_problems,
            "repeats_problems": repeats_problems,
            "rotated_rounds": rotated_rounds,
            "tag_problems": tag_problems,
            "targets_of": targets_of,
            "transfer_plan": transfer_plan,
            "with_port": with_port,
        }
