from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from action import compare_run

from tests.unit.plugins import run_folders

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "run.schema.json").read_text())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_folders.make_run(tmp_path / "run")


def compared(folder: Path) -> dict[str, Any]:
    """The result, which must fit the published schema whatever happened."""
    result = compare_run.compare(folder)
    jsonschema.Draft202012Validator(SCHEMA).validate(result)
    return result


def test_all_well(run: Path) -> None:
    result = compared(run)
    assert result["verdict"] == {"passed": True, "reasons": []}
    assert [mode["mode"] for mode in result["modes"]] == list(run_folders.MODES)
    assert [mode["wall_seconds"] for mode in result["modes"]] == [0.25, 0.25]
    assert (result["start"], result["end"]) == (run_folders.START, run_folders.START + 10.25)
    assert result["versions"] == {"ansible": "2.19.14", "python": "3.11.7", "udpxfer": "0.1.0"}


def test_a_transfer_carries_all_digests_and_what_the_engine_measured(run: Path) -> None:
    transfer = compared(run)["modes"][0]["transfers"][1]
    digest = run_folders.digest(run_folders.IMAGES["image2.png"])
    assert transfer["sha256_sent"] == transfer["sha256_received"] == digest
    assert transfer["verified"]
    assert transfer["engine"] == {"seconds": 0.2, "rtt_s": 0.001}


def test_a_journal_that_waits_for_the_senders_last_word_is_no_file_too_many(run: Path) -> None:
    (run / "received/alpine-1/multi_thread/.udpxfer-0123.journal").write_bytes(b"{}\n")
    assert compared(run)["verdict"] == {"passed": True, "reasons": []}


def test_comparing_again_gives_the_same(run: Path) -> None:
    assert compared(run) == compared(run)


def tamper(run: Path) -> None:
    path = run / "received/alpine-3/multi_thread/image2.png"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def truncate(run: Path) -> None:
    (run / "received/alpine-3/multi_thread/image2.png").write_bytes(b"")


def lose(run: Path) -> None:
    (run / "received/alpine-3/multi_thread/image2.png").unlink()


def swap_server(run: Path) -> None:
    path = run / "received/alpine-3/multi_thread/image2.png"
    path.rename(run / "received/alpine-1/multi_thread/image2.png")


def add(run: Path) -> None:
    (run / "received/alpine-1/multi_thread/extra").write_bytes(b"")


def leave_part(run: Path) -> None:
    for suffix in ("part", "journal"):
        (run / f"received/alpine-1/multi_thread/.udpxfer-0123.{suffix}").write_bytes(b"")


def forget_server(run: Path) -> None:
    (run / "logs/alpine-3/host.json").unlink()


def forget_manifest(run: Path) -> None:
    (run / "images/alpine-2/manifest.json").unlink()


def change_result(run: Path, **fields: object) -> None:
    path = run / "logs/alpine-2/multi_thread.json"
    result = json.loads(path.read_text())
    result["transfers"][1].update(fields)
    path.write_text(json.dumps(result))


def report_error(run: Path) -> None:
    error = {"code": "no_answer", "message": "nothing came back", "fix": "start the receiver"}
    change_result(run, error=error, verified=False)


def deny(run: Path) -> None:
    change_result(run, verified=False)


def send_other(run: Path) -> None:
    change_result(run, sha256="0" * 64)


def hang(run: Path) -> None:
    (run / "logs/alpine-2/multi_thread.json").unlink()
    ending = {"exit_status": -9, "timed_out": True, "timeout_s": 60.0, "seconds": 60.0}
    run_folders.write_json(run / "logs/alpine-2/multi_thread.exit.json", ending)


def crash(run: Path) -> None:
    (run / "logs/alpine-2/multi_thread.json").unlink()
    ending = {"exit_status": 1, "timed_out": False, "timeout_s": 60.0, "seconds": 0.1}
    run_folders.write_json(run / "logs/alpine-2/multi_thread.exit.json", ending)


def never_run(run: Path) -> None:
    (run / "logs/alpine-2/multi_thread.json").unlink()
    (run / "logs/alpine-2/multi_thread.exit.json").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (tamper, "multi_thread: image2.png to alpine-3: digests differ (12 of 12 bytes): source "),
        (truncate, "multi_thread: image2.png to alpine-3: digests differ (0 of 12 bytes): source "),
        (lose, "multi_thread: image2.png to alpine-3: the file did not come back from the server"),
        (swap_server, "received/alpine-1/multi_thread/image2.png: nobody was to send it"),
        (add, "received/alpine-1/multi_thread/extra: nobody was to send it"),
        (leave_part, "received/alpine-1/multi_thread/.udpxfer-0123.part: nobody was to send it"),
        (forget_server, "alpine-3: no files came back; it was not reached or not deployed"),
        (forget_manifest, "image2.png: the client's manifest does not name it"),
        (report_error, "multi_thread: image2.png to alpine-3: no_answer: nothing came back; start the receiver"),
        (deny, "multi_thread: image2.png to alpine-3: the receiver did not confirm it"),
        (send_other, "multi_thread: image2.png to alpine-3: digests differ (12 of 12 bytes): source "),
        (hang, "multi_thread: alpine-2: the client was stopped after 60 s (transfer_timeout_s); see logs/alpine-2/"),
        (crash, "multi_thread: alpine-2: the client ended with status 1 and wrote no result; see logs/alpine-2/"),
        (never_run, "multi_thread: alpine-2 did not run the client, or nothing came back from it"),
    ],
)
def test_whatever_is_wrong_fails_the_run_and_is_named(run: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(run)
    verdict = compared(run)["verdict"]
    assert not verdict["passed"]
    assert any(text.startswith(reason) for text in verdict["reasons"]), verdict["reasons"]


def test_other_modes_keep_their_results_when_one_hangs(run: Path) -> None:
    hang(run)
    assert [mode["passed"] for mode in compared(run)["modes"]] == [True, False]


def test_a_run_without_modes_does_not_pass(run: Path) -> None:
    run_folders.write_json(run / "plan.json", {**run_folders.plan(), "modes": []})
    assert "no mode ran" in compared(run)["verdict"]["reasons"]


def test_a_folder_without_a_run_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(compare_run.RunError, match=r"holds no run.*run_all\.yml"):
        compare_run.compare(tmp_path)


def test_broken_json_is_an_error_that_names_the_file(run: Path) -> None:
    (run / "logs/alpine-2/multi_thread.json").write_text('{"start": ')
    with pytest.raises(compare_run.RunError, match=r"multi_thread\.json is no JSON.*--tags collect"):
        compare_run.compare(run)
