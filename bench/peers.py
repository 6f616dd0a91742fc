"""How each program copies one file from the sending to the receiving host: a service there, a command here.

Every peer copies a file on tmpfs to a file on tmpfs. What it is told about speed is what its manual recommends for a fast
local network.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .hosts import DEVICE, RECEIVER, SENDER, Hosts
from .processes import TooSlowError
from .programs import PYTHON_PACKAGES, BenchError, tool

PORT = 9000
PACKAGES = Path(__file__).resolve().parents[1] / "files"
TFTP_BLOCK = "1428"  # the largest in a datagram of Ethernet (RFC 2348)


@dataclasses.dataclass(frozen=True)
class Copy:
    """One copy. ``process_s`` is the wall time of the client process until the file is whole at the other end."""

    process_s: float
    transfer_s: float | None = None  # what the program itself counts, without its own start


@dataclasses.dataclass(frozen=True)
class Peer:
    """A program, or one way to run it: copies source to target. ``delivers`` is false when no file arrives."""

    copy: Callable[[Hosts, Path, Path], Copy]
    programs: tuple[str, ...] = ()
    module: str = ""
    delivers: bool = True


def environment(*folders: Path) -> dict[str, str]:
    """Where this project's modules are found, and those in ``folders``."""
    path = [*folders, PACKAGES, PACKAGES.parent]
    return {**os.environ, "PYTHONPATH": ":".join(map(str, path)), "PYTHONDONTWRITEBYTECODE": ""}


def make_key(hosts: Hosts) -> Path:
    """The key of both ends."""
    key = hosts.folder / "key"
    if not key.exists():
        subprocess.run([sys.executable, "-m", "udpxfer", "keygen", str(key)], env=environment(), check=True)
    return key


def _wait_for_size(hosts: Hosts, path: Path, size: int) -> None:
    deadline = time.monotonic() + hosts.limit_s
    while not path.exists() or path.stat().st_size < size:
        if time.monotonic() > deadline:
            raise TooSlowError(f"only {path.stat().st_size if path.exists() else 0} bytes arrived")
        time.sleep(0.0005)


def _udpxfer(*program: str) -> Peer:
    """This project: encrypted, authenticated, durable when it returns."""

    def copy(hosts: Hosts, source: Path, target: Path) -> Copy:
        result = hosts.folder / "result.json"
        keyed = ["--key-file", str(make_key(hosts))]
        python = [sys.executable, "-m", *program]
        receive = [*python, "receive", "--bind", f"{RECEIVER}:{PORT}", "--into", str(target.parent), *keyed]
        send = [*python, "send", "--mode", "single_thread", "--json", str(result), *keyed]
        with hosts.service(receive, "udp", PORT, environment()):
            elapsed = hosts.run(0, [*send, f"{source}={RECEIVER}:{PORT}"], environment())
        return Copy(elapsed, json.loads(result.read_text())["transfers"][0]["seconds"])

    return Peer(copy)


def _socat(congestion_control: str) -> Peer:
    """Plain TCP: nothing is encrypted, authenticated or synced."""

    def copy(hosts: Hosts, source: Path, target: Path) -> Copy:
        listen = [tool("socat"), "-b", "262144", "-u", f"TCP-LISTEN:{PORT},reuseaddr", f"CREATE:{target}"]
        address = f"TCP:{RECEIVER}:{PORT},setsockopt-string=6:13:{congestion_control}"  # TCP_CONGESTION
        with hosts.service(listen, "tcp", PORT):
            started = time.monotonic()
            hosts.run(0, [tool("socat"), "-b", "262144", "-u", f"FILE:{source}", address])
            _wait_for_size(hosts, target, source.stat().st_size)
            return Copy(time.monotonic() - started)

    return Peer(copy, ("socat",))


def _scp(hosts: Hosts, source: Path, target: Path) -> Copy:
    """OpenSSH with its default cipher."""
    key, host_key = hosts.folder / "ssh-key", hosts.folder / "ssh-host-key"
    for path in (key, host_key):
        if not path.exists():
            subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    options = ["StrictModes=no", "UsePAM=no", "PidFile=none", f"AuthorizedKeysFile={key}.pub"]
    options += [f"ListenAddress={RECEIVER}", "Subsystem=sftp internal-sftp"]
    server = [tool("sshd"), "-D", "-e", "-f", "/dev/null", "-h", str(host_key)]
    server += [word for option in options for word in ("-o", option)]
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    client = [tool("scp"), "-q", "-F", "/dev/null", "-i", str(key)]
    client += [word for option in options for word in ("-o", option)]
    with hosts.service(_with_user_sshd(hosts, server), "tcp", 22):
        return Copy(hosts.run(0, [*client, str(source), f"root@{RECEIVER}:{target}"]))


