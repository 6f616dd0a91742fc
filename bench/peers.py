"""How each program copies one file from the sending to the receiving host: a service there, a command here.

Every peer copies a file on tmpfs to a file on tmpfs. What it is told about speed is what its manual recommends for a fast
local network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .hosts import RECEIVER, SENDER, BenchError, Hosts, tool

START_DEADLINE_S = 20.0
COPY_DEADLINE_S = 120.0
PORT, RELAY_PORT = 9000, 9001
PACKAGES = Path(__file__).resolve().parents[1] / "files"


@dataclasses.dataclass(frozen=True)
class Copy:
    """One measured copy. ``process_s`` is the wall time of the client process until the file is whole at the other end."""

    process_s: float
    transfer_s: float | None = None  # what the program itself counts, without its own start
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None


Peer = Callable[[Hosts, Path, Path], Copy]


@contextlib.contextmanager
def service(
    arguments: list[str], ready: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A service while the context lasts; ``ready`` is polled until it says yes."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{arguments[4]} does not start")
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        process.wait()


def bound(hosts: Hosts, protocol: str, port: int) -> Callable[[], bool]:
    """Whether something on the receiving host listens at a port."""

    def listens() -> bool:
        listing = subprocess.run(
            hosts.command(1, ["cat", f"/proc/net/{protocol}", f"/proc/net/{protocol}6"]),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        listening = {"tcp": "0A", "udp": "07"}[protocol]
        return re.search(rf":{port:04X} [0-9A-F]+:0000 {listening}", listing) is not None

    return listens


def _timed(hosts: Hosts, side: int, arguments: list[str]) -> float:
    started = time.monotonic()
    run(hosts.command(side, arguments))
    return time.monotonic() - started


def run(arguments: list[str], env: dict[str, str] | None = None) -> None:
    """Run a client to its end. Raises BenchError when it fails or takes too long."""
    try:
        ended = subprocess.run(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, timeout=COPY_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"not done after {COPY_DEADLINE_S:.0f} s") from error
    if ended.returncode:
        raise BenchError(f"exit status {ended.returncode}: {ended.stderr.decode(errors='replace').strip()[-200:]}")


def _wait_for_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + COPY_DEADLINE_S
    while not path.exists() or path.stat().st_size < size:
        if time.monotonic() > deadline:
            raise BenchError(f"only {path.stat().st_size if path.exists() else 0} bytes arrived")
        time.sleep(0.0005)


def _udpxfer(program: list[str], relay_delay_s: float = 0.0) -> Peer:
    """This project: encrypted, authenticated, durable when it returns."""

    def copy(hosts: Hosts, source: Path, target: Path) -> Copy:
        key, result = hosts.folder / "key", hosts.folder / "result.json"
        env = {**os.environ, "PYTHONPATH": f"{PACKAGES}:{PACKAGES.parent}", "PYTHONDONTWRITEBYTECODE": ""}
        python = [sys.executable, "-m"]
        if not key.exists():
            run([*python, "udpxfer", "keygen", str(key)], env)
        port = RELAY_PORT if relay_delay_s else PORT
        receive = [*python, *program, "receive", "--bind", f"{RECEIVER}:{PORT}", "--into", str(target.parent)]
        send = [*python, *program, "send", "--mode", "single_thread", "--json", str(result)]
        keyed = ["--key-file", str(key)]
        relay = [*python, "bench.relay", str(RELAY_PORT), RECEIVER, str(PORT), str(relay_delay_s)]
        with contextlib.ExitStack() as services:
            ready = bound(hosts, "udp", PORT)
            receiver = services.enter_context(service(hosts.command(1, [*receive, *keyed]), ready, env))
            if relay_delay_s:
                ready = bound(hosts, "udp", RELAY_PORT)
                services.enter_context(service(hosts.command(1, relay), ready, env))
            started = time.monotonic()
            run(hosts.command(0, [*send, *keyed, f"{source}={RECEIVER}:{port}"]), env)
            elapsed = time.monotonic() - started
            told = json.loads(result.read_text())["transfers"][0]
            receiver_cpu_s, receiver_peak = _usage(receiver.pid)
        peak = max(told["peak_memory_bytes"], receiver_peak)
        return Copy(elapsed, told["seconds"], told["cpu_s"] + receiver_cpu_s, peak)

    return copy


def _usage(pid: int) -> tuple[float, int]:
    """CPU seconds and peak memory of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak


