"""The callback's last words: the report's text, and the way to the explanations when something failed."""

from __future__ import annotations

import types

import pytest
from ansible.executor.stats import AggregateStats
from callback.run_report import CallbackModule


@pytest.mark.parametrize("outcome", ["ok", "failures", "dark"])
def test_failures_lead_to_the_explanations(outcome: str, capsys: pytest.CaptureFixture[str]) -> None:
    callback, stats = CallbackModule(), AggregateStats()
    stats.increment(outcome, "alpine-1")
    callback.v2_runner_on_ok(types.SimpleNamespace(result={"report_text": "the table"}))
    callback.v2_playbook_on_stats(stats)
    printed = capsys.readouterr().out
    assert "the table" in printed
    assert ("docs/troubleshooting.md" in printed) == (outcome != "ok")