def _with_user_sshd(hosts: Hosts, server: list[str]) -> list[str]:
    """The server needs its user, which an installed package has made; else it is there for this process only."""
    try:
        pwd.getpwnam("sshd")
    except KeyError:
        users = hosts.folder / "passwd"
        users.write_text(Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
        # `ip netns exec` has given the process a mount namespace of its own.
        return ["sh", "-c", f"mount --bind {users} /etc/passwd && exec {shlex.join(server)}"]
    return server


def _rsync(hosts: Hosts, source: Path, target: Path) -> Copy:
    """rsync to its daemon: nothing is encrypted; over SSH it would also measure what scp measures."""
    config = hosts.folder / "rsyncd.conf"
    config.write_text(f"uid = root\ngid = root\nuse chroot = no\n[target]\npath = {target.parent}\nread only = no\n")
    daemon = [tool("rsync"), "--daemon", "--no-detach", f"--config={config}", f"--address={RECEIVER}", f"--port={PORT}"]
    with hosts.service(daemon, "tcp", PORT):
        return Copy(hosts.run(0, [tool("rsync"), "--whole-file", str(source), f"rsync://{RECEIVER}:{PORT}/target/"]))


def _iperf3(hosts: Hosts, source: Path, target: Path) -> Copy:
    """The reference: TCP (CUBIC) from memory to memory, no file."""
    del target
    told = hosts.folder / "iperf3.json"
    told.unlink(missing_ok=True)
    client = [tool("iperf3"), "--client", RECEIVER, "--port", str(PORT), "--bytes", str(source.stat().st_size)]
    with hosts.service([tool("iperf3"), "--server", "--one-off", "--port", str(PORT)], "tcp", PORT):
        elapsed = hosts.run(0, [*client, "--congestion", "cubic", "--json", "--logfile", str(told)])
    received = json.loads(told.read_text())["end"]["sum_received"]
    return Copy(elapsed, source.stat().st_size * 8 / received["bits_per_second"])


def _atftp(hosts: Hosts, source: Path, target: Path) -> Copy:
    """TFTP with large blocks and windows (RFC 2348, RFC 7440)."""
    server = [tool("atftpd"), "--daemon", "--no-fork", "--user", "root", "--group", "root", "--port", str(PORT)]
    client = [tool("atftp"), "--option", f"blksize {TFTP_BLOCK}", "--option", "windowsize 64", "--put"]
    files = ["--local-file", str(source), "--remote-file", str(target)]
    with hosts.service([*server, str(target.parent)], "udp", PORT):
        return Copy(hosts.run(0, [*client, *files, RECEIVER, str(PORT)]))


def _tftp_hpa(hosts: Hosts, source: Path, target: Path) -> Copy:
    """TFTP with large blocks, one at a time. The client is curl: that of tftp-hpa cannot ask for a size of block."""
    server = [tool("in.tftpd"), "--listen", "--foreground", "--create", "--user", "root", "--permissive"]
    server += ["--address", f"{RECEIVER}:{PORT}", str(target.parent)]
    # The double slash: the path is absolute.
    client = [tool("curl"), "--silent", "--show-error", "--tftp-blksize", TFTP_BLOCK, "--upload-file", str(source)]
    with hosts.service(server, "udp", PORT):
        return Copy(hosts.run(0, [*client, f"tftp://{RECEIVER}:{PORT}/{target}"]))


def _uftp(hosts: Hosts, source: Path, target: Path) -> Copy:
    """UFTP to one receiver, without congestion control or encryption, at 95 % of the link's rate or as fast as it can."""
    kbit = str(round(hosts.rate_mbit * 950)) if hosts.rate_mbit else "-1"
    server = [tool("uftpd"), "-d", "-D", str(target.parent), "-I", RECEIVER, "-B", "4194304"]
    client = [tool("uftp"), "-M", RECEIVER, "-I", SENDER, "-R", kbit, "-B", "4194304", "-b", "1400", str(source)]
    with hosts.service([*server, "-L", str(hosts.folder / "uftpd.log")], "udp", 1044):
        return Copy(hosts.run(0, client))


def _udpcast(hosts: Hosts, source: Path, target: Path) -> Copy:
    """udpcast to one receiver over the wire in full duplex, at most at 95 % of the link's rate."""
    rate = ["--max-bitrate", f"{hosts.rate_mbit * 0.95:g}m"] if hosts.rate_mbit else []
    common = ["--interface", DEVICE, "--nokbd", "--portbase", str(PORT), "--mcast-rdv-address", "239.1.1.1"]
    send = [tool("udp-sender"), *common, *rate, "--full-duplex", "--min-receivers", "1", "--file", str(source)]
    with hosts.service([tool("udp-receiver"), *common, "--file", str(target)], "udp", PORT):
        started = time.monotonic()
        hosts.run(0, send)
        _wait_for_size(hosts, target, source.stat().st_size)
        return Copy(time.monotonic() - started)


def _quic(module: str) -> Peer:
    """QUIC written in Python (qh3: its TLS and packets in Rust)."""

    def copy(hosts: Hosts, source: Path, target: Path) -> Copy:
        if not (PYTHON_PACKAGES / module).is_dir():
            raise BenchError(f"the Python package {module} is not there")
        program = [sys.executable, "-m", "bench.quic", module]
        where = [RECEIVER, str(PORT)]
        env = environment(PYTHON_PACKAGES)
        with hosts.service([*program, "serve", *where, str(target)], "udp", PORT, env):
            return Copy(hosts.run(0, [*program, "send", *where, str(source)], env))

    return Peer(copy, module=module)


PEERS = {
    "udpxfer": _udpxfer("udpxfer"),
    "iperf3": Peer(_iperf3, ("iperf3",), delivers=False),
    "socat": _socat("cubic"),
    "socat-bbr": _socat("bbr"),
    "rsync": Peer(_rsync, ("rsync",)),
    "scp": Peer(_scp, ("scp", "sshd", "ssh-keygen")),
    "atftp": Peer(_atftp, ("atftp", "atftpd")),
    "tftp-hpa": Peer(_tftp_hpa, ("in.tftpd", "curl")),
    "uftp": Peer(_uftp, ("uftp", "uftpd")),
    "udpcast": Peer(_udpcast, ("udp-sender", "udp-receiver")),
    "qh3": _quic("qh3"),
    "aioquic": _quic("aioquic"),
}
CIRCUMSTANCES = {
    "udpxfer-without-offload": _udpxfer("bench.variant", "without-offload"),
    "udpxfer-stock-buffers": _udpxfer("bench.variant", "stock-buffer"),
}
"""Not peers: udpxfer on a lesser system."""
