"""Ansible action on the controller: compare what was sent with what arrived and write the run's one result, run.json.

A pure function of the run's folder: plan.json (what was to be done) and what came back from the hosts. So it can be
repeated at any time, without hosts.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

SCHEMA = 1
# What the engine reports per transfer and run.json carries under its own name; all else goes below `engine`.
OWN_FIELDS = ("start", "end", "bytes", "goodput_bytes_per_s", "retransmitted_bytes", "error")
NAMING_FIELDS = ("file", "receiver", "sha256", "verified")
NO_RESULT = "the client has no result for it"

Json = dict[str, Any]


class RunError(Exception):
    """The run's folder cannot be read; the text says what to do."""


def read_json(path: Path) -> Json | None:
    """The object in a JSON file, None when there is no file. Raises RunError when it is broken."""
    if not path.exists():
        return None
    try:
        content: Json = json.loads(path.read_text())
    except ValueError as error:
        message = f"{path} is no JSON ({error}). Fetch it again with --tags collect."
        raise RunError(message) from error
    return content


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def host_entry(folder: Path, host: Json) -> Json:
    """The plan's host with what it said about itself (None where nothing came back)."""
    about = read_json(folder / "logs" / host["name"] / "host.json") or {}
    return {**host, **{key: about.get(key) for key in ("python", "kernel", "release", "udpxfer")}}


def image_entries(folder: Path, plan: Json) -> list[Json]:
    """The images with size and digest at the source, as the client that downloaded them wrote down."""
    manifests: dict[str, Json] = {}
    for client in sorted({transfer["client"] for transfer in plan["transfers"]}):
        manifest = read_json(folder / "logs" / client / "manifest.json") or {"files": []}
        manifests.update({entry["file"]: entry for entry in manifest["files"]})
    return [
        {**image, "bytes": source.get("bytes"), "sha256": source.get("sha256")}
        for image in plan["images"]
        for source in [manifests.get(image["name"], {})]
    ]


def sending_problem(sent: Json | None) -> str | None:
    """What the engine says went wrong with a transfer, None when it says that all is well."""
    if sent is None:
        return NO_RESULT
    if sent.get("error"):
        return "{code}: {message}; {fix}".format(**sent["error"])
    return None if sent.get("verified") else "the receiver did not confirm it"


def content_problem(image: Json, sent_digest: str | None, arrived: Path) -> str | None:
    """How source, sent and received file differ, None when they are the same."""
    if not arrived.is_file():
        return "the file did not come back from the server"
    digests = {"source": image["sha256"], "sent": sent_digest, "received": sha256(arrived)}
    if len(set(digests.values())) == 1:
        return None
    sizes = f"{arrived.stat().st_size} of {image['bytes']} bytes"
    return f"digests differ ({sizes}): " + ", ".join(f"{name} {str(value)[:12]}" for name, value in digests.items())


def transfer_entry(folder: Path, mode: str, transfer: Json, image: Json, sent: Json | None) -> Json:
    """One transfer: the plan, the engine's numbers, the digests and the problem (None: verified)."""
    arrived = folder / "received" / transfer["server"] / mode / transfer["image"]
    found = sent or {}
    problem = sending_problem(sent) or content_problem(image, found.get("sha256"), arrived)
    return {
        **{name: transfer[name] for name in ("image", "client", "server")},
        "receiver": found.get("receiver"),
        **{name: found.get(name) for name in OWN_FIELDS},
        "sha256_sent": found.get("sha256"),
        "sha256_received": sha256(arrived) if arrived.is_file() else None,
        "verified": problem is None,
        "problem": problem,
        "engine": {name: value for name, value in found.items() if name not in OWN_FIELDS + NAMING_FIELDS},
    }


def client_problem(mode: str, client: str, ending: Json | None, result: Json | None) -> str | None:
    """What went wrong with the client's program as a whole, None when nothing did or its transfers say so."""
    log = f"logs/{client}/{mode}.log"
    if ending is None:
        return f"{client} did not run the client, or nothing came back from it"
    if ending["timed_out"]:
        return f"{client}: the client was stopped after {ending['timeout_s']:g} s (transfer_timeout_s); see {log}"
    if result is None:
        return f"{client}: the client ended with status {ending['exit_status']} and wrote no result; see {log}"
    return None


