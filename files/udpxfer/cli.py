"""The command line. What a command does not need is not imported: a small transfer costs little more than Python."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import Code, TransferError
from .events import EventLog, FileLog, show_progress, standard_log
from .modes import MODES

if TYPE_CHECKING:
    from .io.client import Result

# Usage errors end with 2: argparse's own.
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
RESULT_SCHEMA = 1
_ALL = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def _size(text: str) -> int:
    """Bytes of a size such as ``300``, ``64k``, ``1.5g`` (powers of ten)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)b?", text.strip().lower())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if not size:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write for example 300000, 64k, 1.5g")
    return size


def _rate(text: str) -> float:
    """Bytes per second of a rate in bits per second such as ``100mbit``, or bytes such as ``12.5m``."""
    bits = re.fullmatch(r"(.*?)bit(/s)?", text.strip().lower())
    return _size(bits[1]) / 8 if bits else float(_size(text))


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)


def _retries(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of retries")
    return int(text)


def _assignment(text: str) -> tuple[str, str]:
    """File and receiver of ``FILE=HOST:PORT``."""
    path, separator, receiver = text.rpartition("=")
    if not separator or not path or not receiver:
        raise argparse.ArgumentTypeError(f"'{text}' is not FILE=HOST:PORT")
    return path, receiver


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="udpxfer", description="Encrypted, durable file transfer over UDP.")
    parser.add_argument("--version", action="version", version=f"udpxfer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    keygen = commands.add_parser("keygen", help="make a new pre-shared key")
    keygen.add_argument("keyfile", metavar="KEYFILE")

    fetch = commands.add_parser("fetch", help="download files over HTTP")
    fetch.add_argument("urls", nargs="+", metavar="URL")
    fetch.add_argument("--into", required=True, metavar="DIR", help="directory to store them in")
    fetch.add_argument("--max-bytes", type=_size, default=10**9, metavar="SIZE", help="largest file (default 1g)")
    fetch.add_argument("--retries", type=_retries, default=3, metavar="N", help="tries after the first (default 3)")
    fetch.add_argument("--json", metavar="FILE", help="write a manifest")

    receive = commands.add_parser("receive", help="receive files until stopped")
    receive.add_argument("--bind", required=True, metavar="HOST:PORT")
    receive.add_argument("--into", required=True, metavar="DIR", help="directory to store files in")
    receive.add_argument("--key-file", required=True, metavar="KEYFILE")
    receive.add_argument(
        "--log", metavar="FILE", help="append JSON lines to FILE instead of standard output (16 MiB, then FILE.1)"
    )
    receive.add_argument("--max-file-bytes", type=_size, metavar="SIZE", help="refuse larger files")
    receive.add_argument("--max-total-bytes", type=_size, metavar="SIZE", help="refuse more than this in all")
    receive.add_argument("--max-sessions", type=_count, default=64, metavar="N", help="transfers at once (default 64)")
    receive.add_argument("--overwrite", action="store_true", help="replace files that exist")

    send = commands.add_parser("send", help="send files")
    send.add_argument("jobs", nargs="+", type=_assignment, metavar="FILE=HOST:PORT")
    several = f"how several files overlap: {', '.join(MODES)} (default single_thread: one after the other)"
    send.add_argument("--mode", default="single_thread", choices=MODES, metavar="MODE", help=several)
    send.add_argument("--key-file", required=True, metavar="KEYFILE")
    send.add_argument("--label", default="", help="store below this directory of the receiver")
    send.add_argument("--max-rate", type=_rate, metavar="RATE", help="for each file, for example 100mbit")
    send.add_argument("--sha256", action="store_true", help="also report each file's SHA-256 (one more pass over it)")
    send.add_argument("--json", metavar="FILE", help="write the results")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = {"keygen": _keygen, "fetch": _fetch, "receive": _receive, "send": _send}[options.command]
    try:
        return command(options)
    except TransferError as error:
        print(f"udpxfer: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"udpxfer: {TransferError(Code.INTERRUPTED, 'interrupted')}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _keygen(options: argparse.Namespace) -> int:
    from . import keys

    keys.generate(options.keyfile)
    return EXIT_OK


def _fetch(options: argparse.Namespace) -> int:
    from . import images

    log = standard_log()
    with _storing(f"use the directory '{options.into}'", "directory"):
        os.makedirs(options.into, exist_ok=True)
    names = [images.file_name(url) for url in options.urls]
    if len(set(names)) < len(names):
        raise TransferError(Code.BAD_NAME, "two URLs name the same file", "fetch them into different directories")
    downloads = []
    with images.new_session(options.retries) as session:
        for url in options.urls:
            downloads.append(images.fetch(session, url, options.into, options.max_bytes, options.retries, log))
            log.emit("fetched", **downloads[-1].as_dict())
    if options.json:
        _write_json(options.json, {"schema": RESULT_SCHEMA, "files": [d.as_dict() for d in downloads]})
    return EXIT_OK


def _receive(options: argparse.Namespace) -> int:
    from . import keys
    from .core.sessions import Limits
    from .io.server import Server
    from .io.udp import parse_address

    key = keys.load(options.key_file)
    with _storing(f"write the log '{options.log}'", "file"):
        log = FileLog(options.log) if options.log else standard_log()
    limits = Limits(options.max_file_bytes, options.max_total_bytes, options.max_sessions, options.overwrite)
    server = Server(parse_address(options.bind), options.into, key, limits, log)
    status = EXIT_OK

    def stop(number: int, _frame: Any) -> None:
        nonlocal status
        status = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_OK
        server.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.run()
    return status


def _send(options: argparse.Namespace) -> int:
    from . import keys, modes
    from .io.client import INTERRUPTED, Job, cpu_seconds

    log = standard_log()
    key = keys.load(options.key_file)
    jobs = [Job(path, receiver, options.label, options.max_rate, options.sha256) for path, receiver in options.jobs]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: modes.interrupt())
    start, started, cpu = time.time(), time.monotonic(), cpu_seconds(*_ALL)
    results = modes.run(options.mode, jobs, functools.partial(modes.attempt, key, show_progress))
    seconds = time.monotonic() - started
    _tell(results, log)
    ok = all(result.verified for result in results)
    if options.json:
        summary = {
            "schema": RESULT_SCHEMA,
            "version": __version__,
            "mode": options.mode,
            "label": options.label,
            "start": start,
            "end": start + seconds,
            "seconds": seconds,
            "ok": ok,
            "bytes": sum(result.bytes for result in results if result.verified),
            "cpu_s": cpu_seconds(*_ALL) - cpu,
            "peak_memory_bytes": max(resource.getrusage(who).ru_maxrss for who in _ALL)
            * 1024,  # of the largest process
            "transfers": [result.as_dict() for result in results],
        }
        _write_json(options.json, summary)
    if INTERRUPTED.is_set():
        return EXIT_INTERRUPTED
    return EXIT_OK if ok else EXIT_FAILED


def _tell(results: Sequence[Result], log: EventLog) -> None:
    for result in results:
        fields = {name: value for name, value in result.as_dict().items() if name != "progress"}
        log.emit("failed" if result.error else "sent", **fields)
        if result.error:
            code, message, fix = result.error["code"], result.error["message"], result.error["fix"]
            print(f"udpxfer: {code}: {result.file} to {result.receiver}: {message}; {fix}", file=sys.stderr)


@contextlib.contextmanager
def _storing(what: str, kind: str) -> Iterator[None]:
    """Raises TransferError (STORE_FAILED) when the system refuses to do ``what`` with a ``kind`` of the user's choice."""
    try:
        yield
    except OSError as error:
        message, fix = f"cannot {what}: {error.strerror}", f"choose a {kind} that this user may write"
        raise TransferError(Code.STORE_FAILED, message, fix) from error


def _write_json(path: str, content: dict[str, Any]) -> None:
    """Write ``path`` whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with _storing(f"write '{path}'", "file"):
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
        os.replace(temporary, path)
