"""The benchmark's own arithmetic: medians, limits, what is left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench import cells
from bench.cells import Plan, Row, hopeless, outcome, summary
from bench.hosts import Hosts
from bench.networks import DEFAULT_NETWORKS, NETWORKS
from bench.peers import Copy, Peer
from bench.processes import TooSlowError, Usage
from bench.programs import BenchError

LIMIT_S = 100.0
GB = 10**9


def plan(copy: Any, limit_s: float = LIMIT_S) -> Plan:
    return Plan({"veth": None}, {"3B": 3}, {"peer": Peer(copy)}, 5, limit_s)


def row(size: int, process_s: float) -> Row:
    return {"size": f"{size}B", "bytes": size, "process_s": process_s}


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    """Only folders: no copy of these tests runs a program."""
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    return cast("Hosts", SimpleNamespace(source=tmp_path / "source", target=tmp_path / "target", usage=Usage()))


def measured(hosts: Hosts, copy: Any, limit_s: float = LIMIT_S) -> Row:
    return cells._cell(hosts, plan(copy, limit_s), "peer", hosts.source / "file", 3, [])


def test_summary_has_medians_and_spread_of_both_ends() -> None:
    copies = [(Copy(seconds, seconds - 1), Usage(seconds, int(seconds) * 10)) for seconds in (5.0, 2.0, 3.0)]
    assert summary(2 * GB, copies) == {
        "copies": 3,
        "process_s": 3.0,
        "process_spread_s": [2.0, 5.0],
        "transfer_s": 2.0,
        "goodput_bytes_per_s": GB,
        "cpu_s": 3.0,
        "cpu_s_per_gb": 1.5,
        "peak_memory_bytes": 50,
    }


def test_copies_are_repeated_and_removed(hosts: Hosts) -> None:
    def copy(_: Hosts, source: Path, target: Path) -> Copy:
        assert not target.exists()
        target.write_bytes(source.read_bytes())
        return Copy(1.0)

    assert measured(hosts, copy)["copies"] == 5
    assert list(hosts.target.iterdir()) == []


def test_one_copy_is_made_even_when_a_second_would_exceed_the_limit(hosts: Hosts) -> None:
    def copy(_: Hosts, source: Path, target: Path) -> Copy:
        target.write_bytes(source.read_bytes())
        return Copy(1.0)

    assert measured(hosts, copy, limit_s=0.0)["copies"] == 1


def test_another_file_than_was_sent_is_a_failure(hosts: Hosts) -> None:
    def copy(_: Hosts, source: Path, target: Path) -> Copy:
        target.write_bytes(source.read_bytes()[::-1])
        return Copy(1.0)

    assert "another file" in measured(hosts, copy)["failed"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TooSlowError(""), {"exceeded_s": LIMIT_S}),
        (BenchError("no"), {"failed": "no"}),
        (OSError(28, "No space left"), {"failed": "[Errno 28] No space left"}),
    ],
)
def test_a_cell_that_could_not_be_measured_does_not_end_the_run(hosts: Hosts, error: Exception, told: Row) -> None:
    def copy(_: Hosts, __: Path, ___: Path) -> Copy:
        raise error

    assert measured(hosts, copy) == told


def test_a_slow_copy_does_not_throw_away_the_good_ones(hosts: Hosts) -> None:
    left = iter([1.0, 3.0])

    def copy(_: Hosts, source: Path, target: Path) -> Copy:
        target.write_bytes(source.read_bytes())
        if (seconds := next(left, None)) is None:
            raise TooSlowError("")
        return Copy(seconds)

    found = measured(hosts, copy)
    assert (found["copies"], found["process_s"], found["too_slow"]) == (2, 2.0, 1)
    assert "| 2, then one too slow |" in cells.table([{"network": "veth", "size": "3B", "peer": "peer", **found}])


@pytest.mark.parametrize(
    ("available", "source_is_there", "fits"),
    [
        (3 * 10**6, False, True),
        (3 * 10**6 - 1, False, False),
        (3 * 10**6 - 1, True, True),
        (2 * 10**6 - 1, True, False),
    ],
)
def test_what_does_not_fit_into_memory_is_not_run(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, available: int, source_is_there: bool, fits: bool
) -> None:
    monkeypatch.setattr(cells, "memory_available", lambda: available)
    assert (cells.no_room(10**6, source_is_there) == "") == fits
    if not fits and not source_is_there:
        nothing = cells._cell(hosts, plan(print), "peer", hosts.source / "file", 10**6, [])
        assert "needs 2 MB of memory" in nothing["not_run"]
        assert list(hosts.source.iterdir()) == []


def test_only_what_is_far_beyond_the_limit_is_left_out() -> None:
    """The start counts once, not for every byte."""
    assert not hopeless([], GB, LIMIT_S)
    assert not hopeless([row(1000, 4.0)], GB, LIMIT_S)
    assert not hopeless([row(1000, 4.0), row(10**6, 4.1)], GB, LIMIT_S)
    assert hopeless([row(1000, 4.0), row(10**6, 5.0)], GB, LIMIT_S) == "1000000B took 5.0 s"


def test_what_was_too_slow_with_less_is_left_out() -> None:
    first = {"size": "10MB", "exceeded_s": LIMIT_S}
    assert hopeless([first], GB, LIMIT_S) == "10MB took > 100 s"
    assert hopeless([first, {"size": "100MB", "not_run": "because"}], GB, LIMIT_S) == "because"
    assert not hopeless([{"size": "10MB", "failed": "no"}], GB, LIMIT_S)


def test_the_estimate_of_a_cell_does_not_exceed_its_limit() -> None:
    networks = {name: NETWORKS[name] for name in DEFAULT_NETWORKS}
    peers = {name: Peer(print) for name in ("one", "two")}  # type: ignore[arg-type]
    whole = Plan(networks, {"1GB": GB}, peers, 5, LIMIT_S)
    assert 0 < whole.estimate_s(whole.cells()) <= LIMIT_S * len(whole.cells())
    assert whole.estimate_s([]) == 0


def test_the_table_says_of_every_cell_what_became_of_it() -> None:
    head = {"network": "veth", "size": "1GB", "bytes": GB, "peer": "peer"}
    ends: list[Row] = [
        {"exceeded_s": 120.0},
        {"failed": "no"},
        {"not_run": "why"},
        summary(GB, [(Copy(2.0), Usage(4.0, 10**7))]),
    ]
    lines = cells.table([{**head, **end} for end in ends]).splitlines()
    assert [outcome({**head, **end}) in line for end, line in zip(ends[:3], lines[4:], strict=False)] == [True] * 3
    assert lines[-1] == "| 1GB | peer | 1 | 2.000 (2.000 to 2.000) | 2.000 | 500 | 4 | 10 |"
