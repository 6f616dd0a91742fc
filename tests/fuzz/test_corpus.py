"""Every input that fuzzing found worth keeping, played again without a fuzzer; `make fuzz` looks for more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .targets import TARGETS, fresh

CORPUS = Path(__file__).parent / "corpus"
RANDOM_INPUTS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    fresh()
    for path in inputs:
        TARGETS[name](path.read_bytes())
    fresh()


@pytest.mark.parametrize("name", TARGETS)
def test_random_inputs(name: str, rng: random.Random) -> None:
    fresh()
    for _ in range(RANDOM_INPUTS):
        TARGETS[name](rng.randbytes(rng.choice((0, 1, 16, 60, 1200, 1300))))
    fresh()
