"""docs/contributing.md: its examples are followed to the letter on a copy of the project, and must work."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from module_utils import topology

from tests.project import ROOT, environment
from tests.static.documents import Fence, Page

PAGE = Page(ROOT / "docs" / "contributing.md")


def changes(section: str) -> list[Fence]:
    """The changes that a section shows."""
    headings = [fence for fence in PAGE.fences() if fence.language == "diff"]
    text = PAGE.path.read_text(encoding="utf-8").splitlines()
    start = text.index(f"## {section}")
    end = next((number for number in range(start + 1, len(text)) if text[number].startswith("## ")), len(text))
    return [fence for fence in headings if start < fence.place.line <= end]


def apply(change: Fence, folder: Path) -> None:
    """What a reader does: put the lines with a plus where those around them stand."""
    for part in re.split(r"^--- .*\n(?=\+\+\+ )", change.text, flags=re.MULTILINE)[1:]:
        head, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        path = folder / head.split()[1].removeprefix("b/")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] or "\n" for line in lines if line[0] in " -\n")
            new = "".join(line[1:] or "\n" for line in lines if line[0] in " +\n")
            assert text.count(old) == 1 or not text, (
                f"{change.place}: {path.name} does not have these lines once:\n{old}"
            )
            text = text.replace(old, new) if text else new
        path.write_text(text, encoding="utf-8")


def run_in(folder: Path, *command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(folder / "files"), **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_new_mode_is_offered_tagged_and_sends(copy: Path) -> None:
    for change in changes("Add a mode"):
        apply(change, copy)
    run_in(copy, "make", "docs")
    run_in(copy, "ruff", "check", "--quiet", "files", "plugins")
    run_in(copy, "ruff", "format", "--check", "--quiet", "files", "plugins")
    assert "asyncio_threads" in run_in(copy, "ansible-playbook", "run_all.yml", "--list-tags")
    assert "asyncio_threads" in json.loads(run_in(copy, "ansible-inventory", "--host", "alpine-1"))["run_modes"]
    # The project's own tests of each mode: there must be some, or pytest ends with another status.
    run_in(copy, "pytest", "-q", "tests/network/test_transfer.py", "-k", "asyncio_threads")
    run_in(copy, "pytest", "-q", "tests/report/test_formats.py", "-k", "explained")


def test_new_profile_is_on_every_link(copy: Path) -> None:
    for change in changes("Add a profile, or an impairment"):
        apply(change, copy)
    made = topology.load(copy / "inventory/group_vars/all/lab.yml", {"lab_impairment": "dsl"})
    assert {link["to_host"]["rate_mbit"] for link in made["links"]} == {50}
    assert {link["from_host"]["rate_mbit"] for link in made["links"]} == {10}
    run_in(copy, "pytest", "-q", "tests/unit/plugins/test_topology.py", "-k", "dsl")


VIRSH = """\
#!/bin/sh
# Stands for libvirt: machines are files.
cd "$(dirname "$0")/machines"
case "$1" in
list) ls ;;
start) touch "$2" ;;
shutdown) rm "$2" ;;
esac
"""


def test_new_backend_brings_hosts_up_and_down(copy: Path, tmp_path: Path) -> None:
    for change in changes("Add a lab backend"):
        apply(change, copy)
    programs = tmp_path / "programs"
    (programs / "machines").mkdir(parents=True)
    (programs / "virsh").write_text(VIRSH, encoding="utf-8")
    (programs / "virsh").chmod(0o755)
    path = f"{programs}:{environment()['PATH']}"

    def play(playbook: str) -> str:
        return run_in(copy, "ansible-playbook", "-i", "inventory/libvirt.yml", playbook, PATH=path)

    assert "changed=1" in play("playbooks/lab_up.yml")
    assert {path.name for path in (programs / "machines").iterdir()} == {"alpine-1", "alpine-2", "alpine-3"}
    assert "changed=0" in play("playbooks/lab_up.yml")
    play("playbooks/preflight.yml")
    play("playbooks/lab_down.yml")
    assert list((programs / "machines").iterdir()) == []
    run_in(copy, "make", "docs")
    run_in(copy, "pytest", "-q", "tests/static/test_roles.py", "-k", "lab_libvirt")
