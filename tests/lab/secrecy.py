"""Looks for a key wherever it must not be."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.02


class Secret:
    """A key in every form in which it could show."""

    def __init__(self, hexadecimal: str) -> None:
        raw = bytes.fromhex(hexadecimal)
        text = hexadecimal.encode()
        self.forms = {
            "bytes": raw,
            "hexadecimal": text,
            "HEXADECIMAL": text.upper(),
            "base64": base64.b64encode(raw).rstrip(b"="),
            "base64 for URLs": base64.urlsafe_b64encode(raw).rstrip(b"="),
            # Without the last characters, which depend on what follows.
            "base64 of the file": base64.b64encode(text)[:-4],
        }

    def forms_in(self, content: bytes) -> list[str]:
        """The forms in which the content holds it."""
        return [form for form, value in self.forms.items() if value in content]

    def files_below(self, folder: Path) -> list[str]:
        """Files that hold it, and how."""
        return [
            f"{path}: {form}"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            for form in self.forms_in(path.read_bytes())
        ]


class CommandLines:
    """What `ps` would have shown of all processes of this machine, those of the lab's hosts among them, and of their environments."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def look(self) -> None:
        for path in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    self.seen.add((path / name).read_bytes())


@contextlib.contextmanager
def watched_command_lines() -> Iterator[CommandLines]:
    """Collects the command lines of all processes while something runs."""
    lines = CommandLines()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            lines.look()
            time.sleep(POLL_S)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()
