"""Files on a host, each question with one command."""

from __future__ import annotations

from testinfra.host import Host


def digests_below(host: Host, folder: str) -> dict[str, str]:
    """SHA-256 of all files below a folder, by path relative to it; empty without the folder."""
    output = host.check_output(f"cd {folder} 2>/dev/null || exit 0; find . -type f -exec sha256sum {{}} +")
    return {
        path.removeprefix("./"): digest for digest, path in (line.split(maxsplit=1) for line in output.splitlines())
    }


def rights_below(host: Host, folder: str) -> dict[str, tuple[str, str]]:
    """Owner:group and octal mode of a folder and all below it, by path."""
    output = host.check_output(f"find {folder} -exec stat -c '%U:%G %a %n' {{}} +")
    return {path: (owner, mode) for owner, mode, path in (line.split(maxsplit=2) for line in output.splitlines())}
