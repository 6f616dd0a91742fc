"""Ansible action on the controller: compare what was sent with what arrived and write the run's one result, run.json.

A pure function of the run's folder: plan.json (what was to be done) and what came back from the hosts. So it can be
repeated at any time, without hosts.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils.host_files import put_file, sha256

# What the engine reports per transfer and run.json carries under its own name; all else goes below `engine`.
OWN_FIELDS = ("start", "end", "bytes", "goodput_bytes_per_s", "retransmitted_bytes", "error")
NAMING_FIELDS = ("file", "receiver", "sha256", "verified")
NO_RESULT = "the client has no result for it"
HOST_FIELDS = ("python", "kernel", "release", "udpxfer", "machine", "processors", "interfaces")
# Ends so when its command line is refused: a program that is older (or newer) than the mode.
USAGE_STATUS = 2
JOURNAL = "*/.udpxfer-*.journal"

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


def last_event(log: Path, name: str) -> Json:
    """The last event of one name in a log of JSON lines; empty when there is none. Lines cut short are passed over."""
    found: Json = {}
    for line in log.read_text(errors="replace").splitlines() if log.is_file() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == name:
            found = event
    return found


def host_entry(folder: Path, host: Json) -> Json:
    """The plan's host with what it said about itself (None where nothing came back)."""
    logs = folder / "logs" / host["name"]
    about = read_json(logs / "host.json") or {}
    listening = last_event(logs / "receiver.log", "listening")
    return {
        **host,
        **{key: about.get(key) for key in HOST_FIELDS},
        "receive_buffer_bytes": listening.get("receive_buffer_bytes"),
        "aggregation": listening.get("aggregation"),
    }


def image_entries(folder: Path, plan: Json) -> list[Json]:
    """The images with size and digest at the source, as the client that downloaded them wrote down."""
    manifests: dict[str, Json] = {}
    for client in sorted({transfer["client"] for transfer in plan["transfers"]}):
        manifest = read_json(folder / "images" / client / "manifest.json") or {"files": []}
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


def content_problem(image: Json, sent_digest: str | None, arrived: Json | None) -> str | None:
    """How source, sent and received file differ, None when they are the same."""
    if arrived is None:
        return "the file did not come back from the server"
    digests = {"source": image["sha256"], "sent": sent_digest, "received": arrived["sha256"]}
    if len(set(digests.values())) == 1:
        return None
    sizes = f"{arrived['bytes']} of {image['bytes']} bytes"
    return f"digests differ ({sizes}): " + ", ".join(f"{name} {str(value)[:12]}" for name, value in digests.items())


def arrivals(folder: Path, plan: Json) -> dict[str, Json]:
    """Size and digest by SERVER/ATTEMPT/IMAGE: of the files that came back, and of repeats as their servers told it."""
    received = folder / "received"
    found: dict[str, Json] = {}
    for path in received.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                about = {"bytes": path.stat().st_size, "sha256": sha256(stream)}
            found[path.relative_to(received).as_posix()] = about
    for host in plan["hosts"]:
        told = read_json(folder / "logs" / host["name"] / "repeats.json") or {}
        found.update({f"{host['name']}/{path}": about for path, about in told.items()})
    return found


def transfer_entry(transfer: Json, image: Json, sent: Json | None, arrived: Json | None) -> Json:
    """One transfer: the plan, the engine's numbers, the digests and the problem (None: verified)."""
    found = sent or {}
    problem = sending_problem(sent) or content_problem(image, found.get("sha256"), arrived)
    return {
        **{name: transfer[name] for name in ("image", "client", "server")},
        "receiver": found.get("receiver"),
        **{name: found.get(name) for name in OWN_FIELDS},
        "sha256_sent": found.get("sha256"),
        "sha256_received": arrived["sha256"] if arrived else None,
        "verified": problem is None,
        "outcome": "failed" if problem else "passed",
        "problem": problem,
        "engine": {name: value for name, value in found.items() if name not in OWN_FIELDS + NAMING_FIELDS},
    }


def client_problem(log: str, client: str, ending: Json | None, result: Json | None) -> str | None:
    """What went wrong with the client's program as a whole, None when nothing did or its transfers say so."""
    if ending is None:
        return f"{client} did not run the client, or nothing came back from it"
    if ending["timed_out"]:
        return f"{client}: the client was stopped after {ending['timeout_s']:g} s (transfer_timeout_s); see {log}"
    if result is not None:
        return None
    if ending["exit_status"] == USAGE_STATUS:
        return f"{client}: its program does not offer this mode (deploy again with --tags deploy); see {log}"
    return f"{client}: the client ended with status {ending['exit_status']} and wrote no result; see {log}"


