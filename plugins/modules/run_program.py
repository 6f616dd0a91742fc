"""Ansible module: run a program as another user, with a time limit, its output in a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import open_file, rights_of, tail

DOCUMENTATION = r"""
module: run_program
short_description: Run a program as another user, with a time limit, its output in a file
description:
  - Needs neither C(sudo) nor C(su) on the host, and ends the program's children too when its time is over.
  - Its files lie in folders of the user, so they are written and read with the user's rights.
  - At the time limit it gets SIGTERM and some seconds, in which it may write its result; after that it is killed.
options:
  argv: {description: The program and its arguments., type: list, elements: str, required: true}
  user: {description: Who runs it., type: str, required: true}
  log: {description: File that gets what it writes., type: path, required: true}
  timeout_s: {description: Seconds after which it is stopped., type: float, required: true}
  what: {description: 'What runs and where, as the error text begins.', type: str, required: true}
  advice: {description: 'What the reader can do, as the error text ends.', type: str, required: true}
  result: {description: JSON file that the program writes; its content is returned., type: path}
  record: {description: JSON file that gets the exit status and time., type: path}
"""

TAIL_LINES = 10
GRACE_S = 5
"""So long a program may take to end by itself after SIGTERM; udpxfer looks every half second."""


@dataclass(frozen=True)
class Ending:
    """How a program ended. exit_status is negative after a signal; seconds is wall time."""

    exit_status: int
    timed_out: bool
    timeout_s: float
    seconds: float


def new_file(path: Path) -> BinaryIO:
    """A new file in the place of whatever stands there (a link, say)."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb")


def run(argv: list[str], user: str, log: Path, timeout_s: float) -> Ending:
    """Run the program in a process group of its own; at the time limit the whole group is killed.

    Raises KeyError when there is no such user, OSError when the program or its log cannot be opened.
    """
    with rights_of(user) as account:
        output = new_file(log)
    environment = {**os.environ, "HOME": account.pw_dir, "USER": user, "LOGNAME": user}
    identity: dict[str, Any] = {}
    if account.pw_uid != os.geteuid():
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    start = time.monotonic()
    with output:
        process = subprocess.Popen(
            argv,
            **identity,
            umask=0o027,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timed_out = False
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Ending(process.returncode, timed_out, timeout_s, round(time.monotonic() - start, 3))


def problem(ending: Ending, what: str, advice: str, log: Path) -> str:
    """The error text for an ending that is not a success."""
    if ending.timed_out:
        happened = f"did not end within {ending.timeout_s:g} s and was stopped"
    else:
        happened = f"ended with status {ending.exit_status}"
    return f"{what} {happened}. {advice}\n{tail(log, TAIL_LINES)}"


def read_json(path: str | None) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is none to read."""
    if path is None or not Path(path).exists():
        return None
    with open_file(path) as stream:
        content: dict[str, Any] = json.load(stream)
    return content


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "argv": {"type": "list", "elements": "str", "required": True},
            "user": {"type": "str", "required": True},
            "log": {"type": "path", "required": True},
            "timeout_s": {"type": "float", "required": True},
            "what": {"type": "str", "required": True},
            "advice": {"type": "str", "required": True},
            "result": {"type": "path"},
            "record": {"type": "path"},
        },
    )
    params = module.params
    log = Path(params["log"])
    try:
        if params["result"]:  # of a former attempt
            with rights_of(params["user"]):
                Path(params["result"]).unlink(missing_ok=True)
        ending = run(params["argv"], params["user"], log, params["timeout_s"])
    except (KeyError, OSError) as error:
        module.fail_json(msg=f"{params['what']} could not be started: {error}. Run with --tags deploy first.")
    failed, result = None, None
    try:
        with rights_of(params["user"]):
            if params["record"]:
                with new_file(Path(params["record"])) as record:
                    record.write(json.dumps(asdict(ending)).encode() + b"\n")
            if ending.timed_out or ending.exit_status != 0:
                failed = problem(ending, params["what"], params["advice"], log)
            else:
                result = read_json(params["result"])
    except (OSError, ValueError) as error:
        failed = f"{params['what']} ended, but its files cannot be used: {error}. Look at them on the host; {params['advice']}"
    if failed:
        module.fail_json(msg=failed, **asdict(ending))
    module.exit_json(changed=True, result=result, **asdict(ending))


if __name__ == "__main__":
    main()
