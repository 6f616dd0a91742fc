"""What every host of a run holds: the program, its user and its key."""

from __future__ import annotations

from testinfra.host import Host

from tests.infra.hostfiles import rights_below

testinfra_hosts = ["ansible://servers", "ansible://clients"]

KEY = "/etc/udpxfer/key"


def test_program_belongs_to_root_and_runs(host: Host) -> None:
    program = "/usr/local/bin/udpxfer"
    assert rights_below(host, program) == {program: ("root:root", "755")}
    assert host.run(f"{program} --version").rc == 0


def test_user_cannot_log_in(host: Host) -> None:
    assert host.user("udpxfer").shell.endswith("nologin")


def test_key_belongs_to_the_user_alone(host: Host) -> None:
    assert rights_below(host, "/etc/udpxfer") == {
        "/etc/udpxfer": ("root:udpxfer", "750"),
        KEY: ("udpxfer:udpxfer", "400"),
    }


def test_only_the_user_can_read_the_key(host: Host) -> None:
    def reads(user: str) -> bool:
        return bool(host.run(f"su -s /bin/sh {user} -c 'cat {KEY} >/dev/null'").succeeded)

    assert reads("udpxfer")
    assert not reads("nobody")


def test_only_root_puts_folders_into_the_state_directory(host: Host) -> None:
    state = "/var/lib/udpxfer"
    assert rights_below(host, state)[state] == ("root:udpxfer", "750")
