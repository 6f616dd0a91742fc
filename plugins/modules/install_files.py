"""Ansible module: several small files and directories with owner and mode in one task."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import put_file

DOCUMENTATION = r"""
module: install_files
short_description: Several small files and directories with owner and mode in one task
description:
  - Brings them about, or with O(entries[].state=absent) takes them away.
  - C(ansible.builtin.file) and C(ansible.builtin.copy) cost one or two module runs per file and host; this costs one for all.
  - The content travels with the task, so files should be small (some hundred kilobytes).
options:
  entries:
    description: What is wanted, parents before children. An entry without content is a directory.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where., type: path, required: true}
      content: {description: A file's text., type: str}
      content_base64: {description: 'A file''s bytes in base64; never logged.', type: str}
      owner: {description: Owner's name., type: str}
      group: {description: Group's name., type: str}
      mode: {description: Mode as octal text., type: str}
      state:
        description: V(absent) removes a file, or a directory with all in it; V(empty_absent) a directory only when nothing is left in it.
        type: str
        choices: [present, absent, empty_absent]
        default: present
"""

SUBOPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "content_base64": {"type": "str", "no_log": True},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "empty_absent"], "default": "present"},
}


def wanted_bytes(entry: dict[str, Any]) -> bytes | None:
    """A file's content, None for a directory."""
    if entry["content_base64"] is not None:
        return base64.b64decode(entry["content_base64"])
    return None if entry["content"] is None else str(entry["content"]).encode()


def obstacle(path: Path, content: bytes | None) -> str | None:
    """What stands where something else is wanted, None when the way is free."""
    if content is None and os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        return f"{path} is in the way: a directory is wanted there, no file and no link. Move it away and run again."
    if content is not None and path.is_dir():
        return f"{path} is in the way: a file is wanted there. Move the directory away and run again."
    return None


def text_of(content: bytes | None) -> str:
    """A file's content for a diff: nothing of what is no text."""
    try:
        return (content or b"").decode()
    except UnicodeDecodeError:
        return f"(binary, {len(content or b'')} bytes)\n"


def remove(module: AnsibleModule, path: Path, only_empty: bool) -> dict[str, Any] | None:
    """Take a file or directory away; returns its diff, None when it is not there (or not empty, if that is asked)."""
    if not os.path.lexists(path) or (only_empty and any(path.iterdir())):
        return None
    is_directory = path.is_dir() and not path.is_symlink()
    if not module.check_mode:
        if is_directory:
            shutil.rmtree(path)
        else:
            path.unlink()
    what = "directory with all in it" if is_directory else "file"
    return {"before_header": str(path), "after_header": str(path), "before": f"({what})\n", "after": ""}


def install(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, Any] | None:
    """Bring one entry about; returns its diff, None when nothing was to be done."""
    path, content = Path(entry["path"]), wanted_bytes(entry)
    if entry["state"] != "present":
        return remove(module, path, entry["state"] == "empty_absent")
    if (problem := obstacle(path, content)) is not None:
        module.fail_json(msg=problem)
    before = path.read_bytes() if path.is_file() else None
    is_new = not path.exists()
    differs = is_new or content != before
    if differs and not module.check_mode:
        if content is None:
            path.mkdir(mode=0o700)
        else:
            put_file(path, content)  # for its owner only, until its mode is set
    # In check mode there are no owner and mode to look at where nothing is yet.
    attributes = {} if is_new and module.check_mode else module.load_file_common_arguments(entry)
    adjusted = bool(attributes) and module.set_fs_attributes_if_different(attributes, changed=False)
    if not (differs or adjusted):
        return None
    header = f"{path} ({entry['owner']}:{entry['group']} {entry['mode']})"
    return {
        "before_header": str(path),
        "after_header": header,
        "before": text_of(before),
        "after": text_of(content),
    }


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": SUBOPTIONS,
                "mutually_exclusive": [("content", "content_base64")],
                "required_if": [("state", "present", ("owner", "group", "mode"))],
            },
        },
        supports_check_mode=True,
    )
    diffs = [diff for diff in (install(module, entry) for entry in module.params["entries"]) if diff]
    # Without what was asked for: a program in base64 or a key has no place in a result.
    module.params = {}
    module.exit_json(changed=bool(diffs), diff=diffs if module._diff else [])  # noqa: SLF001 (how modules do it)


if __name__ == "__main__":
    main()
