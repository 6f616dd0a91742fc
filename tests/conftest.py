"""What all tests share: random numbers that a printed seed repeats."""

from __future__ import annotations

import random
from typing import Any

import ansible.module_utils
import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.project import ROOT

# Where ansible.cfg lets Ansible find what modules share; modules run in the tests' process need it too.
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="repeat a random test that failed with this seed")
    parser.addoption("--soak", action="store_true", help="run the long tests (make soak), and only these")


class OneWorkerForEachKind(LoadScopeScheduling):  # type: ignore[misc]
    """Tests that make namespaces (hosts, networks, servers) run in order in one worker, all others in another.

    So the one may look for what a lab has left: numbers of namespaces are given again at once.

    Marks would do, but xdist 3.8 does not see them with pytest 9.2.
    """

    NAMESPACES = ("lab/", "gns3/", "matrix/", "infra/", "network/test_namespaces", "network/test_bench")

    def _split_scope(self, nodeid: str) -> str:
        return "namespaces" if nodeid.partition("/")[2].startswith(self.NAMESPACES) else "others"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerForEachKind:
    """Who runs what when there is more than one worker (make test)."""
    return OneWorkerForEachKind(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make soak`."""
    soak = bool(config.getoption("--soak"))
    config.hook.pytest_deselected(items=[item for item in items if bool(item.get_closest_marker("soak")) != soak])
    items[:] = [item for item in items if bool(item.get_closest_marker("soak")) == soak]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a random test, printed when it fails."""
    given = request.config.getoption("--seed")
    value = random.SystemRandom().randrange(2**32) if given is None else int(given)
    print(f"repeat with --seed {value}")
    return value


@pytest.fixture
def rng(seed: int) -> random.Random:
    """Random numbers that the printed seed repeats."""
    return random.Random(seed)
