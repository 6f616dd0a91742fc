"""Ansible module: several directories with owner and mode in one task."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: directories
short_description: Several directories with owner and mode in one task
description:
  - C(ansible.builtin.file) in a loop costs a module run per directory and host; this costs one.
options:
  directories:
    description: The directories, parents before children.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where., type: path, required: true}
      owner: {description: Owner's name., type: str, required: true}
      group: {description: Group's name., type: str, required: true}
      mode: {description: Mode as octal text., type: str, required: true}
"""

SUBOPTIONS = {
    "path": {"type": "path", "required": True},
    "owner": {"type": "str", "required": True},
    "group": {"type": "str", "required": True},
    "mode": {"type": "str", "required": True},
}


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "dict", "required": True, "options": SUBOPTIONS},
        },
        supports_check_mode=True,
    )
    made, adjusted = [], []
    for wanted in module.params["directories"]:
        path = Path(wanted["path"])
        if path.exists() and not path.is_dir():
            module.fail_json(msg=f"{path} is in the way: a directory is wanted there. Move it away and run again.")
        if not path.exists():
            made.append(str(path))
            if module.check_mode:
                continue  # owner and mode of what is not there cannot be looked at
            path.mkdir(mode=0o700)
        attributes = module.load_file_common_arguments(wanted)
        if module.set_fs_attributes_if_different(attributes, changed=False) and str(path) not in made:
            adjusted.append(str(path))
    module.exit_json(changed=bool(made or adjusted), made=made, adjusted=adjusted)


if __name__ == "__main__":
    main()
