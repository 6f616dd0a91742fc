"""Writes the modes' names and meanings wherever they must be spelled out, from files/udpxfer/modes.py: `make docs`.

Ansible needs tags and modes as plain words in its files, and the README shows a table. A test compares.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from udpxfer.modes import MODES, meaning

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = "inventory/group_vars/all/transfer.yml"
MAIN_JOB = "run_all.yml"
README = "README.md"
PLAY = """\
- name: Transfer in mode {mode}
  ansible.builtin.import_playbook: playbooks/mode.yml
  vars: {{transfer_mode: {mode}}}
  tags: [{mode}]

"""
# The plays of the modes, one after the other; the table below its head.
PLAYS = re.compile(r"(- name: .*\n  ansible\.builtin\.import_playbook: playbooks/mode\.yml\n(  .*\n)+\n)+")
TABLE = re.compile(r"(\| mode and tag \|.*\n\|.*\n)(\|.*\n)+")


def renewed() -> dict[str, str]:
    """Each file with modes as it should be, by its path in the project."""
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in (VARIABLES, MAIN_JOB, README)}
    written, wanted = ", ".join(yaml.safe_load(texts[VARIABLES])["run_modes"]), ", ".join(MODES)
    texts[VARIABLES] = texts[VARIABLES].replace(f"[{written}]", f"[{wanted}]")
    plays = "".join(PLAY.format(mode=mode) for mode in MODES)
    texts[MAIN_JOB] = PLAYS.sub(lambda _: plays, texts[MAIN_JOB].replace(written, wanted))
    rows = "".join(f"| `{mode}` | {meaning(mode)} |\n" for mode in MODES)
    texts[README] = TABLE.sub(lambda table: table[1] + rows, texts[README])
    return texts


if __name__ == "__main__":
    for changed, text in renewed().items():
        if text != (ROOT / changed).read_text(encoding="utf-8"):
            (ROOT / changed).write_text(text, encoding="utf-8")
            print(f"renewed {changed}")
