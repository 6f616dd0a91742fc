"""The benchmark's command line: what is measured, with which options, and when results are written."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as program
from bench import programs
from bench.networks import DEFAULT_NETWORKS
from bench.programs import BenchError


def test_defaults_are_there() -> None:
    kind, options = program.wanted(["--repeats", "2"])
    assert kind == "peers"
    assert (options.repeats, options.limit, options.networks) == (2, 120.0, DEFAULT_NETWORKS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rate", "20"], "measuring peers does not look at --rate"),
        (["--goodput", "--sizes", "5MB", "--repeats", "3"], "measuring goodput does not look at --repeats, --sizes"),
        (["--scale", "servers", "--peers", "scp"], "measuring servers does not look at --peers"),
    ],
)
def test_options_of_another_kind_are_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program.wanted(arguments)
    assert told in capsys.readouterr().err


def test_every_kind_s_options_have_a_default() -> None:
    assert {name for kind in program.KINDS.values() for name in kind.options} == set(program.DEFAULTS)


def test_rows_are_written_as_they_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def measure(_: object) -> Iterator[dict[str, object]]:
        try:
            yield {"row": 1}
            raise BenchError("the second went wrong")
        finally:
            closed.append(True)

    kind = program.Kind(measure, str, lambda *_: None, ())
    monkeypatch.setitem(program.KINDS, "sessions", kind)
    monkeypatch.setattr(programs, "provide", lambda *_: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["bench", "--scale", "sessions", "--into", str(tmp_path)])
    with pytest.raises(BenchError, match="the second"):
        program.main()
    assert json.loads((tmp_path / "sessions.json").read_text())["rows"] == [{"row": 1}]
    assert closed
