"""What all tests share: random numbers that a printed seed repeats."""

from __future__ import annotations

import random

import ansible.module_utils
import hypothesis
import pytest

from tests.project import ROOT

# Where ansible.cfg lets Ansible find what modules share; modules run in the tests' process need it too.
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))

hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="repeat a random test that failed with this seed")
    parser.addoption("--soak", action="store_true", help="run the long tests (make soak), and only these")


# These spend most of their time waiting for hosts, networks and servers; all others keep a processor busy.
WAITING = {"network", "lab", "gns3", "matrix", "infra"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to `make soak`; let those that wait run in order, beside the others (pytest -n 2 --dist loadgroup)."""
    for item in items:
        waits = item.path.relative_to(ROOT / "tests").parts[0] in WAITING
        item.add_marker(pytest.mark.xdist_group("waiting" if waits else "computing"))
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
