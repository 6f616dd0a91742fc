"""How each mode works: what holds for it on any machine. What a run measured is said in `sentences`, never here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """What overlaps, what has to be started for it, and under which conditions that can pay."""

    overlaps: str
    costs: str
    pays: str


EXPLANATIONS = {
    "single_thread": Explanation(
        "Nothing: one thread sends a file, waits until the server has it on disk, and only then begins the next.",
        "Nothing: no thread and no process is started.",
        "When one transfer alone keeps the network or a processor busy, or when files are so small that starting helpers takes longer than sending.",
    ),
    "multi_thread": Explanation(
        "All transfers: each file has a thread (threading.Thread). While one waits for the network or the disk, others go on; their Python code takes "
        "turns under the interpreter's lock.",
        "A thread for each file.",
        "When transfers wait more than they compute: long round trips, slow receivers, a limited rate.",
    ),
    "multi_process": Explanation(
        "All transfers, their Python code too: each file has a process (multiprocessing.Process) with an interpreter of its own, so several "
        "processors can work at once.",
        "The import of multiprocessing, a fork for each file, and a pipe on which its result comes back.",
        "When processor time is the limit, processors are free, and files are large enough to outweigh the start.",
    ),
    "multi_thread_async": Explanation(
        "As multi_thread, but through a pool (ThreadPoolExecutor.submit): the main thread hands in all transfers and takes each result when it is there.",
        "The import of concurrent.futures and the pool's book-keeping, beside its threads.",
        "Where multi_thread does, and when results are wanted in the order in which they come.",
    ),
    "multi_process_async": Explanation(
        "As multi_process, but through a pool (multiprocessing.Pool.apply_async): the workers are forked first, then jobs and results travel "
        "through queues.",
        "The workers, their queues and the pool's three helper threads; the pool is closed and joined at the end.",
        "Where multi_process does, and when many jobs share few workers; here there is a worker for each file.",
    ),
}
