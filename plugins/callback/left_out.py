"""Ansible callback: end with an error where options leave out so much that a failure would not be seen."""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: left_out
type: notification
short_description: Refuse options that leave out too much
description:
  - Ansible passes by a play without hosts, and ends with status 0 when nothing is left; so would a run without its comparison on the controller.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible ships no types
    """Ends the program: what else a callback raises, Ansible only warns of."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "left_out"
    CALLBACK_NEEDS_ENABLED = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Refuse to skip the checks that come first."""
        del playbook
        if skipped := {"always", "tagged"}.intersection(context.CLIARGS["skip_tags"]):
            raise SystemExit(
                f"--skip-tags {','.join(sorted(skipped))} leaves out the check of what was asked for, so no failure would be seen. "
                "Leave it out, or name the steps that shall run by --tags."
            )

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Keep the play, of which the next call does not tell."""
        self._play = play

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Refuse a limit without the controller: its plays would be skipped without a word."""
        if "localhost" in self._play.hosts:
            raise SystemExit(
                "--limit leaves out localhost, where labs are made, files compared and verdicts given, so no failure would be seen. "
                "Leave --limit out, or name localhost in it too: --limit localhost,..."
            )
