"""Runs an Ansible module in this process, as Ansible would start it."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args


def run_module(
    name: str, capsys: pytest.CaptureFixture[str], *, check: bool = False, **options: object
) -> dict[str, Any]:
    """What the module returns; `failed` is true when it failed."""
    module = importlib.import_module(f"modules.{name}")
    with patch_module_args({**options, "_ansible_check_mode": check, "_ansible_diff": True}), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result
