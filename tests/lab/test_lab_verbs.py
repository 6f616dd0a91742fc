"""What can be done to a lab that runs: impairments, cables, captures, commands; one lab for all these tests.

Times have lower bounds only, since a busy machine may delay anything. Shares of lost packets are binomial.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.program import HOSTS, ProgramLab, impaired, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the embedded lab needs root")

SIGMAS = 5  # one wrong alarm in 1.7 million
PINGS = 1000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProgramLab]:
    made = ProgramLab(tmp_path_factory.mktemp("verbs") / "one")
    made.call("up")
    yield made
    made.call("down")


@pytest.fixture(autouse=True)
def clean(lab: ProgramLab) -> Iterator[None]:
    """Links are perfect again after each test."""
    yield
    lab.call("up")


def ping(lab: ProgramLab, count: int = 5, interval_s: float = 0.01) -> tuple[int, float]:
    """Answers to alpine-1's pings of alpine-2, and the shortest time in milliseconds."""
    done = lab.ssh("alpine-1", f"ping -q -c {count} -i {interval_s} -W 2 {HOSTS['alpine-2']}")
    received = re.search(r"(\d+) packets received", done.stdout)
    shortest = re.search(r"= ([0-9.]+)/", done.stdout)
    assert received, (done.stdout, done.stderr)
    return int(received[1]), float(shortest[1]) if shortest else math.inf


def node(lab: ProgramLab, host: str) -> dict[str, object]:
    return next(dict(found) for found in lab.call("status")["nodes"] if found["name"] == host)


def test_impairments_are_set_seen_changed_and_reset(lab: ProgramLab) -> None:
    link = {"to_host": {"delay_ms": 30.0}, "from_host": {"delay_ms": 20.0, "rate_mbit": 50.0}}
    assert lab.impair({"alpine-2": link}) == {"changed": True, "links": ["alpine-2"]}
    assert lab.impair({"alpine-2": link}) == {"changed": False, "links": []}
    assert {way: node(lab, "alpine-2")[way] for way in link} == link
    assert lab.call("status")["profile"] == "own"
    assert ping(lab)[1] >= 50
    lab.impair({"alpine-2": {"to_host": {"delay_ms": 200}}})
    assert ping(lab)[1] >= 200
    assert lab.impair({}) == {"changed": True, "links": ["alpine-2"]}
    assert node(lab, "alpine-2")["to_host"] == {}
    assert ping(lab)[0] == 5


def test_link_of_each_host_is_its_own(lab: ProgramLab) -> None:
    lab.impair({"alpine-1": {"to_host": {"delay_ms": 40}}, "alpine-2": {"from_host": {"delay_ms": 40}}})
    assert ping(lab)[1] >= 80


def test_loss_is_the_one_asked_for(lab: ProgramLab) -> None:
    lab.impair({"alpine-2": {"to_host": {"loss_pct": 20}}})
    answers, _ = ping(lab, PINGS, 0.002)
    assert abs(PINGS - answers - 200) <= SIGMAS * math.sqrt(PINGS * 0.2 * 0.8)


def test_up_makes_links_as_described(lab: ProgramLab) -> None:
    lab.call("link", "alpine-1", "down")
    assert lab.call("up", "--check")["changed"]
    assert node(lab, "alpine-1")["link"] == "down"
    wanted = impaired({"alpine-1": {"to_host": {"delay_ms": 25}}})
    assert lab.call("up", "--check", description=wanted)["changed"]
    assert lab.call("up", description=wanted)["changed"]
    assert not lab.call("up", description=wanted)["changed"]
    assert (node(lab, "alpine-1")["link"], node(lab, "alpine-1")["to_host"]) == ("up", {"delay_ms": 25})


def test_pulled_cable_cuts_the_host_off_until_it_is_plugged(lab: ProgramLab) -> None:
    lab.impair({"alpine-2": {"to_host": {"delay_ms": 10}}})
    for state, answers in (("down", 0), ("up", 5)):
        assert lab.call("link", "alpine-2", state, "--check")["changed"]
        assert lab.call("link", "alpine-2", state)["changed"]
        assert not lab.call("link", "alpine-2", state)["changed"]
        assert node(lab, "alpine-2")["link"] == state
        # A host that asked for the other's address in vain takes it for unreachable for some seconds more.
        assert ping(lab)[0] == answers or (state == "up" and wait_until(lambda: ping(lab)[0] == 5))


def test_rebooted_host_finds_its_link_as_it_was(lab: ProgramLab) -> None:
    lab.impair({"alpine-2": {"to_host": {"delay_ms": 50}}})
    before = lab.boot_id("alpine-2")
    lab.ssh("alpine-2", "reboot")
    assert wait_until(lambda: lab.boot_id("alpine-2") not in ("", before))
    assert ping(lab)[1] >= 50


