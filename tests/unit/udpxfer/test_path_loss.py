from __future__ import annotations

import pytest
from udpxfer.core.path_loss import PathLoss, is_beyond_any_path

RTT_S = 0.05
ROUNDS = 10


def seen(arrived: int, lost: int, queue_s: float = 0.0, steady: bool = True) -> PathLoss:
    """After some rounds that were all alike."""
    path = PathLoss()
    for _ in range(ROUNDS):
        path.add(arrived, lost, queue_s, RTT_S, new_round=True, steady=steady)
    return path


def test_loss_with_an_empty_queue_is_the_paths_own() -> None:
    assert seen(90, 10).floor == pytest.approx(0.1)


def test_loss_in_a_full_queue_is_not() -> None:
    assert seen(90, 10, queue_s=0.03).floor == 0.0


def test_what_is_lost_while_sending_slowly_as_well_stays_the_paths_own() -> None:
    path = seen(90, 10)
    path.add_drained(270, 30)
    assert path.floor == pytest.approx(0.1)


def test_what_is_not_lost_while_sending_slowly_was_never_the_paths_own() -> None:
    path = seen(90, 10)
    path.add_drained(300, 0)
    assert path.floor < 0.01
    path.add(90, 10, 0.0, RTT_S, new_round=True, steady=True)
    assert path.floor < 0.01, "learnt again though it was disproved"


def test_a_floor_that_is_forgotten_can_be_learnt_again() -> None:
    path = seen(90, 10)
    path.add_drained(300, 0)
    for _ in range(ROUNDS):
        path.add_drained(90, 10)
        path.add(90, 10, 0.0, RTT_S, new_round=True, steady=True)
    assert path.floor == pytest.approx(0.1, rel=0.1)


def test_a_flow_that_looks_for_its_rate_believes_no_more_than_a_moderate_loss() -> None:
    assert seen(90, 10, steady=False).floor == pytest.approx(0.1)
    assert seen(80, 20, steady=False).floor == 0.0
    assert seen(80, 20).floor == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("arrived", "lost", "beyond"), [(80, 20, False), (60, 40, False), (40, 60, True), (1, 2, False)]
)
def test_no_path_loses_most(arrived: int, lost: int, beyond: bool) -> None:
    assert is_beyond_any_path(arrived, lost) is beyond
