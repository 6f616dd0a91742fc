"""Ansible module: keep one run's folder on a host and remove those of former runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import rights_of

DOCUMENTATION = r"""
module: run_folder
short_description: Keep one run's folder on a host and remove those of former runs
description:
  - Files of former runs came back to the controller already; on the hosts they would fill the disk in time.
  - All is done with the owner's rights, as the parent is the owner's and may hold links to anywhere.
options:
  parent: {description: Folder with a folder per run., type: path, required: true}
  run: {description: Name of the run to keep; its folder is made., type: str, required: true}
  owner: {description: User who owns parent and folder., type: str, required: true}
"""

MODE = 0o750


def remove_former(parent: Path, run: str) -> list[str]:
    """Remove all below the parent but the run's folder; returns the names removed."""
    former = sorted(path for path in parent.iterdir() if path.name != run)
    for path in former:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in former]


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "parent": {"type": "path", "required": True},
            "run": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
        },
    )
    parent, run, owner = Path(module.params["parent"]), module.params["run"], module.params["owner"]
    if not parent.is_dir():
        module.fail_json(msg=f"{parent} is not there. Run with --tags deploy first.")
    try:
        with rights_of(owner):
            removed = remove_former(parent, run)
            folder = parent / run
            made = not folder.exists()
            if made:
                folder.mkdir()
                folder.chmod(MODE)
    except (KeyError, OSError) as error:
        module.fail_json(
            msg=f"{parent} cannot be cleared and used with the rights of {owner}: {error}. See what is there and whose it is, "
            "remove what does not belong there, then run again."
        )
    module.exit_json(changed=made or bool(removed), removed=removed)


if __name__ == "__main__":
    main()