def _socat(congestion_control: str) -> Peer:
    """Plain TCP: nothing is encrypted, authenticated or synced."""

    def copy(hosts: Hosts, source: Path, target: Path) -> Copy:
        listen = [tool("socat"), "-b", "262144", "-u", f"TCP-LISTEN:{PORT},reuseaddr", f"CREATE:{target}"]
        address = f"TCP:{RECEIVER}:{PORT},setsockopt-string=6:13:{congestion_control}"  # TCP_CONGESTION
        send = [tool("socat"), "-b", "262144", "-u", f"FILE:{source}", address]
        with service(hosts.command(1, listen), bound(hosts, "tcp", PORT)):
            started = time.monotonic()
            _timed(hosts, 0, send)
            _wait_for_size(target, source.stat().st_size)
            return Copy(time.monotonic() - started)

    return copy


def scp(hosts: Hosts, source: Path, target: Path) -> Copy:
    """OpenSSH with its default cipher."""
    key, host_key = hosts.folder / "ssh-key", hosts.folder / "ssh-host-key"
    for path in (key, host_key):
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    options = [
        "StrictModes=no",
        "UsePAM=no",
        "PidFile=none",
        f"AuthorizedKeysFile={key}.pub",
        f"ListenAddress={RECEIVER}",
        "Subsystem=sftp internal-sftp",
    ]
    server = [tool("sshd"), "-D", "-e", "-f", "/dev/null", "-h", str(host_key)]
    for option in options:
        server += ["-o", option]
    client = [
        "scp",
        "-q",
        "-F",
        "/dev/null",
        "-i",
        str(key),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]
    with service(hosts.command(1, server), bound(hosts, "tcp", 22)):
        return Copy(_timed(hosts, 0, [*client, str(source), f"root@{RECEIVER}:{target}"]))


def atftp(hosts: Hosts, source: Path, target: Path) -> Copy:
    """TFTP with large blocks and windows (RFC 2348, RFC 7440)."""
    server = [
        tool("atftpd"),
        "--daemon",
        "--no-fork",
        "--user",
        "root",
        "--group",
        "root",
        "--port",
        str(PORT),
        str(target.parent),
    ]
    client = [
        tool("atftp"),
        "--option",
        "blksize 1428",
        "--option",
        "windowsize 64",
        "--put",
        "--local-file",
        str(source),
        "--remote-file",
        str(target),
        RECEIVER,
        str(PORT),
    ]
    with service(hosts.command(1, server), bound(hosts, "udp", PORT)):
        return Copy(_timed(hosts, 0, client))


def uftp(hosts: Hosts, source: Path, target: Path) -> Copy:
    """UFTP to one receiver, without congestion control or encryption, at 10 Gbit/s."""
    server = [
        tool("uftpd"),
        "-d",
        "-D",
        str(target.parent),
        "-I",
        RECEIVER,
        "-B",
        "4194304",
        "-L",
        str(hosts.folder / "uftpd.log"),
    ]
    client = [tool("uftp"), "-M", RECEIVER, "-I", SENDER, "-R", "-1", "-B", "4194304", "-b", "1400", str(source)]
    with service(hosts.command(1, server), bound(hosts, "udp", 1044)):
        copy = Copy(_timed(hosts, 0, client))
    return copy


def udpcast(hosts: Hosts, source: Path, target: Path) -> Copy:
    """udpcast to one receiver over the wire in full duplex."""
    common = ["--interface", "wire0", "--nokbd", "--portbase", str(PORT), "--mcast-rdv-address", "239.1.1.1"]
    receive = [tool("udp-receiver"), *common, "--file", str(target)]
    send = [tool("udp-sender"), *common, "--full-duplex", "--min-receivers", "1", "--file", str(source)]
    with service(hosts.command(1, receive), bound(hosts, "udp", PORT)):
        started = time.monotonic()
        _timed(hosts, 0, send)
        _wait_for_size(target, source.stat().st_size)
        return Copy(time.monotonic() - started)


def _quic(module: str) -> Peer:
    def copy(hosts: Hosts, source: Path, target: Path) -> Copy:
        program = [sys.executable, "-m", "bench.quic", module]
        if importlib.util.find_spec(module) is None:
            raise BenchError(f"the Python package {module} is not installed")
        with service(hosts.command(1, [*program, "serve", str(hosts.folder), str(target)]), bound(hosts, "udp", PORT)):
            return Copy(_timed(hosts, 0, [*program, "send", str(hosts.folder), str(source)]))

    return copy


PEERS: dict[str, Peer] = {
    "udpxfer": _udpxfer(["udpxfer"]),
    "socat": _socat("cubic"),
    "socat-bbr": _socat("bbr"),
    "scp": scp,
    "atftp": atftp,
    "uftp": uftp,
    "udpcast": udpcast,
    "qh3": _quic("qh3"),
    "aioquic": _quic("aioquic"),
    # Not peers but other circumstances.
    "udpxfer-without-offload": _udpxfer(["bench.variant", "without-offload"]),
    "udpxfer-stock-buffers": _udpxfer(["bench.variant", "stock-buffer"]),
    "udpxfer-100ms": _udpxfer(["udpxfer"], relay_delay_s=0.05),
}
