"""Each role says in its argument specs what it takes; defaults, README and code must say the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jinja2
import pytest
import yaml

from tests.project import ROOT, run
from tools import role_docs

ROLES = role_docs.role_folders()
each_role = pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
# A lab backend's own role may say its name; all others must not care who made the hosts.
NOT_FOR_ROLES = re.compile(r"\bgroups\s*[\[.]|\bgroup_names\b|\blab_backend\b|\bembedded\b|\bgns3\b")


def options_of_all_entry_points(role: Path) -> dict[str, Any]:
    return {
        name: option
        for spec in role_docs.argument_specs(role).values()
        for name, option in spec.get("options", {}).items()
    }


def defaults(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def texts(role: Path) -> dict[Path, str]:
    """What a role runs and renders: tasks, handlers, templates and so on, but not its description."""
    return {
        path: path.read_text(encoding="utf-8")
        for folder in ("tasks", "handlers", "templates", "defaults", "vars", "files")
        for path in sorted((role / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@each_role
def test_defaults_are_those_of_the_argument_specs(role: Path) -> None:
    specified = {
        name: option["default"] for name, option in options_of_all_entry_points(role).items() if "default" in option
    }
    assert defaults(role) == specified


@each_role
def test_an_option_is_either_required_or_has_a_default(role: Path) -> None:
    optional = {name for name, option in options_of_all_entry_points(role).items() if not option.get("required")}
    assert optional == set(defaults(role))


@each_role
def test_every_option_is_used(role: Path) -> None:
    code = "\n".join(text for path, text in texts(role).items() if path.parent.name != "defaults")
    unused = [name for name in options_of_all_entry_points(role) if not re.search(rf"\b{name}\b", code)]
    assert unused == []


@each_role
def test_readme_table_is_current(role: Path) -> None:
    readme = (role / "README.md").read_text(encoding="utf-8")
    assert readme == role_docs.renewed_readme(role), "run `make docs`"


@pytest.mark.parametrize(
    "role", [role for role in ROLES if not role.name.startswith("lab_")], ids=lambda role: role.name
)
def test_role_knows_no_group_and_no_backend(role: Path) -> None:
    found = [f"{path}: {match[0]}" for path, text in texts(role).items() for match in NOT_FOR_ROLES.finditer(text)]
    assert found == []


def play_role(
    folder: Path, role: str, entry: str, hosts: dict[str, dict[str, str]], variables: dict[str, str]
) -> CompletedProcess[str]:
    """Plays one entry point of a role on this machine, which stands for the hosts."""
    task = {"ansible.builtin.import_role": {"name": role, "tasks_from": entry}}
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "tasks": [task]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": hosts, "vars": {**here, **variables}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    return run("ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"))


def test_hosts_with_different_keys_are_told_before_they_are_touched(tmp_path: Path) -> None:
    hosts = {name: {"udpxfer_key_source": str(tmp_path / f"{name}.key")} for name in ("one", "two")}
    variables = {
        "udpxfer_source": str(ROOT / "files" / "udpxfer"),
        "udpxfer_zipapp": str(tmp_path / "udpxfer.pyz"),
        "udpxfer_user": "nobody-yet",
    }
    result = play_role(tmp_path, "udpxfer", "main", hosts, variables)
    assert result.returncode != 0
    assert f"two: its key {tmp_path}/two.key is not on the controller" in " ".join(result.stdout.split())
    assert "Make the group" not in result.stdout


def test_a_receiver_can_be_removed_where_nothing_manages_services(tmp_path: Path) -> None:
    (tmp_path / "received" / "RUN").mkdir(parents=True)
    variables = {
        "receiver_service_manager": "openrc",  # known already, so the host is not asked
        "__receiver_manager": "sysvinit",
        "receiver_into": str(tmp_path / "received"),
        "receiver_log_dir": str(tmp_path / "log"),
    }
    result = play_role(tmp_path, "receiver", "remove", {"here": variables}, {})
    assert result.returncode == 0, result.stdout
    assert not (tmp_path / "received").exists()


@pytest.mark.parametrize(("manager", "folder"), [("systemd", "/var/log"), ("openrc", "/var/log/udpxfer")])
def test_root_opens_no_log_in_the_users_folder(manager: str, folder: str) -> None:
    role = next(role for role in ROLES if role.name == "receiver")
    errors = yaml.safe_load((role / "vars" / "main.yml").read_text(encoding="utf-8"))["__receiver_errors"]
    known = {"receiver_log_dir": "/var/log/udpxfer", "__receiver_manager": manager}
    assert str(Path(jinja2.Template(errors).render(known)).parent) == folder
    assert "StandardError=append:{{ __receiver_errors }}" in texts(role)[role / "templates/udpxfer-receiver.service.j2"]
