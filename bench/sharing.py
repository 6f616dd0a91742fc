"""Goodput on lossy links and fairness on a shared link: udpxfer beside TCP over the same emulated link."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import plots
from .hosts import RECEIVER, Hosts, two_hosts
from .networks import Network
from .peers import PORT, environment, make_key
from .processes import Process
from .programs import BenchError

LOSSES_PCT, RTTS_MS = (1.0, 5.0, 10.0), (50.0, 100.0)
FLOWS = {"udpxfer": "udpxfer", "bbr": "TCP BBR", "cubic": "TCP CUBIC"}
"""What is measured alone on a lossy link, and under which names."""
QUEUES_BDP = (0.5, 1.0, 4.0)
STEADY_AFTER_S, GOODPUT_S, SHARING_S = 3.0, 13.0, 60.0
END_GRACE_S = 20.0

Samples = list[tuple[float, int]]


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


class _Flow:
    """A flow of a fixed time: its receiver runs already, `start` starts the sender."""

    def __init__(self, hosts: Hosts, kind: str, number: int, stack: contextlib.ExitStack) -> None:
        self._hosts, self._kind, self._port = hosts, kind, PORT + number
        self._out = hosts.folder / f"flow-{number}.json"
        self._out.unlink(missing_ok=True)
        if kind == "udpxfer":
            into = hosts.target / f"flow-{number}"
            into.mkdir(exist_ok=True)
            receive = ["udpxfer", "receive", "--bind", f"{RECEIVER}:{self._port}", "--into", str(into), "--overwrite"]
            receive += ["--key-file", str(hosts.folder / "key")]
        else:
            receive = ["bench.flow", "tcp-receive", str(self._port), str(self._out)]
        protocol = "udp" if kind == "udpxfer" else "tcp"
        stack.enter_context(hosts.service(_python(*receive), protocol, self._port, environment()))

    def start(self, seconds: float) -> Process:
        """Start to send."""
        port = str(self._port)
        if self._kind == "udpxfer":
            key, file = str(self._hosts.folder / "key"), str(self._hosts.source / "long")
            send = ["bench.flow", "udpxfer", key, file, f"{RECEIVER}:{port}", str(seconds), str(self._out)]
        else:
            send = ["bench.flow", "tcp-send", self._kind, RECEIVER, port, str(seconds)]
        return self._hosts.start(0, _python(*send), environment())

    def samples(self) -> Samples:
        """What had arrived when."""
        deadline = time.monotonic() + END_GRACE_S
        while not self._out.exists() or not self._out.stat().st_size:
            if time.monotonic() > deadline:
                raise BenchError(f"{self._kind}: the flow told nothing")
            time.sleep(0.05)
        return [(moment, there) for moment, there in json.loads(self._out.read_text())]


def _run_flows(network: Network, kinds: list[str], seconds: float) -> list[Samples]:
    """All flows at the same time for ``seconds``; times count from the first one's first sample."""
    with two_hosts(network) as hosts, contextlib.ExitStack() as stack:
        make_key(hosts)
        with (hosts.source / "long").open("wb") as file:
            file.truncate(int(network.rate_mbit * 125_000 * (seconds + 5)))
        flows = [_Flow(hosts, kind, number, stack) for number, kind in enumerate(kinds)]
        for process in [flow.start(seconds) for flow in flows]:
            process.wait(seconds + END_GRACE_S)
        told = [flow.samples() for flow in flows]
    begin = min(samples[0][0] for samples in told)
    return [[(moment - begin, there) for moment, there in samples] for samples in told]


def mbit_between(samples: Samples, begin: float, end: float) -> float:
    """Mean rate in Mbit/s between the samples nearest to two times."""
    first = min(samples, key=lambda sample: abs(sample[0] - begin))
    last = min(samples, key=lambda sample: abs(sample[0] - end))
    return (last[1] - first[1]) * 8e-6 / (last[0] - first[0]) if last[0] > first[0] else 0.0


