"""The networks that the benchmark measures on."""

from __future__ import annotations

import dataclasses

from .hosts import MTU_BYTES

ETHERNET_HEADER_BYTES = 14


@dataclasses.dataclass(frozen=True)
class Network:
    """A link of a rate (Mbit/s, Ethernet frames counted), round-trip time and random loss in both directions.

    The queue before it holds ``queue_bdp`` bandwidth-delay products, but at least ten packets.
    """

    rate_mbit: float
    rtt_ms: float
    loss_pct: float = 0.0
    queue_bdp: float = 1.0

    @property
    def queue_kb(self) -> float:
        """Size of the queue in kilobytes (1000 bytes)."""
        return max(self.rate_mbit * self.rtt_ms / 8 * self.queue_bdp, 10 * MTU_BYTES / 1000)

    def impairments(self) -> tuple[dict[str, float], dict[str, float]]:
        """There and back, in the terms of `alpinelab.link`."""
        one_way = {
            "rate_mbit": self.rate_mbit,
            "delay_ms": self.rtt_ms / 2,
            "loss_pct": self.loss_pct,
            "queue_kb": self.queue_kb,
        }
        return one_way, dict(one_way)

    def capacity_mbit(self) -> float:
        """Goodput to expect of full IP packets: the link's rate, less the share that is lost.

        The link loses before its queue, so what is lost takes none of its time, and a sender may exceed this.
        """
        return self.rate_mbit * MTU_BYTES / (MTU_BYTES + ETHERNET_HEADER_BYTES) * (1 - self.loss_pct / 100)

    def __str__(self) -> str:
        text = f"{self.rate_mbit:g} Mbit/s, {self.rtt_ms:g} ms"
        return f"{text}, {self.loss_pct:g} % loss" if self.loss_pct else text


NETWORKS: dict[str, Network | None] = {
    "veth": None,
    "wan": Network(100, 50),
    "wan-loss1": Network(100, 50, 1),
    "wan-loss5": Network(100, 50, 5),
    "dsl-loss1": Network(20, 50, 1),
    "dsl-loss10": Network(20, 50, 10),
}
"""By name; None: the plain wire."""
DEFAULT_NETWORKS = ("veth", "wan", "wan-loss1", "wan-loss5")
