"""A lab of the tests' own, beside the user's, taken down whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.lab.playbook import Lab
from tests.lab.program import ProgramLab
from tests.project import ROOT

LAB_ID = "test"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An inventory for a lab that is down; what a killed test run left behind is removed first."""
    test_lab = Lab(LAB_ID, tmp_path_factory.mktemp("lab"))
    test_lab.copy_inventory()
    lock_path = ROOT / ".cache" / "test-lab.lock"
    lock_path.parent.mkdir(exist_ok=True)
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail("another test run in this folder uses the test lab; let it end first", pytrace=False)
        before = signal.signal(signal.SIGTERM, _interrupt)  # so that `kill` takes the lab down too
        take_down(test_lab)
        yield test_lab
        take_down(test_lab)
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def lab_of_its_own(lab_id: str, folder: Path) -> Iterator[Lab]:
    """A lab for one module, brought up by that module's first playbook."""
    made = Lab(lab_id, folder)
    made.copy_inventory()
    take_down(made)
    yield made
    take_down(made)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[str], ProgramLab]]:
    """Labs of this test, taken down at its end."""
    made: list[ProgramLab] = []

    def make(lab_id: str) -> ProgramLab:
        made.append(ProgramLab(tmp_path / lab_id))
        return made[-1]

    yield make
    for lab in made:
        lab.call("down")


def take_down(test_lab: Lab) -> None:
    down = test_lab.play("playbooks/lab_down.yml")
    assert down.status == 0, down.explain()


@pytest.fixture(scope="session")
def run_schema() -> Path:
    """The JSON schema of run.json."""
    return ROOT / "docs" / "run.schema.json"
