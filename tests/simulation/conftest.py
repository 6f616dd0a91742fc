"""Seeds: printed with every failure, fixed with --seed."""

from __future__ import annotations

import random

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a random test; fixed on the command line (``--seed N``) to repeat a failure."""
    given = request.config.getoption("--seed", default=None)
    value = random.SystemRandom().randrange(2**32) if given is None else int(given)
    print(f"repeat with --seed {value}")
    return value
