"""The modes: a result for every job, whatever becomes of the process that had it."""

from __future__ import annotations

import os
import signal

import pytest
from udpxfer import modes
from udpxfer.io.client import Job, Result


def send(job: Job) -> Result:
    """Die with the job `killed`, succeed with any other."""
    if job.path == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(file=job.path, receiver=job.receiver, start=0.0, verified=True)


@pytest.mark.parametrize("mode", [mode for mode in modes.MODES if "process" in mode])
def test_a_killed_process_costs_its_own_job_only(mode: str) -> None:
    jobs = [Job(name, "nobody:1") for name in ("first", "killed", "last")]
    results = modes.run(mode, jobs, send)
    assert [result.file for result in results] == ["first", "killed", "last"]
    assert [result.verified for result in results] == [True, False, True]
    assert results[1].error is not None


@pytest.mark.parametrize("mode", modes.MODES)
def test_results_come_in_the_order_of_the_jobs(mode: str) -> None:
    jobs = [Job(str(number), "nobody:1") for number in range(7)]
    assert [result.file for result in modes.run(mode, jobs, send)] == [job.path for job in jobs]
