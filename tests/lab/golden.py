"""Error texts as a user sees them, kept in files of golden/, with what differs from run to run replaced by words."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
VARYING = (
    (r"\d{8}T\d{6}Z(-\d+)?", "RUN"),
    (r"\S*/results\b", "RESULTS"),
    (r"\S*/([\w.-]+\.key)\b", r"SECRETS/\1"),
    (r"\d+ MB free", "N MB free"),
    (r"[ \t]+$", ""),
)


def normal(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text.strip() + "\n"


def expected(name: str) -> str:
    """The text of a golden file."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
