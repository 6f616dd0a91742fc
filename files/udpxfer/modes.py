"""The five client modes: five ways to overlap the same blocking sends.

Every mode takes the same jobs and gives the same results in the same order. A job's error never hides another job's
result. Adding a mode means one function and one entry in `_EXECUTORS`: command line, tags and documents take its name and
the first line of its docstring from there (docs/contributing.md). Each function imports what only it needs: a small file
over a fast path takes less time than importing ``multiprocessing``, and the command line asks for the names only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import Code, TransferError

if TYPE_CHECKING:
    from .io.client import Job, Progress, Result

    Send = Callable[[Job], Result]
    Executor = Callable[[list[Job], Send], list[Result]]


WORKER_CHECK_S = 0.5
"""How soon a worker that was killed is missed."""


def attempt(key: bytes, progress: Progress, job: Job) -> Result:
    """Send one file; never raises an Exception."""
    from .io.client import send_file

    try:
        return send_file(job, key, progress)
    except Exception as error:  # noqa: BLE001 one job's defect must not hide the others' results
        return _defect(job, repr(error))


def _defect(job: Job, what: str) -> Result:
    """The result of a job that could not even run."""
    from .io.client import Result

    now = time.time()
    error = TransferError(Code.INTERNAL, what).as_dict()
    return Result(file=job.path, receiver=job.receiver, start=now, end=now, error=error)


def _single_thread(jobs: list[Job], send: Send) -> list[Result]:
    """One after the other in one thread."""
    return [send(job) for job in jobs]


def _multi_thread(jobs: list[Job], send: Send) -> list[Result]:
    """One `threading.Thread` for each, then join."""
    results: dict[int, Result] = {}

    def run(index: int) -> None:
        results[index] = send(jobs[index])

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[index] for index in range(len(jobs))]


def _multi_process(jobs: list[Job], send: Send) -> list[Result]:
    """One `multiprocessing.Process` for each, then join."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    processes = []
    for job in jobs:
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_send_and_tell, args=(send, job, sending), daemon=True)
        process.start()
        sending.close()
        processes.append((job, process, receiving))
    results = []
    for job, process, receiving in processes:
        try:
            results.append(receiving.recv())
        except EOFError:
            process.join()
            results.append(_defect(job, f"its process ended with {process.exitcode}"))
        process.join()
    return results


def _send_and_tell(send: Send, job: Job, connection: Any) -> None:
    connection.send(send(job))


def _multi_thread_async(jobs: list[Job], send: Send) -> list[Result]:
    """`ThreadPoolExecutor.submit`, results as they complete."""
    import concurrent.futures

    results: dict[int, Result] = {}
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        futures = {pool.submit(send, job): index for index, job in enumerate(jobs)}
        for future in concurrent.futures.as_completed(futures):
            results[futures[future]] = future.result()
    return [results[index] for index in range(len(jobs))]


def _multi_process_async(jobs: list[Job], send: Send) -> list[Result]:
    """`multiprocessing.Pool.apply_async`, results with `get`."""
    import multiprocessing

    pool = multiprocessing.get_context("fork").Pool(len(jobs))
    try:
        workers = multiprocessing.active_children()
        pending = [pool.apply_async(send, (job,)) for job in jobs]
        _wait_for(pending, workers)
        killed = "its process was killed"
        return [result.get() if result.ready() else _defect(job, killed) for job, result in zip(jobs, pending)]
    finally:
        pool.close()
        for job in list(pool._cache):  # type: ignore[attr-defined]  # noqa: SLF001 join would wait for what is lost
            del pool._cache[job]  # type: ignore[attr-defined]  # noqa: SLF001
        pool.join()


def _wait_for(pending: list[Any], workers: list[Any]) -> None:
    """Wait for results. `Pool` replaces a worker that was killed, but not its job: what is missing then will not come."""
    while waiting := [result for result in pending if not result.ready()]:
        if len(waiting) <= sum(not worker.is_alive() for worker in workers):
            return
        waiting[0].wait(WORKER_CHECK_S)


_EXECUTORS: dict[str, Executor] = {
    "single_thread": _single_thread,
    "multi_thread": _multi_thread,
    "multi_process": _multi_process,
    "multi_thread_async": _multi_thread_async,
    "multi_process_async": _multi_process_async,
}

MODES = tuple(_EXECUTORS)
"""Names of the modes in the order in which they are run and shown."""


def meaning(mode: str) -> str:
    """What a mode does, in one line of Markdown."""
    return (_EXECUTORS[mode].__doc__ or "").partition("\n")[0].rstrip(".")


def interrupt() -> None:
    """Let all sends of this process and of its children end soon, each with its own result; for signal handlers."""
    from .io.client import INTERRUPTED

    INTERRUPTED.set()
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing else ():
        os.kill(child.pid, signal.SIGTERM)


def run(mode: str, jobs: list[Job], send: Send) -> list[Result]:
    """Run ``jobs`` in ``mode``; results in the order of the jobs."""
    return _EXECUTORS[mode](jobs, send)
