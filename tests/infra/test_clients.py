"""What a run leaves on its clients: the images they downloaded, and a result and a log for each mode."""

from __future__ import annotations

import json

from testinfra.host import Host

from tests.infra.conftest import Run
from tests.infra.hostfiles import digests_below, rights_below

testinfra_hosts = ["ansible://clients"]

IMAGES = "/var/lib/udpxfer/images"
SENT = "/var/lib/udpxfer/sent"


def test_images_are_those_of_the_run(host: Host, the_run: Run) -> None:
    wanted = {transfer["image"] for _, transfer in the_run.transfers("client", host)}
    found = digests_below(host, IMAGES)
    assert {image: found.get(image) for image in wanted} == {image: the_run.digests[image] for image in wanted}


def test_every_mode_has_a_good_result_and_a_log(host: Host, the_run: Run) -> None:
    for mode in {mode for mode, _ in the_run.transfers("client", host)}:
        output = host.check_output(
            f"cd {SENT}/{the_run.run_id} && cat {mode}.json && echo && echo LOG && cat {mode}.log"
        )
        result, _, log = output.partition("\nLOG\n")
        assert json.loads(result)["ok"]
        assert all(isinstance(json.loads(line)["event"], str) for line in log.splitlines())
        assert log


def test_results_are_the_users(host: Host) -> None:
    rights = {**rights_below(host, SENT), **rights_below(host, IMAGES)}
    assert {owner for owner, _ in rights.values()} == {"udpxfer:udpxfer"}
    assert [path for path, (_, mode) in rights.items() if int(mode, 8) & 0o002] == []
