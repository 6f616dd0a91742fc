"""Every failure has a stable number, a name and a way out."""

from __future__ import annotations

import pickle

import pytest
from udpxfer.errors import FIXES, Code, TransferError


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_code_has_a_fix(code: Code) -> None:
    error = TransferError(code, "what happened")
    assert error.fix == FIXES[code]
    assert str(error) == f"{code.label}: what happened; {error.fix}"


def test_errors_cross_process_borders() -> None:
    error = pickle.loads(pickle.dumps(TransferError(Code.BUSY, "message", "fix")))
    assert (error.code, error.message, error.fix) == (Code.BUSY, "message", "fix")
