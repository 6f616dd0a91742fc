"""Folders of runs as the collection leaves them: two servers, a client, two images, two modes, all well."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

IMAGES = {"image1.jpg": b"small", "image2.png": b"a larger one"}
SERVERS = {"image1.jpg": "alpine-1", "image2.png": "alpine-3"}
MODES = ("single_thread", "multi_thread")
START = 1795435200.0


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def plan() -> dict[str, Any]:
    return {
        "schema": 1,
        "run_id": "20261123T120000Z",
        "start": START,
        "backend": "embedded",
        "topology": None,
        "impairment": None,
        "repeats": 1,
        "versions": {"ansible": "2.19.14", "python": "3.11.7"},
        "hosts": [
            {"name": "alpine-1", "address": "192.168.122.11", "role": "server"},
            {"name": "alpine-3", "address": "192.168.122.13", "role": "server"},
            {"name": "alpine-2", "address": "192.168.122.12", "role": "client"},
        ],
        "modes": list(MODES),
        "images": [{"name": name, "url": f"http://192.168.122.1/{name}"} for name in IMAGES],
        "transfers": [
            {"image": name, "url": f"http://192.168.122.1/{name}", "client": "alpine-2", "server": SERVERS[name]}
            for name in IMAGES
        ],
    }


def sent(mode: str) -> dict[str, Any]:
    start = START + 10 * MODES.index(mode)
    return {
        "schema": 1,
        "version": "0.1.0",
        "mode": mode,
        "start": start,
        "end": start + 0.25,
        "ok": True,
        "transfers": [
            {
                "file": name,
                "receiver": f"{SERVERS[name]}:9000",
                "start": start,
                "end": start + 0.2,
                "seconds": 0.2,
                "bytes": len(content),
                "sha256": digest(content),
                "verified": True,
                "goodput_bytes_per_s": len(content) / 0.2,
                "retransmitted_bytes": 0,
                "rtt_s": 0.001,
                "error": None,
            }
            for name, content in IMAGES.items()
        ],
    }


def make_run(folder: Path) -> Path:
    """A run in which all went well."""
    write_json(folder / "plan.json", plan())
    about = {"python": "3.13.2", "kernel": "6.18", "release": "Alpine Linux v3.23", "udpxfer": "0.1.0"}
    for host in plan()["hosts"]:
        write_json(folder / "logs" / host["name"] / "host.json", about)
    files = [
        {"url": f"http://192.168.122.1/{name}", "file": name, "bytes": len(content), "sha256": digest(content)}
        for name, content in IMAGES.items()
    ]
    write_json(folder / "images/alpine-2/manifest.json", {"schema": 1, "files": files})
    for mode in MODES:
        write_json(folder / f"logs/alpine-2/{mode}.json", sent(mode))
        ending = {"exit_status": 0, "timed_out": False, "timeout_s": 60.0, "seconds": 0.5}
        write_json(folder / f"logs/alpine-2/{mode}.exit.json", ending)
        for name, content in IMAGES.items():
            path = folder / "received" / SERVERS[name] / mode / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder
