"""Fuzzes the targets with atheris (libFuzzer), all processors at once: ``python -m tests.fuzz --seconds 60``.

What fails is kept in tests/fuzz/corpus, so that `make test` plays it from then on. New inputs that only reach new code are kept with --keep.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
MAX_INPUT_BYTES = 2000
sys.path[:0] = [str(ROOT), str(ROOT / "files"), str(ROOT / "roles/lab_embedded/files")]


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["udpxfer"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


def run(name: str, seconds: float, keep: bool) -> tuple[str, int, bool]:
    """Fuzz one target in a process of its own; returns what to tell, executions, and whether it went well."""
    known = CORPUS / name
    known.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--", found, str(known)]
        options = [f"-max_total_time={max(int(seconds), 1)}", f"-max_len={MAX_INPUT_BYTES}", "-print_final_stats=1"]
        failed = f"-artifact_prefix={known}/failed-"
        ended = subprocess.run(
            [*command, *options, failed],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr)
        seed = re.search(r"INFO: Seed: (\d+)", ended.stderr)
        if keep:
            for path in Path(found).iterdir():
                shutil.copy(path, known)
    count = int(executions[1]) if executions else 0
    told = f"{name}: {count} executions, seed {seed[1] if seed else '?'}"
    if ended.returncode:
        told += f": FAILED\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    return told, count, not ended.returncode


def main() -> int:
    """Fuzz all targets, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=70.0, help="in all (default 70)")
    parser.add_argument("--keep", action="store_true", help="keep inputs that reach new code in the corpus")
    parser.add_argument("--target", help="fuzz this target in this process, with options for libFuzzer behind --")
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, options.arguments)
    from tests.fuzz.targets import TARGETS

    workers = os.cpu_count() or 1
    seconds_each = options.seconds * workers / len(TARGETS)
    began = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        ended = list(pool.map(lambda name: run(name, seconds_each, options.keep), TARGETS))
    for told, _, _ in ended:
        print(told)
    print(f"{sum(count for _, count, _ in ended)} executions in {time.monotonic() - began:.0f} seconds")
    return 0 if all(well for _, _, well in ended) else 1


if __name__ == "__main__":
    sys.exit(main())
