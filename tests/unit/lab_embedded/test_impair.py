"""How a link's impairments are told to the kernel, and what happens where a way is not there. The ways at work: tests/lab."""

from __future__ import annotations

import math
import random

import pytest
from alpinelab import impair
from alpinelab.system import LabError

ALL = {
    "delay_ms": 10,
    "jitter_ms": 2,
    "loss_pct": 2,
    "burst": 4,
    "rate_mbit": 50,
    "queue_kb": 100,
    "reorder_pct": 0.5,
    "duplicate_pct": 0.2,
    "corrupt_pct": 0.1,
}


def test_netem_is_told_everything_but_the_rate() -> None:
    words = " ".join(impair.netem_words(ALL))
    assert words.startswith("limit 100000 delay 10ms 2ms loss gemodel ")
    assert words.endswith(" duplicate 0.2% corrupt 0.1% reorder 0.5%")
    assert "rate" not in words


def test_netem_s_burst_model_loses_as_much_and_as_long_as_asked(rng: random.Random) -> None:
    words = impair.netem_words({"loss_pct": 5, "burst": 4})
    begin, end = (float(word.rstrip("%")) / 100 for word in words[words.index("gemodel") + 1 :][:2])
    # tc-netem(8): p is the chance to go bad, r the chance to recover; all is lost meanwhile.
    bad, lost, bursts = False, 0, 0
    for _ in range(200_000):
        was, bad = bad, rng.random() >= end if bad else rng.random() < begin
        lost += bad
        bursts += bad and not was
    assert abs(lost / 200_000 - 0.05) < 5 * 0.05 * math.sqrt(2 * 4 / 10_000)
    assert abs(lost / bursts - 4) < 5 * math.sqrt(12 / bursts)


@pytest.mark.parametrize(
    ("impairment", "words"),
    [
        ({}, "limit 100000 corrupt 0%"),  # else a change would keep the corruption that was
        ({"loss_pct": 0.5}, "limit 100000 loss random 0.5% corrupt 0%"),
        ({"loss_pct": 100, "burst": 3}, "limit 100000 loss random 100% corrupt 0%"),
        ({"delay_ms": 1.5}, "limit 100000 delay 1.5ms 0ms corrupt 0%"),
    ],
)
def test_netem_words(impairment: dict[str, float], words: str) -> None:
    assert " ".join(impair.netem_words(impairment)) == words


@pytest.mark.parametrize(
    ("impairment", "words"),
    [
        ({}, ""),
        ({"rate_mbit": 1}, "tbf rate 1mbit burst 3044 limit 500000"),
        ({"rate_mbit": 100, "queue_kb": 50}, "tbf rate 100mbit burst 50000 limit 50000"),
    ],
)
def test_tbf_words(impairment: dict[str, float], words: str) -> None:
    assert " ".join(impair.tbf_words(impairment)) == words


def test_nftables_replace_the_earlier_rule() -> None:
    commands = impair.nft_words("h1", {"loss_pct": 2.5}).split("; ")
    assert commands[:3] == ["add table netdev h1", "delete table netdev h1", "add table netdev h1"]
    assert commands[-1] == "add rule netdev h1 loss numgen random mod 1000000 < 25000 drop"
    assert impair.nft_words("h1", {}).split("; ") == commands[:3]


def test_what_nftables_cannot_do_is_refused_by_name() -> None:
    link = {"to_host": {"loss_pct": 1.0}, "from_host": {"burst": 2.0, "delay_ms": 5.0, "jitter_ms": 0}}
    with pytest.raises(LabError, match=r"alpine-1: burst, delay_ms cannot be done by nftables.*modprobe sch_netem"):
        impair.refuse_unsupported(impair.Nftables(), "alpine-1", link)
    impair.refuse_unsupported(impair.Netem(), "alpine-1", link)


def test_hosts_send_packet_by_packet_while_the_kernel_impairs_any_link(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def run(*command: str, stdin: str | None = None) -> None:
        done.append(" ".join([*command, stdin or ""]).strip())

    monkeypatch.setattr(impair, "run", run)
    monkeypatch.setattr(impair.Netem, "probe", lambda: None)
    names = ["alpine-1", "alpine-2"]
    ports = impair.Ports(names, "netem")
    for pid, name in enumerate(names, 1):
        ports.plug(name, "02:00:00:00:00:00", pid)
    perfect: dict[str, dict[str, float]] = {"to_host": {}, "from_host": {}}
    ports.impair({"alpine-2": {**perfect, "to_host": {"loss_pct": 1}}}, check=False)
    ports.impair({"alpine-2": perfect}, check=False)
    limits = [line for line in done if "gso_max_segs" in line]
    inside = [f"nsenter --net=/proc/{pid}/ns/net ip link set eth0 gso_max_segs" for pid in (1, 2)]
    assert limits == [f"{host} {most}" for most in (1, 65535) for host in inside]


def fail() -> None:
    raise LabError("not here")


def test_first_way_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impair.Netem, "probe", fail)
    monkeypatch.setattr(impair.UserSpace, "probe", fail)
    monkeypatch.setattr(impair.Nftables, "probe", lambda: None)
    assert impair.choose("auto").name == "nftables"
    monkeypatch.setattr(impair.Netem, "probe", lambda: None)
    assert impair.choose("auto").name == "netem"
    assert impair.choose("nftables").name == "nftables"


def test_no_way_names_the_reason_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for way in impair.MECHANISMS:
        monkeypatch.setattr(way, "probe", fail)
    with pytest.raises(LabError, match=r"(?s)modprobe tun.*netem: not here\nuser space: not here\nnftables: not here"):
        impair.choose("auto")
    with pytest.raises(LabError, match=r"root:\nnetem: not here$"):
        impair.choose("netem")
