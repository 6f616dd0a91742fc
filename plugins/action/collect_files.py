"""Ansible action: bring files and folders of a host to the controller in one archive."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils.host_files import sha256


def check_names(archive: tarfile.TarFile, allowed: list[str]) -> None:
    """Refuse an archive with a name outside what was asked for: a host must not write into another's folder."""
    for member in archive.getmembers():
        path = PurePosixPath(member.name)
        asked_for = any(path == PurePosixPath(name) or PurePosixPath(name) in path.parents for name in allowed)
        if not asked_for or ".." in path.parts or not (member.isfile() or member.isdir()):
            message = f"the archive holds {member.name}, which nobody asked for. Nothing was unpacked."
            raise ValueError(message)


def remove(path: Path) -> None:
    """Remove a file or a folder with all in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_content(archive: Path, packed_sha256: str) -> None:
    """Raises ValueError when the file is not the one that was packed on the host."""
    with archive.open("rb") as stream:
        digest = sha256(stream)
    if digest != packed_sha256:
        message = (
            f"{archive.stat().st_size} bytes came over SSH, but not those that were packed. "
            "Look at the host's SSH server, then run again with --tags collect."
        )
        raise ValueError(message)


def check_nothing_is_lost(archive: tarfile.TarFile, dest: Path, allowed: list[str]) -> None:
    """Refuse an archive without something that a former collection brought: the host was renewed, or holds another run now."""
    lost = [name for name in allowed if name not in archive.getnames() and (dest / name).exists()]
    if lost:
        message = (
            f"the host no longer has what came from it to {' and '.join(str(dest / name) for name in lost)}. What is there was kept. "
            "Hosts keep the files of their latest run only; --tags compare needs no host."
        )
        raise ValueError(message)


def unpack(archive_path: Path, dest: Path, allowed: list[str], *, keep: bool = True) -> None:
    """Unpack below dest in the place of what a former collection left there.

    Raises ValueError for names that were not asked for and, to keep it, when something that is there is not in the
    archive; nothing was changed then.
    """
    with tarfile.open(archive_path) as archive:
        check_names(archive, allowed)
        if keep:
            check_nothing_is_lost(archive, dest, allowed)
        for name in allowed:
            remove(dest / name)
        for member in archive.getmembers():
            own(member)
            # Other hosts' archives are unpacked at the same time, and tarfile makes missing parents in two steps.
            (dest / member.name).parent.mkdir(parents=True, exist_ok=True)
        # PEP 706's filter does the same and more, but Debian 12's Python (3.11.2) is older than it.
        archive.extractall(dest, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]  # noqa: S202 checked above


def own(member: tarfile.TarInfo) -> None:
    """Let a member belong to who unpacks it, with no rights for others to change it."""
    member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    member.mode &= 0o755


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: items, commands, description and program as in the module pack_files; dest on the controller.

    keep: refuse to let something go that a former collection brought and the host no longer has.
    """

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Pack on the host, fetch over the connection, unpack into dest."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(
            {
                "items": {"type": "list", "elements": "dict", "required": True},
                "commands": {"type": "list", "elements": "dict", "default": []},
                "description": {"type": "str", "required": True},
                "program": {"type": "str", "required": True},
                "dest": {"type": "str", "required": True},
                "keep": {"type": "bool", "default": True},
            }
        )
        dest, keep = Path(options.pop("dest")), options.pop("keep")
        try:
            folder = self._make_tmp_path()
            remote = self._connection._shell.join_path(folder, "collected.tar")  # noqa: SLF001 (how actions do it)
            packed = self._execute_module(
                module_name="pack_files", module_args={**options, "dest": remote}, task_vars=task_vars
            )
            result.update(packed)
            if not packed.get("failed"):
                allowed = [item["into"] for item in options["items"] + options["commands"]] + [options["description"]]
                with tempfile.TemporaryDirectory() as local:
                    archive = Path(local) / "collected.tar"
                    self._connection.fetch_file(remote, str(archive))
                    check_content(archive, packed["sha256"])
                    dest.mkdir(parents=True, exist_ok=True)
                    unpack(archive, dest, allowed, keep=keep)
        except (ValueError, tarfile.TarError) as error:
            result.update(failed=True, msg=str(error))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)  # noqa: SLF001 (how actions do it)
        return result
