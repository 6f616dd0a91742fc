"""Playbooks and inventories, as far as Ansible can judge them without a host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from udpxfer.modes import MODES

from tests.project import ROOT, environment, run
from tools import mode_docs, role_docs

PLAYBOOKS = [ROOT / "run_all.yml", *sorted((ROOT / "playbooks").glob("*.yml"))]
EXAMPLE = ROOT / "inventory" / "real.example.yml"
INVENTORIES = sorted((ROOT / "inventory").glob("*.yml"))
LOCALHOST_FIRST = (
    "run_all.yml",
    *(f"playbooks/{name}.yml" for name in ("compare", "lab_up", "report", "scenario", "sweep")),
)


def tags_of(entry: dict[str, object]) -> list[str]:
    tags = entry.get("tags", [])
    return [tags] if isinstance(tags, str) else list(tags)  # type: ignore[call-overload]


def test_every_playbook_parses() -> None:
    result = run("ansible-playbook", "--syntax-check", *map(str, PLAYBOOKS))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.name)
def test_inventory_has_servers_clients_and_every_mode(inventory: Path) -> None:
    result = run("ansible-inventory", "-i", str(inventory), "--list")
    assert result.returncode == 0, result.stdout
    groups = json.loads(result.stdout)
    assert groups["servers"]["hosts"]
    assert groups["clients"]["hosts"]
    assert {tuple(host["run_modes"]) for host in groups["_meta"]["hostvars"].values()} == {tuple(MODES)}


def test_every_optional_variable_of_the_example_takes_effect(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    options = dict(re.findall(r"^ +# (\w+): (\d+)(?: +#|$)", text, re.MULTILINE)) | {"udpxfer_address": "198.51.100.11"}
    assert {"udpxfer_port", "images_max_bytes"} <= options.keys()
    wanted = {name: int(value) + 1 if value.isdigit() else value for name, value in options.items()}
    for name, value in wanted.items():
        text = re.sub(rf"# {name}: [\w.]+", f"{name}: {value}", text)
    (tmp_path / "group_vars").symlink_to(EXAMPLE.parent / "group_vars")
    (tmp_path / "real.yml").write_text(text, encoding="utf-8")
    result = run("ansible-inventory", "-i", str(tmp_path / "real.yml"), "--list")
    assert result.returncode == 0, result.stdout
    server = json.loads(result.stdout)["_meta"]["hostvars"]["server-1"]
    assert {name: server.get(name) for name in wanted} == wanted


def test_each_of_a_class_has_a_project_of_its_own() -> None:
    own = ("-e", "lab_id=ann", "-e", "lab_first_host=21", "-e", "lab_gns3_web=192.168.122.1:8021")
    result = run("ansible-inventory", "-i", "inventory/gns3.yml", "--list", *own)
    assert result.returncode == 0, result.stdout
    hosts = json.loads(result.stdout)["_meta"]["hostvars"]
    assert {host["lab_gns3_project"] for host in hosts.values()} == {"udpxfer-ann"}
    assert sorted(host["ansible_host"] for host in hosts.values()) == [f"192.168.122.{n}" for n in (21, 22, 23)]
    assert all("192.168.122.1:8021" in str(host) for host in hosts.values())


def test_a_lab_with_another_network_has_its_images_there() -> None:
    nat = '{"lab_nat": {"name": "N", "address": "10.9.0.1/24"}}'
    result = run("ansible", "-i", "inventory/lab.yml", "-e", nat, "localhost", "-m", "debug", "-a", "var=image_urls")
    assert result.returncode == 0, result.stdout
    assert re.findall(r"http://\S+", result.stdout) == ["http://10.9.0.1/image1.jpg", "http://10.9.0.1/image2.png"]


def test_own_hosts_need_addresses_of_images(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "group_vars").symlink_to(EXAMPLE.parent / "group_vars")
    (tmp_path / "real.yml").write_text(re.sub(r" +image_urls:(\n +- .*)+", "    other: 1", text), encoding="utf-8")
    result = run("ansible-playbook", "-i", str(tmp_path / "real.yml"), "playbooks/preflight.yml")
    assert result.returncode != 0
    assert "image_urls must be a list with at least one address" in result.stdout


def test_hosts_of_two_inventories_need_one_key(tmp_path: Path) -> None:
    (tmp_path / "group_vars").symlink_to(EXAMPLE.parent / "group_vars")
    (tmp_path / "s.yml").write_text("servers: {hosts: {one: {image_urls: [http://192.0.2.1/a.png]}}}", encoding="utf-8")
    (tmp_path / "c.yml").write_text("clients: {hosts: {two: {}}}", encoding="utf-8")
    both = ("-i", str(tmp_path / "s.yml"), "-i", str(tmp_path / "c.yml"))
    result = run("ansible-playbook", *both, "playbooks/preflight.yml")
    assert result.returncode != 0
    assert re.search(r"different keys \(\S+/\.secrets/c\.key and \S+/\.secrets/s\.key\)", result.stdout)
    named = run("ansible-playbook", *both, "playbooks/preflight.yml", "-e", f"udpxfer_key_source={tmp_path / 'key'}")
    assert "different keys" not in named.stdout


def test_a_main_job_for_another_playbook_gets_the_command_line_of_that_one(tmp_path: Path) -> None:
    file = tmp_path / "more.yml"
    file.write_text("udpxfer_port: 9100\n", encoding="utf-8")
    images = '{"image_urls": ["http://{{ lab_nat.address }}/a.png"]}'
    given = ["transfer_repeats=5 lab_impairment=lan", images, f"@{file}"]
    own = '{"run_variables": {"lab_impairment": "wan"}}'
    options = [option for value in (*given, own) for option in ("-e", value)]
    show = ("localhost", "-m", "ansible.builtin.debug", "-a", "msg={{ run_command | to_json }}")
    result = run(
        "ansible", "-i", "inventory/lab.yml", *show, *options, env=environment(ANSIBLE_CALLBACK_RESULT_FORMAT="json")
    )
    assert result.returncode == 0, result.stdout
    command = json.loads(json.loads(result.stdout.partition("=>")[2])["msg"])
    assert command[:3] == ["ansible-playbook", f"--inventory={ROOT / 'inventory' / 'lab.yml'}", "run_all.yml"]
    assert command[3:-1] == [f"--extra-vars={value}" for value in (*given, own)]
    last = json.loads(command[-1].removeprefix("--extra-vars="))  # the last one wins
    assert last == {"lab_impairment": "wan", "lab_controller_pid": last["lab_controller_pid"]}


@pytest.mark.parametrize(
    ("playbook", "options", "told"),
    [
        *((name, ("--limit", "clients"), "--limit leaves out localhost, ") for name in LOCALHOST_FIRST),
        ("run_all.yml", ("--skip-tags", "always"), "--skip-tags always leaves out the check "),
        ("run_all.yml", ("--skip-tags", "tagged"), "--skip-tags tagged leaves out the check "),
    ],
)
def test_options_that_leave_out_too_much_are_told(playbook: str, options: tuple[str, ...], told: str) -> None:
    result = run("ansible-playbook", "-i", "inventory/lab.yml", playbook, *options)
    assert result.returncode != 0
    assert told in result.stdout
    assert "TASK" not in result.stdout


def test_main_job_only_imports_playbooks() -> None:
    entries = yaml.safe_load((ROOT / "run_all.yml").read_text(encoding="utf-8"))
    assert {key for entry in entries for key in entry} <= {"name", "ansible.builtin.import_playbook", "tags", "vars"}


def test_main_job_has_a_tag_for_each_mode_in_their_order() -> None:
    entries = yaml.safe_load((ROOT / "run_all.yml").read_text(encoding="utf-8"))
    of_modes = [tag for entry in entries for tag in tags_of(entry) if re.match(r"(single|multi)_", tag)]
    assert tuple(dict.fromkeys(of_modes)) == tuple(MODES)


def test_modes_are_spelled_out_where_they_must() -> None:
    current = {path: (ROOT / path).read_text(encoding="utf-8") for path in mode_docs.renewed()}
    assert mode_docs.renewed() == current, "run `make docs`"


def variables_of_inventories() -> dict[str, str]:
    """Each variable of the inventories and where it stands."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "inventory").rglob("*.yml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content = content if "group_vars" in path.parts else content.get("vars", {})
        found |= dict.fromkeys(content, str(path.relative_to(ROOT)))
    return found


def test_every_variable_is_used() -> None:
    """By a playbook, a role's input of that name, another variable or a plugin; Ansible's own begin with ansible_."""
    files = [path for folder in ("inventory", "playbooks", "plugins") for path in (ROOT / folder).rglob("*.*")]
    files += ROOT.glob("roles/*/meta/argument_specs.yml")
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix in {".py", ".yml"})
    uses = re.sub(r"^\s*#.*$|^\w+:", "", text, flags=re.MULTILINE)  # neither a remark nor its own definition
    own = {name: place for name, place in variables_of_inventories().items() if not name.startswith("ansible_")}
    assert [f"{place}: {name}" for name, place in own.items() if not re.search(rf"\b{name}\b", uses)] == []


def test_playbooks_give_roles_only_what_they_take() -> None:
    inputs = {role.name: role_docs.argument_specs(role) for role in role_docs.role_folders()}
    strange = []
    for path in PLAYBOOKS:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            for entry in play.get("roles", []):
                known = {name for spec in inputs.get(entry["role"], {}).values() for name in spec.get("options", {})}
                strange += [f"{path.name}: {name}" for name in entry.get("vars", {}) if known and name not in known]
    assert strange == []
