"""Options of the command line."""

from __future__ import annotations

import argparse

import pytest
from udpxfer import cli
from udpxfer.modes import MODES


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_offered(mode: str) -> None:
    options = cli._parser().parse_args(["send", "--mode", mode, "--key-file", "k", "a=b:1"])
    assert options.mode == mode


def test_another_mode_is_refused() -> None:
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["send", "--mode", "no_mode", "--key-file", "k", "a=b:1"])


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("64k", 64_000), ("1.5G", 1_500_000_000), ("2mb", 2_000_000)])
def test_sizes(text: str, size: int) -> None:
    assert cli._size(text) == size


@pytest.mark.parametrize(("text", "rate"), [("100mbit", 12.5e6), ("100Mbit/s", 12.5e6), ("12.5m", 12.5e6)])
def test_rates(text: str, rate: float) -> None:
    assert cli._rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0.4", "-1", "x", "1q", "mbit", "1 000"])
def test_senseless_sizes_and_rates_are_refused(text: str) -> None:
    for parse in (cli._size, cli._rate):
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)


@pytest.mark.parametrize("text", ["", "file", "=host:1", "file="])
def test_senseless_jobs_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        cli._assignment(text)


def test_a_job_is_split_at_the_last_equals_sign() -> None:
    assert cli._assignment("a=b=host:1") == ("a=b", "host:1")
