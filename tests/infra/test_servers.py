"""What a run leaves on its servers: the right files, a receiver that still listens, and its log."""

from __future__ import annotations

import json

from testinfra.host import Host

from tests.infra.conftest import Run
from tests.infra.hostfiles import digests_below, rights_below

testinfra_hosts = ["ansible://servers"]

SERVICE = "udpxfer-receiver"
RECEIVED = "/var/lib/udpxfer/received"
LOG = "/var/log/udpxfer/receiver.log"


def test_what_was_sent_arrived_and_nothing_else(host: Host, the_run: Run) -> None:
    expected = {
        f"{mode}/{transfer['image']}": the_run.digests[transfer["image"]]
        for mode, transfer in the_run.transfers("server", host)
    }
    found = digests_below(host, f"{RECEIVED}/{the_run.run_id}")
    # The journal of a complete file stays for a minute when the sender's last word was lost (docs/protocol.md).
    assert {path: digest for path, digest in found.items() if not path.endswith(".journal")} == expected


def test_received_files_are_the_users_alone(host: Host, the_run: Run) -> None:
    folder = f"{RECEIVED}/{the_run.run_id}"
    modes = {mode for mode, _ in the_run.transfers("server", host)}
    rights = rights_below(host, RECEIVED)
    assert {owner for owner, _ in rights.values()} == {"udpxfer:udpxfer"}
    assert [path for path, (_, mode) in rights.items() if int(mode, 8) & 0o007] == []
    assert {rights[path][1] for path in (RECEIVED, folder, *(f"{folder}/{mode}" for mode in modes))} == {"750"}


def test_receiver_is_enabled_and_listens(host: Host, the_run: Run) -> None:
    service = host.service(SERVICE)
    assert service.is_enabled
    assert service.is_running
    ports = {transfer["receiver"].rpartition(":")[2] for _, transfer in the_run.transfers("server", host)}
    listening = {
        socket.rpartition(":")[2] for socket in host.socket.get_listening_sockets() if socket.startswith("udp://")
    }
    assert ports <= listening


def test_receiver_runs_without_privileges(host: Host) -> None:
    users = host.check_output("for p in $(pgrep -f '[u]dpxfer receive'); do stat -c %U /proc/$p; done").split()
    assert users
    assert "udpxfer" in users


def test_log_is_json_lines_and_not_for_others(host: Host, the_run: Run) -> None:
    assert rights_below(host, LOG) == {LOG: ("udpxfer:udpxfer", "640")}
    events = [json.loads(line) for line in host.check_output(f"cat {LOG}").splitlines()]
    assert all(isinstance(event["time"], (int, float)) and isinstance(event["event"], str) for event in events)
    stored = [event for event in events if event["event"] == "stored" and f"{the_run.run_id}/" in json.dumps(event)]
    assert len(stored) == len(the_run.transfers("server", host))
