"""README and docs: every command that a reader may copy is run by a test of the suite."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest
from udpxfer.modes import MODES

from tests.project import ROOT, environment, run
from tests.static.documents import PAGES, words_of

# Which test runs a command. `make X` is looked up as what make would run for it, without preparations and environment,
# and an inventory's option stands first. A pattern fits a whole command; the options and variables of the command must
# stand in the test's file too.
MODE = "|".join(MODES)
MAIN_JOB = "tests/lab/test_main_job.py"
GNS3 = "tests/gns3/full/test_main_job.py"
CONDITIONS = "tests/lab/test_conditions.py"
FAILURES = "tests/lab/test_failures.py"
OPTIONS = "tests/lab/test_options.py"
PROGRAM = "tests/lab/test_lab_embedded.py"
RUN_BY = {
    r"ansible-playbook run_all\.yml": f"{MAIN_JOB}::test_main_job_succeeds",
    rf"ansible-playbook run_all\.yml --tags ({MODE})": f"{MAIN_JOB}::test_one_tag_runs_one_mode",
    r"ansible-playbook run_all\.yml --tags (report|compare|collect)": f"{MAIN_JOB}::test_one_tag_is_enough_for_the_other_steps",
    r"ansible-playbook run_all\.yml --check --diff": f"{MAIN_JOB}::test_check_mode_works_on_bare_hosts_and_changes_none",
    r"ansible-playbook playbooks/lab_up\.yml": f"{MAIN_JOB}::test_check_mode_works_on_bare_hosts_and_changes_none",
    r"ansible-playbook( -e lab_id=main)? playbooks/lab_down\.yml": f"{MAIN_JOB}::test_down_leaves_nothing",
    r"pytest tests/infra --ansible-inventory=inventory/(lab|real)\.yml": f"{MAIN_JOB}::test_infra_checks_pass",
    r"ansible-playbook run_all\.yml -e transfer_repeats=\d+": f"{OPTIONS}::test_more_servers_impairment_and_repeats",
    r"ansible-playbook playbooks/compare_runs\.yml -e .*": f"{OPTIONS}::test_make_compare_sees_no_difference_of_a_run_to_itself",
    # Own hosts.
    r"ansible-playbook -i inventory/real\.yml run_all\.yml": f"{FAILURES}::test_an_inventory_made_from_the_example_works",
    r"ansible-playbook -i inventory/real\.yml run_all\.yml --check": f"{MAIN_JOB}::test_check_mode_works_on_bare_hosts_and_changes_none",
    r"ansible-playbook -i inventory/real\.yml playbooks/remove\.yml": f"{MAIN_JOB}::test_removal_leaves_the_hosts_as_they_were",
    r"ansible-playbook -i inventory/real\.yml run_all\.yml -e udpxfer_key_rotate=true": f"{MAIN_JOB}::test_one_variable_gives_every_host_a_new_key",
    r"ansible-vault encrypt \.secrets/real\.key": f"{MAIN_JOB}::test_a_locked_key_is_the_same_key",
    r"ansible-playbook -i inventory/real\.yml run_all\.yml --ask-vault-pass": f"{MAIN_JOB}::test_a_locked_key_is_the_same_key",
    # The embedded lab.
    r"ansible-playbook run_all\.yml -e lab_impairment=\w+": f"{OPTIONS}::test_more_servers_impairment_and_repeats",
    r"ansible-playbook run_all\.yml -e lab_servers=\d+": f"{OPTIONS}::test_more_servers_impairment_and_repeats",
    r"ansible-playbook playbooks/sweep\.yml( -e '\{sweep_profiles: .*)?": f"{CONDITIONS}::test_sweep_runs_modes_under_each_profile",
    r"ansible-playbook playbooks/scenario\.yml -e scenario_failure=\w+": f"{CONDITIONS}::test_transfer_survives_the_failure_of_its_server",
    r"make status( ARGS=--json)?": f"{CONDITIONS}::test_make_status_tells_hosts_and_links",
    r"make ssh( HOST=alpine-1)?": f"{OPTIONS}::test_make_ssh_opens_a_shell",
    r"make exec HOST=alpine-1 CMD=.*": f"{CONDITIONS}::test_make_exec_runs_a_command_and_tells_its_status",
    r"make impair PROFILE=\w+( ARGS=.*)?": f"{CONDITIONS}::test_make_impair_sets_and_resets",
    r"make link HOST=alpine-3 STATE=down": f"{CONDITIONS}::test_make_link_pulls_and_plugs",
    r"make capture HOST=alpine-2 STATE=start": f"{CONDITIONS}::test_make_capture_leaves_a_pcap_file_in_the_results",
    r"make graph": f"{CONDITIONS}::test_make_graph_draws_the_topology",
    r"(ssh|scp) -F \.lab/\w+/ssh_config alpine-\d\S*( \.)?": f"{PROGRAM}::test_hosts_are_bare_alpine_with_openrc",
    r"(echo '.*' \| )?python3 roles/lab_embedded/files/lab\.py (up|status|down) \.lab/mine": f"{PROGRAM}::test_down_leaves_nothing",
    # GNS3.
    r"ansible-playbook -i inventory/gns3\.yml run_all\.yml": f"{GNS3}::test_main_job_succeeds_in_all_modes",
    r"pytest tests/infra --ansible-inventory=inventory/gns3\.yml": f"{GNS3}::test_infra_checks_pass",
    r"ansible-playbook -i inventory/gns3\.yml playbooks/lab_link\.yml .*": f"{GNS3}::test_cable_is_pulled_and_plugged",
    r"ansible-playbook -i inventory/gns3\.yml playbooks/lab_impair\.yml .*": f"{GNS3}::test_impairment_is_set_and_reset",
    r"ansible-playbook -i inventory/gns3\.yml playbooks/lab_capture\.yml .*": f"{GNS3}::test_lossy_run_passes_and_capture_shows_it",
    r"docker build -t udpxfer-lab-alpine gns3/": f"{GNS3}::test_main_job_succeeds_in_all_modes",
    r"ansible-playbook -i inventory/gns3\.yml run_all\.yml -e lab_id=.*": "tests/static/test_playbooks.py::test_each_of_a_class_has_a_project_of_its_own",
    # The program and its tools.
    r"python -m bench\.hosts": "tests/unit/bench/test_hosts.py::test_namespaces_are_swept_with_what_runs_there",
    r"python -m bench --scale servers": f"{OPTIONS}::test_bench_with_more_and_more_servers",
    r"python -m bench --scale sessions": f"{OPTIONS}::test_bench_with_more_and_more_sessions",
    r"python -m bench --networks veth .*": f"{OPTIONS}::test_bench_beside_other_programs",
    r"udpxfer keygen( KEYFILE)?": "tests/unit/udpxfer/test_keys.py::test_a_new_key_is_private_and_loads",
    r"udpxfer (send|receive .*|send FILE=HOST:9000 .*)": "tests/unit/tools/test_release.py::test_the_one_file_is_all_a_transfer_takes",
    r"ansible-builder create": "tests/static/test_execution_environment.py::test_builder_makes_a_build_context",
    r"python tools/release\.py": "tests/unit/tools/test_release.py::test_zipapp_and_wheel_run",
}
# Quick, and in need of nothing but a copy of the project: run by this file.
TRIED_HERE = {
    "make help",
    "make clean",
    "make docs",
    "cp inventory/real.example.yml inventory/real.yml",
}
# They run tests, or make what these tests need.
RUN_BEFORE = {
    r"make (test|lint|test-gns3|soak|fuzz|matrix)( ARGS=.*)?",
    r"python -m tests\.simulation .*",
    r"make lock",
}
# Whether they work is the business of other programs, which are not here or would change the machine.
OF_OTHERS = {
    r"ansible-(builder build|navigator run) .*",
    r"apt(-get)? install [\w. +-]+",
    r"pip install [\w -]+",
    r"virsh net-start default( && virsh net-autostart default)?",
}

BY_HAND = {"--ask-vault-pass"}  # asks at a terminal; the test gives the same by a file
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

# Measurements of minutes; tests run the same program with less to do.
TOO_LONG = {r"python -m bench( --(goodput|fairness|networks dsl|scale (sizes|rtt)).*)?"}

COMMANDS = [(place, command) for page in PAGES for place, command in page.commands()]


@functools.cache
def made_by(command: str) -> list[str]:
    """What `make ...` would run."""
    result = run(*words_of(command), "--dry-run")
    assert result.returncode == 0, result.stdout
    lines = result.stdout.replace("\\\n", " ").splitlines()
    without_environment = [re.sub(r'^(PATH="[^"]*" |PYTHONPATH=\S+ )+', "", line) for line in lines]
    return [" ".join(line.split()) for line in without_environment if not line.startswith(("tools/", "test -n"))]


def steps_of(command: str) -> list[str]:
    """A documented command as it is looked up."""
    command = re.sub(r"^(sudo )?(\.venv/bin/)?", "", command)
    steps = made_by(command) if command.startswith("make ") else [command]
    return [re.sub(r"^ansible-playbook (.*) (-i \S+)", r"ansible-playbook \2 \1", step) for step in steps]


def fits(patterns: set[str], command: str) -> bool:
    return any(re.fullmatch(pattern, command) for pattern in patterns)


def proof_of(step: str) -> str | None:
    """The test that runs a command."""
    return next((test for pattern, test in RUN_BY.items() if re.fullmatch(pattern, step)), None)


def without_proof(command: str) -> list[str]:
    """What of a command no test runs."""
    if command in TRIED_HERE or fits(RUN_BEFORE, command) or proof_of(command):
        return []
    return [step for step in steps_of(command) if not proof_of(step) and not fits(OF_OTHERS | TOO_LONG, step)]


def test_every_command_is_run_by_a_test() -> None:
    unknown = [f"{place}: {command}: {step}" for place, command in COMMANDS for step in without_proof(command)]
    assert not unknown, "\n".join(["enter the test that runs it in RUN_BY, or the command in TRIED_HERE", *unknown])


def test_no_entry_is_left_over() -> None:
    steps = {step for _, command in COMMANDS if command not in TRIED_HERE for step in steps_of(command)}
    commands = {command for _, command in COMMANDS}
    for pattern in {*RUN_BY, *RUN_BEFORE, *OF_OTHERS, *TOO_LONG}:
        assert any(re.fullmatch(pattern, text) for text in steps | commands), pattern
    assert commands >= TRIED_HERE


@pytest.mark.parametrize("name", sorted(set(RUN_BY.values())))
def test_named_tests_exist(name: str) -> None:
    file, _, function = name.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def text_of(proof: str) -> str:
    """What the test's file has, with the recipes of the targets of make that it calls."""
    text = (ROOT / proof.partition("::")[0]).read_text(encoding="utf-8")
    for target in re.findall(r'run\("make", "([\w-]+)"', text):
        text += "".join(re.findall(rf"^{target}:.*\n(?:\t.*\n)+", MAKEFILE, flags=re.MULTILINE))
    return text


def test_named_tests_use_what_the_command_names() -> None:
    """A playbook, an option or a variable that the test's file does not have is not tested there."""
    missing = []
    for place, command in COMMANDS:
        for step in steps_of(command):
            if proof := proof_of(step):
                named = set(re.findall(r"playbooks/\w+\.yml|(?<=\s)--[a-z-]+|(?<=-e )\w+(?==)", step)) - BY_HAND
                missing += [f"{place}: {command}: {name}: {proof}" for name in named if name not in text_of(proof)]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("command", sorted(TRIED_HERE))
def test_quick_command_works(command: str, copy: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", command], cwd=copy, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
