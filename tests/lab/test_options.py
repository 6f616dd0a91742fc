"""What the documents offer beside the plain run, as a user calls it, on a lab of this module's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import take_down
from tests.lab.playbook import Lab
from tests.project import ROOT, environment, run

LAB_ID = "test-options"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(LAB_ID, tmp_path_factory.mktemp("lab"))
    made.copy_inventory()
    take_down(made)
    yield made
    take_down(made)


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
def test_bench_between_two_hosts(lab: Lab) -> None:
    packages = f"{ROOT / 'files'}:{ROOT / 'roles/lab_embedded/files'}"
    done = run(
        *(sys.executable, "-m", "bench.lab", "--lab", str(lab.state), "--bytes", "1000000", "--repeats", "1"),
        env=environment(PYTHONPATH=packages),
    )
    assert done.returncode == 0, done.stdout


def test_bench_beside_other_programs(tmp_path: Path) -> None:
    table = tmp_path / "rows.json"
    done = run("make", "bench", f"ARGS=--sizes 100KB --peers udpxfer --repeats 1 --json {table}")
    assert done.returncode == 0, done.stdout
    (row,) = json.loads(table.read_text(encoding="utf-8"))
    assert (row["peer"], row["bytes"]) == ("udpxfer", 100_000)
