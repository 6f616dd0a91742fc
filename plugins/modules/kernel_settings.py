"""Ansible module: see that kernel settings are at least so large, now and after a boot."""

from __future__ import annotations

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import put_file

DOCUMENTATION = r"""
module: kernel_settings
short_description: See that kernel settings are at least so large, now and after a boot
description:
  - A setting that is large enough is left alone. The others are set and written into a file of C(/etc/sysctl.d), with their former values.
  - A host that shares its kernel with others (a container) may refuse; that is no failure, and RV(refused) says which and why.
options:
  file: {description: File that sets them at boot., type: path, required: true}
  at_least: {description: 'Numbers by name. What is not named, or no more, is left alone.', type: dict, default: {}}
  state:
    description: V(absent) gives the settings in the file their former values, unless they were changed since, and removes it.
    type: str
    choices: [present, absent]
    default: present
"""

PROC = Path("/proc/sys")
HEADER = "# Written by Ansible. Former values, for removal:\n"
FORMER = "# former "


def setting(name: str) -> Path:
    """Where the kernel shows a setting."""
    return PROC / name.replace(".", "/")


def values_in(text: str, prefix: str = "") -> dict[str, int]:
    """Our values as the file keeps them, or with the prefix FORMER those before."""
    lines = re.findall(rf"^{prefix}([\w.]+) = (\d+)$", text, re.MULTILINE)
    return {name: int(value) for name, value in lines}


def file_text(values: dict[str, int], former: dict[str, int]) -> str:
    """The file of /etc/sysctl.d."""
    kept = "".join(f"{FORMER}{name} = {value}\n" for name, value in sorted(former.items()))
    return HEADER + kept + "".join(f"{name} = {value}\n" for name, value in sorted(values.items()))


def write(name: str, value: int) -> str | None:
    """Set it now; returns why that was refused."""
    try:
        setting(name).write_text(f"{value}\n")
    except OSError as error:
        return error.strerror
    return None


def raise_settings(module: AnsibleModule, file: Path, wanted: dict[str, int]) -> None:
    """Raise what is too small and keep it so."""
    text = file.read_text() if file.exists() else ""
    ours, former = values_in(text), values_in(text, FORMER)
    current = {name: int(setting(name).read_text()) for name in wanted if setting(name).exists()}
    refused = {name: "this kernel has no such setting here" for name in wanted if name not in current}
    small = {name for name, value in current.items() if value < wanted[name]}
    if not module.check_mode:
        refused.update({name: why for name in sorted(small) if (why := write(name, wanted[name])) is not None})
    former.update({name: current[name] for name in small - refused.keys() - former.keys()})
    # Ours stay in the file, although they are large enough now, or not asked for any more.
    granted = former.keys() & wanted.keys() - refused.keys()
    ours.update({name: max(wanted[name], ours.get(name, 0)) for name in granted})
    after = file_text(ours, former) if former else ""
    if after != text and not module.check_mode:
        file.parent.mkdir(exist_ok=True)
        put_file(file, after.encode(), 0o644)
    if refused:
        module.warn(
            "The host refuses larger socket buffers ("
            + ", ".join(f"{name}: {why}" for name, why in sorted(refused.items()))
            + "), so fast transfers may lose more datagrams and be slower. Set them where the host's kernel is managed."
        )
    diff = {"before_header": str(file), "after_header": str(file), "before": text, "after": after}
    module.exit_json(changed=after != text, refused=refused, current=current, diff=diff)


def restore(module: AnsibleModule, file: Path) -> None:
    """Give the settings their former values and remove the file."""
    if not file.exists():
        module.exit_json(changed=False)
    text = file.read_text()
    if not module.check_mode:
        ours = values_in(text)
        for name, value in values_in(text, FORMER).items():
            if setting(name).exists() and int(setting(name).read_text()) == ours.get(name):
                write(name, value)
        file.unlink()
    module.exit_json(changed=True, diff={"before_header": str(file), "before": text, "after": ""})


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "required": True},
            "at_least": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    file = Path(module.params["file"])
    if module.params["state"] == "absent":
        restore(module, file)
    raise_settings(module, file, {name: int(value) for name, value in module.params["at_least"].items()})


if __name__ == "__main__":
    main()
