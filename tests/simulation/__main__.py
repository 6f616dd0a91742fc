"""Plays random stories for a while on all processors: ``python -m tests.simulation --seconds 600``. Ends with 1 when one failed."""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import os
import random
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "files")]
STORIES_IN_A_BATCH = 50


def play_batch(first: int) -> tuple[int, int, int, list[str]]:
    """Play stories from ``first`` on; returns transfers, files that arrived, crashes, and what failed."""
    from tests.simulation.scenario import play

    transfers = done = crashes = 0
    failures = []
    for story in range(first, first + STORIES_IN_A_BATCH):
        try:
            outcome = play(story)
        except Exception:  # noqa: BLE001 whatever breaks a story is told with its seed
            failures.append(
                f"story {story} failed: python -m tests.simulation --story {story}\n{traceback.format_exc()}"
            )
        else:
            transfers, done, crashes = transfers + outcome.transfers, done + outcome.done, crashes + outcome.crashes
    return transfers, done, crashes, failures


def main() -> int:
    """Play one story or many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default 60)")
    parser.add_argument("--story", type=int, help="play only this one")
    parser.add_argument("--from", dest="first", type=int, help="play stories from this one on (default: a random one)")
    options = parser.parse_args()
    if options.story is not None:
        from tests.simulation.scenario import play

        print(play(options.story))
        return 0
    first = random.SystemRandom().randrange(2**31) if options.first is None else options.first
    totals, failed, stories = [0, 0, 0], 0, 0
    began, workers = time.monotonic(), os.cpu_count() or 1
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        batches = itertools.count(first, STORIES_IN_A_BATCH)
        running = {pool.submit(play_batch, start): start for start in itertools.islice(batches, workers)}
        while running:
            ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for batch in ended:
                start = running.pop(batch)
                *counts, failures = batch.result()
                totals = [a + b for a, b in zip(totals, counts, strict=True)]
                stories, failed = stories + STORIES_IN_A_BATCH, failed + len(failures)
                print(
                    f"stories {start} to {start + STORIES_IN_A_BATCH - 1}: {counts[0]} transfers", *failures, sep="\n"
                )
                if time.monotonic() - began < options.seconds:
                    following = next(batches)
                    running[pool.submit(play_batch, following)] = following
    minutes = (time.monotonic() - began) / 60
    print(
        f"{stories} stories in {minutes:.1f} minutes: {totals[0]} transfers ({totals[0] / minutes:.0f} a minute), "
        f"{totals[1]} files arrived, {totals[2]} crashes of the receiver, {failed} stories failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