def test_capture_is_opened_by_tshark(lab: ProgramLab, tmp_path: Path) -> None:
    file = tmp_path / "new" / "pings.pcap"
    assert lab.call("capture", "alpine-2", str(file))["changed"]
    assert not lab.call("capture", "alpine-2", str(file))["changed"]
    assert node(lab, "alpine-2")["capture"] == str(file)
    other = lab.run("capture", "alpine-2", str(tmp_path / "other.pcap"))
    assert (other.returncode, "stop it first" in other.stderr) == (1, True)
    ping(lab, 7)
    assert lab.call("capture", "alpine-2")["changed"]
    assert not lab.call("capture", "alpine-2")["changed"]
    fields = ["-T", "fields", "-e", "ip.src", "-e", "icmp.type"]
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-Y", "icmp", *fields], capture_output=True, text=True, check=True
    )
    packets = shown.stdout.splitlines()
    assert packets.count(f"{HOSTS['alpine-1']}\t8") == 7
    assert packets.count(f"{HOSTS['alpine-2']}\t0") == 7


@pytest.mark.parametrize("status", [0, 3, 254])
def test_exec_ends_with_the_command_s_status(lab: ProgramLab, status: int) -> None:
    done = subprocess.run(lab.command("exec", "alpine-1", f"hostname; exit {status}"), capture_output=True, text=True)  # noqa: PLW1510
    assert (done.returncode, done.stdout) == (status, "alpine-1\n")


def test_status_as_table_tells_the_same(lab: ProgramLab) -> None:
    lab.impair({"alpine-2": {"to_host": {"delay_ms": 10, "loss_pct": 1}}})
    table = lab.run("status", "--table").stdout.splitlines()
    assert table[0] == "lab one is up, profile own"
    assert [line.split()[:4] for line in table[2:]] == [[name, address, "yes", "up"] for name, address in HOSTS.items()]
    assert "delay_ms=10 loss_pct=1" in table[3]


def test_unknown_host_is_refused_by_name(lab: ProgramLab) -> None:
    for verb in (("link", "alpine-9", "down"), ("capture", "alpine-9", "/nowhere/x.pcap")):
        done = lab.run(*verb)
        assert done.returncode == 1
        assert "no host 'alpine-9' in this lab; there are: alpine-1, alpine-2" in done.stderr


def test_ended_relay_is_replaced(lab: ProgramLab) -> None:
    """The process that impairs in user space may be killed (memory); links must not stay cut or become perfect."""
    lab.impair({"alpine-2": {"to_host": {"delay_ms": 40}}})
    if lab.call("status")["impaired_by"] != "user space":
        pytest.skip("this machine impairs in its kernel")
    children = Path(f"/proc/{lab.holder}/task/{lab.holder}/children").read_text().split()
    threads = [path.read_text().split() for path in Path(f"/proc/{lab.holder}/task").glob("*/children")]
    pids = {*children, *(pid for thread in threads for pid in thread)}
    (relay,) = [pid for pid in pids if b"alpinelab.link" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(relay), 9)
    command_line = Path(f"/proc/{relay}/cmdline")
    assert wait_until(lambda: not command_line.exists() or not command_line.read_bytes())  # gone, or a zombie
    assert wait_until(lambda: ping(lab, 2)[0] == 2)
    assert ping(lab)[1] >= 40


def test_kernel_s_rules_impair_where_there_is_nothing_else(tmp_path: Path) -> None:
    lab = ProgramLab(tmp_path / "rules")
    lab.call("up", "--impair-by", "nftables")
    try:
        refused = lab.run("impair", description=impaired({"alpine-2": {"to_host": {"delay_ms": 5, "loss_pct": 1}}}))
        assert refused.returncode == 1
        assert "alpine-2: delay_ms cannot be done by nftables" in refused.stderr
        assert node(lab, "alpine-2")["to_host"] == {}
        assert ping(lab)[0] == 5  # the hosts know each other: a lost ARP frame would cost all pings of a second
        lab.impair({"alpine-2": {"to_host": {"loss_pct": 20, "rate_mbit": 10.0}, "from_host": {"rate_mbit": 2.0}}})
        answers, _ = ping(lab, PINGS, 0.002)
        assert abs(PINGS - answers - 200) <= SIGMAS * math.sqrt(PINGS * 0.2 * 0.8)
        lab.impair({"alpine-2": {"from_host": {"rate_mbit": 2.0}}})
        started = time.monotonic()
        # From alpine-2 by way of nat1's address: what the controller reads over SSH passes the link too.
        assert len(lab.ssh("alpine-2", "head -c 500000 /dev/zero | tr '\\0' x").stdout) == 500_000
        assert time.monotonic() - started >= 500_000 * 8 / 2e6 * 0.9  # less what the bucket lets through at once
        assert lab.impair({})["changed"]
        assert ping(lab, 50)[0] == 50
    finally:
        lab.call("down")


def test_machine_readable_answers_are_one_json_object(lab: ProgramLab) -> None:
    for verb in (("status",), ("link", "alpine-1", "up"), ("capture", "alpine-1"), ("down", "--check")):
        assert isinstance(json.loads(lab.run(*verb).stdout), dict)
