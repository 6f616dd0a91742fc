"""Ansible callback: print the run's table after everything else, and where its errors are explained."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: run_report
type: notification
short_description: Print the run's table after everything else
description:
  - Keeps the text of the module C(render_run) and prints it after the recap, where the reader looks first.
requirements:
  - Enabled in ansible.cfg (callbacks_enabled).
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible ships no types
    """Holds the last report text of the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "run_report"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    def v2_runner_on_ok(self, result: Any) -> None:
        """Keep the text of the task that made one."""
        self._text = result.result.get("report_text", self._text)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print both; runs after the recap, because the standard callback comes first."""
        if self._text:
            self._display.display(f"\n{self._text}")
        if stats.failures or stats.dark:
            self._display.display("\nWhat a message means and what helps: docs/troubleshooting.md")
