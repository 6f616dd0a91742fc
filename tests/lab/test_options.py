"""What the documents offer beside the plain run, as a user calls it, on a lab of this module's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from udpxfer.modes import MODES

from tests.lab.conftest import lab_of_its_own
from tests.lab.playbook import Lab
from tests.project import ROOT, run

LAB_ID = "test-options"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_of_its_own(LAB_ID, tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="module")
def own(lab: Lab) -> Iterator[str]:
    """Options that keep lab and results apart from the user's; the key is where a user's is, under the lab's name."""
    key = ROOT / ".secrets" / f"lab-{LAB_ID}.key"
    key.unlink(missing_ok=True)
    yield f"-e lab_id={LAB_ID} -e run_results_dir={lab.results}"
    key.unlink()


@pytest.fixture(scope="module")
def document(lab: Lab, own: str) -> dict[str, Any]:
    """A run with more servers on an impaired network, measured in two rounds."""
    options = "--tags single_thread -e lab_servers=3 -e lab_impairment=lan -e transfer_repeats=2"
    done = run("make", "run", f"ARGS={options} {own}")
    assert done.returncode == 0, done.stdout
    run_id = (lab.results / "latest").resolve().name
    return lab.document(run_id)


def test_more_servers_impairment_and_repeats(document: dict[str, Any]) -> None:
    assert [host["role"] for host in document["hosts"]].count("server") == 3
    assert document["impairment"] == "lan"
    assert document["repeats"] == 2
    assert document["verdict"] == {"passed": True, "reasons": []}


@pytest.mark.usefixtures("document")
def test_make_compare_sees_no_difference_of_a_run_to_itself(own: str, document: dict[str, Any]) -> None:
    done = run("make", "compare", f"A={document['run_id']}", "THRESHOLD=0.1", f"ARGS={own}")
    assert done.returncode == 0, done.stdout
    assert run("make", "compare", "A=20000101T000000Z", f"ARGS={own}").returncode != 0


@pytest.mark.usefixtures("document")
def test_make_ssh_opens_a_shell() -> None:
    done = run("make", "ssh", f"LAB={LAB_ID}", "HOST=alpine-4")  # standard input ends at once, and so does the shell
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("document")
def test_bench_with_more_and_more_servers(lab: Lab, tmp_path: Path) -> None:
    less = f"--sizes 100KB --repeats 1 --lab {lab.state} --into {tmp_path}"
    done = run("make", "bench", f"ARGS=--scale servers {less}")
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "servers.json").read_text(encoding="utf-8"))["rows"]
    assert {(row["servers"], row["mode"]) for row in rows} == {(count, mode) for count in (1, 2) for mode in MODES}
    assert all(row["goodput_bytes_per_s"] > 0 for row in rows)


def test_bench_beside_other_programs(tmp_path: Path) -> None:
    less = f"--networks veth --sizes 100KB --peers udpxfer socat --repeats 1 --into {tmp_path}"
    done = run("make", "bench", f"ARGS={less}")
    assert done.returncode == 0, done.stdout
    document = json.loads((tmp_path / "peers.json").read_text(encoding="utf-8"))
    assert [(row["peer"], row["bytes"], row["copies"]) for row in document["rows"]] == [
        ("udpxfer", 100_000, 1),
        ("socat", 100_000, 1),
    ]
    assert all(row["cpu_s"] > 0 and row["peak_memory_bytes"] > 0 for row in document["rows"])
    assert document["about"]["socat"] != "unknown"
    assert (tmp_path / "peers.svg").stat().st_size > 0


def test_bench_with_more_and_more_sessions(tmp_path: Path) -> None:
    done = run("make", "bench", f"ARGS=--scale sessions --repeats 1 --into {tmp_path}")
    assert done.returncode == 0, done.stdout
    rows = json.loads((tmp_path / "sessions.json").read_text(encoding="utf-8"))["rows"]
    assert [row["sessions"] for row in rows] == [1, 10, 100]
    assert all(0 < row["jain_index"] <= 1 for row in rows)
