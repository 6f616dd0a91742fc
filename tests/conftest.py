"""What all tests share: one random seed, printed at the start, that repeats a run exactly."""

from __future__ import annotations

import os
import random

import hypothesis
import pytest

SEED_VARIABLE = "UDPXFER_TEST_SEED"
SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().getrandbits(32))

hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


def pytest_report_header() -> str:
    return f"random seed: {SEED} (repeat with {SEED_VARIABLE}={SEED})"


@pytest.fixture
def rng() -> random.Random:
    """Random numbers that the printed seed repeats."""
    return random.Random(SEED)
