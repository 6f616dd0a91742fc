"""docs/troubleshooting.md: every error message of the project leads to an entry, and every entry to a message.

An entry is a row of a table with the column `message` or `code`; its code spans quote the message, `...` where it
varies. Messages are collected from the sources: what exceptions, failing modules, roles and scripts are given.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from udpxfer.errors import Code

from tests.project import ROOT
from tests.static.documents import Page

# Calls whose text reaches a user as it is. The engine's errors are found by their code, those of a lab's description
# by the sentence before them, those of a development tool on its own terminal only.
CALLS = {
    "LabError",
    "SilentHostError",
    "LabNotReadyError",
    "Gns3Error",
    "AnsibleParserError",
    "AnsibleActionFail",
    "AnsibleError",
    "RunError",
    "ReportError",
    "fail_json",
    "SystemExit",
}
FOLDERS = ("plugins", "roles")
HOLE = "\0"
SHORTEST_QUOTE = 5  # letters; less would fit anything


@dataclass(frozen=True)
class Message:
    """A message as it stands in the sources, HOLE where a value is put in."""

    place: str
    text: str


def text_of(node: ast.expr) -> str | None:
    """The literal text of a string expression; None for any other."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or HOLE) + (text_of(node.right) or HOLE)
    return None


def texts_given(call: ast.Call, function: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts a call is given, also by a variable of the function around it."""
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "msg")]
    for argument in given:
        values = [argument]
        if isinstance(argument, ast.Name):
            assigned = (node for node in ast.walk(function) if isinstance(node, ast.Assign))
            values = [node.value for node in assigned if ast.unparse(node.targets[0]) == argument.id]
        for value in values:
            text = text_of(value)
            if text is not None and len(re.findall(r"[a-z]", text)) >= SHORTEST_QUOTE:
                yield value.lineno, text


def messages_of_python() -> Iterator[Message]:
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if name in CALLS:
                    for line, text in texts_given(call, function):
                        yield Message(f"{path.relative_to(ROOT)}:{line}", text)
            if re.search(r"obstacle|problems?$", function.name):  # a text that its caller hands on
                yield from (Message(f"{path.relative_to(ROOT)}:{line}", text) for line, text in sentences_in(function))


def sentences_in(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """Its texts that end like a sentence, but for its docstring."""
    inner: set[ast.AST] = {
        part for node in ast.walk(function) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in (node for statement in function.body[1:] for node in ast.walk(statement)):
        if isinstance(node, ast.JoinedStr | ast.Constant) and node not in inner:
            text = text_of(node)
            if text and re.search(r"\w .*\.$", text):
                yield node.lineno, text


def messages_of_tasks() -> Iterator[Message]:
    for path in [*sorted(ROOT.glob("roles/*/tasks/*.yml")), *sorted(ROOT.glob("playbooks/**/*.yml"))]:
        for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            text = task.get("ansible.builtin.assert", {}).get("fail_msg") or task.get("ansible.builtin.fail", {}).get(
                "msg"
            )
            if text and (outside := re.sub(r"\{\{.*?\}\}", HOLE, text, flags=re.DOTALL)).strip(f" {HOLE}"):
                yield Message(f"{path.relative_to(ROOT)}: {task['name']}", outside)
            elif text:  # one of several texts within an expression
                inner = re.findall(r"'((?:[A-Z]|[a-z]+ )[^']{8,})'", text)
                yield from (Message(f"{path.relative_to(ROOT)}: {task['name']}", part) for part in inner)


def tasks_in(tree: Any) -> Iterator[dict[str, Any]]:
    for entry in tree or []:
        for inner in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from tasks_in(entry.get(inner))
        yield entry


def messages_of_scripts() -> Iterator[Message]:
    for path in [ROOT / "Makefile", *sorted((ROOT / "tools").glob("*.sh"))]:
        for line in re.findall(r'echo "([^"]+)" >&2', path.read_text(encoding="utf-8")):
            if not line.startswith(("usage", "Installing")):
                yield Message(str(path.relative_to(ROOT)), re.sub(r"\$+(\w+|\*|@|\([^)]*\)|\{[^}]*\})", HOLE, line))


PAGE = Page(ROOT / "docs" / "troubleshooting.md")
MESSAGES = [*messages_of_python(), *messages_of_tasks(), *messages_of_scripts()]
ENTRIES = [
    (row.place, quote) for row in PAGE.rows() for quote in re.findall(r"`([^`]+)`", row.cells.get("message", ""))
]
CODES = [code for row in PAGE.rows() for code in re.findall(r"`([^`]+)`", row.cells.get("code", ""))]


def quotes(quote: str, message: Message) -> bool:
    """Whether a quote with `...` for what varies is of this message."""
    pattern = ".*".join(re.escape(part.strip()) for part in quote.split("..."))
    return re.search(pattern, " ".join(message.text.split()), flags=re.DOTALL) is not None


def test_every_message_has_an_entry() -> None:
    lost = [
        f"{message.place}: {message.text.replace(HOLE, '...')}"
        for message in MESSAGES
        if not any(quotes(quote, message) for _, quote in ENTRIES)
    ]
    assert not lost, "\n".join(lost)


def test_every_entry_quotes_a_message() -> None:
    assert [f"{place}: {quote}" for place, quote in ENTRIES if not any(quotes(quote, one) for one in MESSAGES)] == []


def test_quotes_say_enough() -> None:
    assert [quote for _, quote in ENTRIES if len(re.findall(r"[A-Za-z]", quote)) < SHORTEST_QUOTE] == []


def test_every_code_of_the_engine_has_an_entry() -> None:
    assert sorted(CODES) == sorted(code.label for code in Code if code is not Code.OK)
