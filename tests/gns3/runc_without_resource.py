"""A Docker runtime for test machines whose processes may not have CAP_SYS_RESOURCE: runc with that one left out.

GNS3 starts every node privileged, Docker then asks for all capabilities, and runc refuses what it cannot give. Called
as runc is: the capability is taken out of the container's (or the command's) description, then runc does the work.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

CAPABILITY = "CAP_SYS_RESOURCE"


def without(process: dict[str, Any]) -> None:
    """Take the capability out of a process's description."""
    for names in (process.get("capabilities") or {}).values():
        if CAPABILITY in (names or []):
            names.remove(CAPABILITY)


def main() -> None:
    """Change the description named on the command line, then become runc."""
    words = sys.argv[1:]
    for option, name in (("--bundle", "config.json"), ("--process", "")):
        if option in words:
            path = Path(words[words.index(option) + 1], name)
            document = json.loads(path.read_text())
            without(document.get("process", document))
            path.write_text(json.dumps(document))
    runc = shutil.which("runc")
    assert runc is not None
    os.execv(runc, [runc, *words])  # noqa: S606 (no shell is meant)


if __name__ == "__main__":
    main()