def mode_entry(folder: Path, plan: Json, images: dict[str, Json], mode: str) -> Json:
    """One mode: its wall time over all clients and its transfers."""
    problems, results, transfers = [], [], []
    for client in sorted({transfer["client"] for transfer in plan["transfers"]}):
        logs = folder / "logs" / client
        result = read_json(logs / f"{mode}.json")
        problem = client_problem(mode, client, read_json(logs / f"{mode}.exit.json"), result)
        problems += [problem] if problem else []
        results += [result] if result else []
        sent = {entry["file"].rpartition("/")[2]: entry for entry in (result or {}).get("transfers", [])}
        transfers += [
            transfer_entry(folder, mode, transfer, images[transfer["image"]], sent.get(transfer["image"]))
            for transfer in plan["transfers"]
            if transfer["client"] == client
        ]
    start = min((result["start"] for result in results), default=None)
    end = max((result["end"] for result in results), default=None)
    return {
        "mode": mode,
        "start": start,
        "end": end,
        "wall_seconds": None if start is None or end is None else round(end - start, 6),
        "passed": not problems and all(transfer["verified"] for transfer in transfers),
        "problems": problems,
        "transfers": transfers,
    }


def unexpected_files(folder: Path, plan: Json) -> list[str]:
    """Paths of received files that nobody was to send."""
    expected = {
        f"{transfer['server']}/{mode}/{transfer['image']}" for mode in plan["modes"] for transfer in plan["transfers"]
    }
    received = folder / "received"
    found = {path.relative_to(received).as_posix() for path in received.rglob("*") if not path.is_dir()}
    return sorted(found - expected)


def reasons(hosts: list[Json], images: list[Json], modes: list[Json], unexpected: list[str]) -> list[str]:
    """Why the run failed, one text per reason; empty when it passed."""
    return [
        *(
            f"{host['name']}: no files came back; it was not reached or not deployed"
            for host in hosts
            if not host["python"]
        ),
        *(f"{image['name']}: the client's manifest does not name it" for image in images if not image["sha256"]),
        *(f"{mode['mode']}: {problem}" for mode in modes for problem in mode["problems"]),
        *(
            f"{mode['mode']}: {transfer['image']} to {transfer['server']}: {transfer['problem']}"
            for mode in modes
            for transfer in mode["transfers"]
            if not transfer["verified"] and not (mode["problems"] and transfer["problem"] == NO_RESULT)
        ),
        *(f"received/{path}: nobody was to send it" for path in unexpected),
        *(["no mode ran"] if not modes else []),
    ]


def compare(folder: Path) -> Json:
    """The content of run.json. Raises RunError when there is no run in the folder or a file is broken."""
    plan = read_json(folder / "plan.json")
    if plan is None:
        message = f"{folder} holds no run (no plan.json). Run run_all.yml first, or name a run by -e run_id=..."
        raise RunError(message)
    hosts = [host_entry(folder, host) for host in plan["hosts"]]
    images = image_entries(folder, plan)
    by_name = {image["name"]: image for image in images}
    modes = [mode_entry(folder, plan, by_name, mode) for mode in plan["modes"]]
    failures = reasons(hosts, images, modes, unexpected_files(folder, plan))
    program = next((host["udpxfer"] for host in hosts if host["udpxfer"]), None)
    return {
        "schema": SCHEMA,
        "run_id": plan["run_id"],
        "start": plan["start"],
        "end": max([mode["end"] for mode in modes if mode["end"]], default=plan["start"]),
        "backend": plan["backend"],
        "versions": {**plan["versions"], "udpxfer": program},
        "hosts": hosts,
        "images": images,
        "modes": modes,
        "verdict": {"passed": not failures, "reasons": failures},
    }


def write_whole(path: Path, text: str) -> None:
    """Write the whole file or leave the former one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: run (folder of the run). Does not fail on a bad verdict, so that the report can be made first."""

    _requires_connection = False
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write run.json; returns its verdict."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"run": {"type": "path", "required": True}})
        folder = Path(given["run"])
        try:
            compared = compare(folder)
        except RunError as error:
            raise AnsibleActionFail(str(error)) from error
        write_whole(folder / "run.json", json.dumps(compared, indent=2) + "\n")
        result.update(changed=False, **compared["verdict"])
        return result
