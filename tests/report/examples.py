"""Runs to make reports of: folders as a collection leaves them, with figures that are always the same."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from action import compare_run
from PIL import Image
from udpxfer.modes import MODES

START = 1795435200.0  # 2026-11-23 12:00:00 UTC
SERVERS = {"image1.jpg": "alpine-1", "image2.png": "alpine-3"}
CLIENT = "alpine-2"
# Seconds until the first transfer begins, and for each image; whether the images are sent at the same time.
TIMES = {
    "single_thread": (0.001, (0.020, 0.030), False),
    "multi_thread": (0.002, (0.025, 0.036), True),
    "multi_process": (0.060, (0.028, 0.032), True),
    "multi_thread_async": (0.020, (0.026, 0.036), True),
    "multi_process_async": (0.080, (0.030, 0.040), True),
}
TOPOLOGY = {
    "id": "main",
    "switch": "Switch1",
    "nat": {"name": "NAT1", "address": "192.168.122.1/24"},
    "nodes": [
        {"name": "alpine-1", "role": "server", "address": "192.168.122.11", "port": "e1"},
        {"name": "alpine-2", "role": "client", "address": "192.168.122.12", "port": "e2"},
        {"name": "alpine-3", "role": "server", "address": "192.168.122.13", "port": "e3"},
    ],
    "links": [
        {"node": "alpine-1", "to_host": {}, "from_host": {}},
        {"node": "alpine-2", "to_host": {}, "from_host": {"loss_pct": 1.0}},
        {"node": "alpine-3", "to_host": {}, "from_host": {}},
    ],
    "profile": "lossy",
}


def picture(name: str) -> bytes:
    """A small image, the same bytes with every version of Pillow."""
    image = Image.linear_gradient("L").resize((320, 180), Image.Resampling.NEAREST)
    if name == "image2.png":
        image = image.transpose(Image.Transpose.ROTATE_180)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PPM")
    return buffer.getvalue()


CONTENTS = {name: picture(name) for name in SERVERS}
Servers = dict[str, str]


def content(name: str) -> bytes:
    """The bytes of an image; those beyond the two of the lab are all the same."""
    return CONTENTS.get(name, CONTENTS["image1.jpg"])


def address_of(host: str) -> str:
    """192.168.122.11 for alpine-1 and so on."""
    return f"192.168.122.{10 + int(host.partition('-')[2])}"


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def plan(
    run_id: str, modes: tuple[str, ...], rounds: int, topology: dict[str, Any] | None, servers: Servers
) -> dict[str, Any]:
    return {
        "schema": 1,
        "run_id": run_id,
        "start": START,
        "backend": "embedded" if topology else "real",
        "topology": topology,
        "impairment": topology and topology["profile"],
        "repeats": rounds,
        "versions": {"ansible": "2.19.14", "python": "3.11.7"},
        "hosts": [
            *({"name": server, "address": address_of(server), "role": "server"} for server in servers.values()),
            {"name": CLIENT, "address": address_of(CLIENT), "role": "client"},
        ],
        "modes": list(modes),
        "images": [{"name": name, "url": f"http://192.168.122.1/{name}"} for name in servers],
        "transfers": [
            {"image": name, "url": f"http://192.168.122.1/{name}", "client": CLIENT, "server": server}
            for name, server in servers.items()
        ],
    }


def transfer(name: str, server: str, start: float, seconds: float) -> dict[str, Any]:
    """A transfer as the program tells it."""
    size = len(content(name))
    return {
        "file": name,
        "receiver": f"{address_of(server)}:9000",
        "start": start,
        "end": start + seconds,
        "seconds": seconds,
        "bytes": size,
        "sha256": hashlib.sha256(content(name)).hexdigest(),
        "verified": True,
        "goodput_bytes_per_s": size / seconds,
        "retransmitted_bytes": 2904 if name == "image2.png" else 0,
        "resumed_bytes": 0,
        "sessions": 1,
        "datagrams": 4 + size // 1452,
        "datagram_bytes": 1472,
        "lost_datagrams": 2 if name == "image2.png" else 0,
        "rtt_s": 0.0004,
        "rtt_smoothed_s": 0.0016,
        "segmentation": "on",
        "cpu_s": seconds / 2,
        "peak_memory_bytes": 30_000_000,
        "progress": [[seconds * step / 8, size * step // 8] for step in range(9)],
        "error": None,
    }


def sent(mode: str, start: float, factor: float, servers: Servers) -> dict[str, Any]:
    """A client's result of one attempt; all times are multiplied by the factor."""
    delay, times, together = TIMES[mode]
    begin, transfers = start + delay * factor, []
    for (name, server), seconds in zip(servers.items(), itertools.cycle(times), strict=False):
        transfers.append(transfer(name, server, begin, seconds * factor))
        begin += 0 if together else seconds * factor
    end = max(one["end"] for one in transfers) + 0.002 * factor
    return {
        "schema": 1,
        "version": "0.1.0",
        "mode": mode,
        "start": start,
        "end": end,
        "ok": True,
        "cpu_s": sum(one["cpu_s"] for one in transfers) + delay,
        "peak_memory_bytes": 30_000_000,
        "transfers": transfers,
    }


