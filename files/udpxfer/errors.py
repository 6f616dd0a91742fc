"""Failures a user can meet: one stable code each, with the way out.

The number travels in ABORT and refusing ANSWER messages, the lower-case name appears in JSON and on the terminal.
Numbers are never reused.
"""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """Why a transfer, a download or a command failed."""

    OK = 0
    INTERNAL = 1
    PROTOCOL = 2
    INTERRUPTED = 3
    KEY_MISSING = 10
    KEY_INVALID = 11
    KEY_EXPOSED = 12
    KEY_EXISTS = 13
    SOURCE_MISSING = 20
    SOURCE_UNREADABLE = 21
    SOURCE_CHANGED = 22
    BAD_ADDRESS = 30
    BIND_FAILED = 31
    NO_ANSWER = 32
    PEER_SILENT = 33
    NETWORK = 34
    BAD_NAME = 40
    BAD_LABEL = 41
    FILE_EXISTS = 42
    FILE_TOO_LARGE = 43
    TOTAL_LIMIT = 44
    TOO_MANY_SESSIONS = 45
    DISK_FULL = 46
    STORE_FAILED = 47
    BUSY = 48
    DOWNLOAD_FAILED = 60
    DOWNLOAD_TOO_LARGE = 61

    @property
    def label(self) -> str:
        """The code's stable name in JSON, for example ``file_exists``."""
        return self.name.lower()


FIXES = {
    Code.INTERNAL: "report this with the log; it is a defect of udpxfer",
    Code.PROTOCOL: "use the same udpxfer version on both ends",
    Code.INTERRUPTED: "run the same command again: it continues where it stopped",
    Code.KEY_MISSING: "make one with 'udpxfer keygen KEYFILE' and place the same file on both ends",
    Code.KEY_INVALID: "make a new key with 'udpxfer keygen KEYFILE' and place the same file on both ends",
    Code.KEY_EXPOSED: "run 'chmod 600 KEYFILE', or make a new key if others may have read it",
    Code.KEY_EXISTS: "choose another file name, or remove the old key if nothing uses it any more",
    Code.SOURCE_MISSING: "check the path of the file to send",
    Code.SOURCE_UNREADABLE: "send a regular file that this user may read",
    Code.SOURCE_CHANGED: "send again once nothing writes to the file any more",
    Code.BAD_ADDRESS: "write the address as HOST:PORT, or [HOST]:PORT for IPv6",
    Code.BIND_FAILED: "choose a free address and port of this host for --bind",
    Code.NO_ANSWER: (
        "check that the receiver runs at that address, that no firewall drops UDP, and that both ends have the same key"
    ),
    Code.PEER_SILENT: "check the receiver and the network, then run the same command again: it continues",
    Code.NETWORK: "check the address, the route and the firewall of this host",
    Code.BAD_NAME: "rename the file: one plain name of at most 255 bytes without control characters",
    Code.BAD_LABEL: "use one or two names joined by '/', each of at most 64 letters, digits, '.', '_' or '-'",
    Code.FILE_EXISTS: "use another --label, or remove the file on the receiver",
    Code.FILE_TOO_LARGE: "raise --max-file-bytes on the receiver",
    Code.TOTAL_LIMIT: "raise --max-total-bytes on the receiver, or restart it",
    Code.TOO_MANY_SESSIONS: "send again later, or raise --max-sessions on the receiver",
    Code.DISK_FULL: "free disk space on the receiver",
    Code.STORE_FAILED: "check the receiver's directory: it must be writable for the receiver's user",
    Code.BUSY: "wait until the other transfer to the same name has ended",
    Code.DOWNLOAD_FAILED: "check the URL and that its server answers",
    Code.DOWNLOAD_TOO_LARGE: "raise --max-bytes if this size is wanted",
}


class TransferError(Exception):
    """A failure with a stable code; ``str()`` gives what happened, where, and what to do."""

    def __init__(self, code: Code, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = FIXES.get(code, "") if fix is None else fix

    def __str__(self) -> str:
        return f"{self.code.label}: {self.message}" + (f"; {self.fix}" if self.fix else "")

    def __reduce__(self) -> tuple[type[TransferError], tuple[Code, str, str]]:
        """Keep code and fix when the error crosses a process border (``multiprocessing.Pool``)."""
        return type(self), (self.code, self.message, self.fix)

    def as_dict(self) -> dict[str, str]:
        """The error as it appears in results and logs."""
        return {"code": self.code.label, "message": self.message, "fix": self.fix}