def jain_index(rates: list[float]) -> float:
    """Jain's fairness index: 1 for equal shares, 1 / n when one has all (Jain, Chiu, Hawe 1984)."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def goodput(rate_mbit: float) -> Iterator[dict[str, Any]]:
    """Steady-state goodput of one flow alone, for each loss and round-trip time: udpxfer, TCP BBR, TCP CUBIC."""
    for rtt_ms in RTTS_MS:
        for loss_pct in LOSSES_PCT:
            network = Network(rate_mbit, rtt_ms, loss_pct)
            for kind in FLOWS:
                (samples,) = _run_flows(network, [kind], GOODPUT_S)
                mbit = mbit_between(samples, STEADY_AFTER_S, GOODPUT_S)
                share = mbit / (rate_mbit * (1 - loss_pct / 100))
                print(f"{network}: {kind} {mbit:.2f} Mbit/s, {share:.2f} of rate x (1 - loss)", file=sys.stderr)
                yield {"rtt_ms": rtt_ms, "loss_pct": loss_pct, "flow": kind, "mbit": mbit, "share": share}


SHARING = {"cubic": ["udpxfer", "cubic"], "bbr": ["udpxfer", "bbr"], "own": ["udpxfer"] * 4}


def fairness(neighbours: list[str], rate_mbit: float) -> Iterator[dict[str, Any]]:
    """Shares of a link of 50 ms, for each size of queue; ``neighbours`` are keys of SHARING."""
    for neighbour in neighbours:
        for queue_bdp in QUEUES_BDP:
            told = _run_flows(Network(rate_mbit, 50.0, queue_bdp=queue_bdp), SHARING[neighbour], SHARING_S)
            mbit = [mbit_between(samples, 0.0, SHARING_S) for samples in told]
            curves = [[mbit_between(samples, at, at + 1) for at in range(int(SHARING_S))] for samples in told]
            jain = jain_index(mbit)
            shares = " + ".join(f"{value:.1f}" for value in mbit)
            print(f"queue {queue_bdp:g} BDP, beside {neighbour}: {shares} Mbit/s, Jain {jain:.3f}", file=sys.stderr)
            yield {"neighbour": neighbour, "queue_bdp": queue_bdp, "mbit": mbit, "jain": jain, "curves": curves}


def show_goodput(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = [f"| RTT | loss | {' | '.join(FLOWS.values())} |", "|---|---|---|---|---|"]
    for rtt_ms, loss_pct in dict.fromkeys((row["rtt_ms"], row["loss_pct"]) for row in rows):
        cells = [row for row in rows if (row["rtt_ms"], row["loss_pct"]) == (rtt_ms, loss_pct)]
        values = " | ".join(f"{cell['mbit']:.1f} Mbit/s ({cell['share']:.0%})" for cell in cells)
        lines.append(f"| {rtt_ms:g} ms | {loss_pct:g} % | {values} |")
    return "\n".join(lines)


def show_fairness(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = ["| beside | queue | Mbit/s of each flow | Jain index |", "|---|---|---|---|"]
    names = {"cubic": "one TCP CUBIC flow", "bbr": "one TCP BBR flow", "own": "three more of its own"}
    for row in rows:
        shares = ", ".join(f"{value:.1f}" for value in row["mbit"])
        lines.append(f"| {names[row['neighbour']]} | {row['queue_bdp']:g} BDP | {shares} | {row['jain']:.2f} |")
    return "\n".join(lines)


def draw_goodput(rows: list[dict[str, Any]], folder: Path) -> None:
    """Share of the link over loss."""
    values = [
        {"x": row["loss_pct"], "y": row["share"], "series": f"{FLOWS[row['flow']]}, {row['rtt_ms']:g} ms"}
        for row in rows
    ]
    plots.lines(values, "random loss in percent", "goodput of rate x (1 - loss)", folder / "goodput.svg")


def draw_fairness(rows: list[dict[str, Any]], folder: Path) -> None:
    """Rates over time at one bandwidth-delay product of queue."""
    values = []
    for row in rows:
        if row["queue_bdp"] == 1.0 and row["neighbour"] == "cubic":
            for name, curve in zip((FLOWS["udpxfer"], FLOWS["cubic"]), row["curves"], strict=True):
                values += [{"x": second, "y": mbit, "series": name} for second, mbit in enumerate(curve)]
    if values:
        plots.lines(values, "seconds", "Mbit/s", folder / "fairness.svg")