def make_run(
    folder: Path,
    modes: tuple[str, ...] = MODES,
    rounds: int = 1,
    topology: dict[str, Any] | None = TOPOLOGY,
    slower: float = 1.0,
    servers: Servers = SERVERS,
) -> Path:
    """A run in which all went well, before its comparison."""
    write_json(folder / "plan.json", plan(folder.name, modes, rounds, topology, servers))
    about = {
        "python": "3.13.2",
        "kernel": "6.18",
        "release": "Alpine Linux v3.23",
        "udpxfer": "0.1.0",
        "machine": "x86_64",
        "processors": 2,
        "interfaces": [{"name": "eth0", "mtu_bytes": 1500}],
    }
    for host in (*servers.values(), CLIENT):
        write_json(folder / "logs" / host / "host.json", about)
    for server in servers.values():
        listening = {"time": START, "event": "listening", "receive_buffer_bytes": 8388608, "aggregation": "on"}
        write_json(folder / "logs" / server / "receiver.log", listening)
        names = [name for name, place in servers.items() if place == server]
        arrived = {
            f"{mode}.{count}/{name}": {
                "bytes": len(content(name)),
                "sha256": hashlib.sha256(content(name)).hexdigest(),
            }
            for mode in modes
            for count in range(1, rounds + 1)
            for name in names
        }
        write_json(folder / "logs" / server / "repeats.json", arrived)
    files = [
        {
            "url": f"http://192.168.122.1/{name}",
            "file": name,
            "bytes": len(content(name)),
            "sha256": hashlib.sha256(content(name)).hexdigest(),
        }
        for name in servers
    ]
    write_json(folder / f"images/{CLIENT}/manifest.json", {"schema": 1, "files": files})
    for name in servers:
        (folder / f"images/{CLIENT}/{name}").write_bytes(content(name))
    for index, mode in enumerate(modes):
        for count in range(rounds + 1 if rounds > 1 else 1):
            attempt = f"{mode}.{count}" if count else mode
            # Some spread, the same every time: the rounds take 1.00, 1.02, 1.04, 1.06, 1.00, ... of the mode's time.
            result = sent(mode, START + 10 * index + 100 * count, slower * (1 + 0.02 * (count % 4)), servers)
            write_json(folder / f"logs/{CLIENT}/{attempt}.json", result)
            ending = {"exit_status": 0, "timed_out": False, "timeout_s": 60.0, "seconds": 0.5}
            write_json(folder / f"logs/{CLIENT}/{attempt}.exit.json", ending)
            (folder / f"logs/{CLIENT}/{attempt}.log").write_text("{}\n", encoding="utf-8")
        for name in servers:
            path = folder / "received" / servers[name] / mode / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(name))
    return folder


def compared(folder: Path) -> Path:
    """The run with its run.json."""
    (folder / "run.json").write_text(json.dumps(compare_run.compare(folder), indent=2), encoding="utf-8")
    return folder


