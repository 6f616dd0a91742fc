"""What a sent file may be called, and where it may be stored: checked by the sender for its user, by the receiver for itself."""

from __future__ import annotations

import re
from typing import Any

from ..errors import Code, TransferError

HIDDEN_PREFIX = ".udpxfer-"
"""What the receiver's own files begin with; no sent file may."""
Address = tuple[Any, ...]
"""A socket address as Python gives it: host, port, and for IPv6 more."""
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
MAX_NAME_BYTES = 255
"""NAME_MAX of Linux."""


def check_name(name: str) -> None:
    """Raises TransferError (BAD_NAME) unless ``name`` is one plain path component."""
    if (
        not name
        or name in (".", "..")
        or name.startswith(HIDDEN_PREFIX)
        or "/" in name
        or any(ord(c) < 32 or ord(c) == 127 for c in name)
        or len(name.encode(errors="surrogateescape")) > MAX_NAME_BYTES
    ):
        raise TransferError(Code.BAD_NAME, f"{name!r} is not a usable file name")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise TransferError(Code.BAD_NAME, f"{name!r} is not valid UTF-8") from error


def check_label(label: str) -> None:
    """Raises TransferError (BAD_LABEL) unless ``label`` is empty or one or two plain components."""
    if label and not LABEL.fullmatch(label):
        raise TransferError(Code.BAD_LABEL, f"{label!r} is not a usable label")


def format_address(address: Address) -> str:
    """``HOST:PORT``, with brackets for IPv6."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