def attempt_entry(folder: Path, plan: Json, images: dict[str, Json], arrived: dict[str, Json], name: str) -> Json:
    """One attempt of a mode, named MODE or MODE.ROUND: its times and resources over all clients, and its transfers."""
    problems, results, transfers = [], [], []
    for client in sorted({transfer["client"] for transfer in plan["transfers"]}):
        logs = folder / "logs" / client
        result, ending = read_json(logs / f"{name}.json"), read_json(logs / f"{name}.exit.json")
        problem = client_problem(f"logs/{client}/{name}.log", client, ending, result)
        problems += [problem] if problem else []
        results += [result] if result else []
        sent = {entry["file"].rpartition("/")[2]: entry for entry in (result or {}).get("transfers", [])}
        of_client = [
            transfer_entry(
                transfer,
                images[transfer["image"]],
                sent.get(transfer["image"]),
                arrived.get(f"{transfer['server']}/{name}/{transfer['image']}"),
            )
            for transfer in plan["transfers"]
            if transfer["client"] == client
        ]
        if result is None and ending and ending["exit_status"] == USAGE_STATUS:
            of_client = [{**transfer, "outcome": "unsupported"} for transfer in of_client]
        transfers += of_client
    start = min((result["start"] for result in results), default=None)
    end = max((result["end"] for result in results), default=None)
    return {
        "start": start,
        "end": end,
        "wall_seconds": None if start is None or end is None else round(end - start, 6),
        "cpu_seconds": total(result.get("cpu_s") for result in results),
        "peak_memory_bytes": max((result.get("peak_memory_bytes") or 0 for result in results), default=0) or None,
        "passed": not problems and all(transfer["verified"] for transfer in transfers),
        "problems": problems,
        "transfers": transfers,
    }


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known else None


def mode_entry(folder: Path, plan: Json, images: dict[str, Json], arrived: dict[str, Json], mode: str) -> Json:
    """One mode: its attempt that was compared byte by byte, and the repeats that were only measured and digested."""
    rounds = range(1, plan["repeats"] + 1) if plan["repeats"] > 1 else ()
    repeats = []
    for count in rounds:
        attempt = attempt_entry(folder, plan, images, arrived, f"{mode}.{count}")
        for transfer in attempt["transfers"]:
            transfer["engine"].pop("progress", None)  # a hundred curves would show nothing and fill the file
        repeats.append({"round": count, **attempt})
    return {"mode": mode, **attempt_entry(folder, plan, images, arrived, mode), "repeats": repeats}


def unexpected_files(folder: Path, plan: Json) -> list[str]:
    """Paths of received files that nobody was to send.

    A receiver keeps the journal of a complete file until the sender's last word, for a minute when that is lost; of an incomplete one
    there is a part too.
    """
    expected = {
        f"{transfer['server']}/{mode}/{transfer['image']}" for mode in plan["modes"] for transfer in plan["transfers"]
    }
    received = folder / "received"
    found = {path.relative_to(received).as_posix() for path in received.rglob("*") if not path.is_dir()}
    return sorted(path for path in found - expected if not fnmatch.fnmatch(path, JOURNAL))


def attempts(modes: list[Json]) -> list[tuple[str, Json]]:
    """Every attempt with its name for a reader."""
    named = [(mode["mode"], mode) for mode in modes]
    return named + [(f"{mode['mode']}, repeat {one['round']}", one) for mode in modes for one in mode["repeats"]]


def reasons(hosts: list[Json], images: list[Json], modes: list[Json], unexpected: list[str]) -> list[str]:
    """Why the run failed, one text per reason; empty when it passed."""
    return [
        *(
            f"{host['name']}: no files came back; it was not reached or not deployed"
            for host in hosts
            if not host["python"]
        ),
        *(f"{image['name']}: the client's manifest does not name it" for image in images if not image["sha256"]),
        *(f"{name}: {problem}" for name, attempt in attempts(modes) for problem in attempt["problems"]),
        *(
            f"{name}: {transfer['image']} to {transfer['server']}: {transfer['problem']}"
            for name, attempt in attempts(modes)
            for transfer in attempt["transfers"]
            if not transfer["verified"] and not (attempt["problems"] and transfer["problem"] == NO_RESULT)
        ),
        *(f"received/{path}: nobody was to send it" for path in unexpected),
        *(["no mode ran"] if not modes else []),
    ]


def compare(folder: Path) -> Json:
    """The content of run.json. Raises RunError when there is no run in the folder or a file is broken."""
    from module_utils.report import run_data

    plan = read_json(folder / "plan.json")
    if plan is None:
        message = f"{folder} holds no run (no plan.json). Run run_all.yml first, or name a run by -e run_id=..."
        raise RunError(message)
    hosts = [host_entry(folder, host) for host in plan["hosts"]]
    images = image_entries(folder, plan)
    by_name = {image["name"]: image for image in images}
    arrived = arrivals(folder, plan)
    modes = [mode_entry(folder, plan, by_name, arrived, mode) for mode in plan["modes"]]
    failures = reasons(hosts, images, modes, unexpected_files(folder, plan))
    program = next((host["udpxfer"] for host in hosts if host["udpxfer"]), None)
    return {
        "schema": run_data.SCHEMA,
        **{name: plan[name] for name in ("run_id", "start", "backend", "topology", "impairment", "repeats")},
        "end": max([attempt["end"] for _, attempt in attempts(modes) if attempt["end"]], default=plan["start"]),
        "versions": {**plan["versions"], "udpxfer": program},
        "hosts": hosts,
        "images": images,
        "modes": modes,
        "verdict": {"passed": not failures, "reasons": failures},
    }


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: run (folder of the run). Does not fail on a bad verdict, so that the report can be made first."""

    _requires_connection = False
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write run.json; returns its verdict."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"run": {"type": "path", "required": True}})
        folder = Path(given["run"])
        from module_utils.report import run_data

        try:
            compared = compare(folder)
            run_data.check(compared, folder / "run.json")
        except (RunError, run_data.ReportError) as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible repeats causes
        put_file(folder / "run.json", (json.dumps(compared, indent=2) + "\n").encode(), 0o644)
        result.update(changed=False, **compared["verdict"])
        return result