def passed(folder: Path) -> Path:
    return compared(make_run(folder))


def repeated(folder: Path) -> Path:
    return compared(make_run(folder, rounds=5))


def one_mode(folder: Path) -> Path:
    return compared(make_run(folder, modes=("multi_thread",)))


def own_hosts(folder: Path) -> Path:
    return compared(make_run(folder, topology=None))


def many_servers(folder: Path) -> Path:
    """Twelve servers, an image for each: more than have colours or fit a telephone."""
    numbers = [1, *range(3, 14)]
    servers = {f"image{index}.png": f"alpine-{number}" for index, number in enumerate(numbers, 1)}
    return compared(make_run(folder, topology=None, servers=servers))


def no_mode(folder: Path) -> Path:
    return compared(make_run(folder, modes=()))


def failed(folder: Path) -> Path:
    """Changed, cut short, lost, stopped and refused: one mode for each, with a message that is hostile to every format."""
    make_run(folder)
    received = folder / "received"
    changed = received / "alpine-1/single_thread/image1.jpg"
    changed.write_bytes(changed.read_bytes()[:-30_000] + b"\xff" * 30_000)
    short = received / "alpine-3/single_thread/image2.png"
    short.write_bytes(short.read_bytes()[:-100])
    (received / "alpine-3/multi_thread/image2.png").unlink()
    (folder / f"logs/{CLIENT}/multi_process.json").unlink()
    write_json(
        folder / f"logs/{CLIENT}/multi_process.exit.json",
        {"exit_status": -9, "timed_out": True, "timeout_s": 60.0, "seconds": 60.0},
    )
    result = folder / f"logs/{CLIENT}/multi_thread_async.json"
    document = json.loads(result.read_text(encoding="utf-8"))
    message = "no </td>\"'&<script>alert(1)</script>|`answer` from\n192.168.122.13:9000"
    document["transfers"][1].update(
        verified=False,
        error={"code": "no_answer", "message": message, "fix": "start it"},
        goodput_bytes_per_s=0.0,
        progress=[],
    )
    write_json(result, document)
    (folder / f"logs/{CLIENT}/multi_process_async.json").unlink()
    write_json(
        folder / f"logs/{CLIENT}/multi_process_async.exit.json",
        {"exit_status": 2, "timed_out": False, "timeout_s": 60.0, "seconds": 0.2},
    )
    (folder / "diagnose").mkdir()
    return compared(folder)


def partial(folder: Path) -> Path:
    """A server and everything of the last two modes are missing, and so are the client's images."""
    make_run(folder)
    shutil.rmtree(folder / "logs/alpine-3")
    shutil.rmtree(folder / "received/alpine-3")
    shutil.rmtree(folder / "images")
    for mode in MODES[-2:]:
        for path in (folder / f"logs/{CLIENT}").glob(f"{mode}.*"):
            path.unlink()
        shutil.rmtree(folder / f"received/alpine-1/{mode}")
    return compared(folder)


def nothing_came_back(folder: Path) -> Path:
    """Only the plan is there."""
    make_run(folder)
    for name in ("logs", "received", "images"):
        shutil.rmtree(folder / name)
    return compared(folder)


EXAMPLES: dict[str, Callable[[Path], Path]] = {
    function.__name__: function
    for function in (passed, repeated, one_mode, own_hosts, many_servers, no_mode, failed, partial, nothing_came_back)
}


def make_sweep(results: Path) -> Path:
    """Three runs under worsening conditions, and a fourth that left nothing."""
    entries = []
    for second, (profile, slower) in enumerate({"clean": 1.0, "lossy": 4.0, "slow": 40.0}.items()):
        folder = results / f"20261123T13000{second}Z"
        compared(make_run(folder, topology={**TOPOLOGY, "profile": profile}, slower=slower))
        entries.append({"profile": profile, "run_id": folder.name})
    entries.append({"profile": "dead", "run_id": "20261123T130009Z"})
    sweep = results / "sweep-20261123T130000Z"
    write_json(sweep / "sweep.json", entries)
    return sweep
