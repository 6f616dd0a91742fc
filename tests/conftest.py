"""What all tests share: random numbers that a printed seed repeats."""

from __future__ import annotations

import random

import hypothesis
import pytest

hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="repeat a random test that failed with this seed")


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
