"""The project's Markdown pages as data: anchors, links, fenced blocks, tables and the commands a reader may copy."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.project import ROOT

# Inline code of two words or more that begins with one of these is a command; in blocks marked `sh` every line is one.
PROGRAMS = {
    *(
        "ansible",
        "ansible-builder",
        "ansible-inventory",
        "ansible-navigator",
        "ansible-playbook",
        "apt-get",
        "cp",
        "curl",
    ),
    *("docker", "git", "ip", "make", "pip", "pytest", "python", "python3", "rm", "scp", "ssh", "sudo", "tcpdump"),
}
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")


@dataclass(frozen=True)
class Place:
    """Where something stands, as editors write it."""

    page: Path
    line: int

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Fence:
    """A fenced block."""

    place: Place
    language: str
    text: str


@dataclass(frozen=True)
class Row:
    """A row of a table: what stands in each column, code spans with their backticks."""

    place: Place
    cells: dict[str, str]


@dataclass(frozen=True)
class Page:
    """One Markdown file, parsed as GitHub does."""

    path: Path

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.path.read_text(encoding="utf-8"))

    def _inline(self) -> Iterator[tuple[Place, Token]]:
        line = 0
        for token in self._tokens:
            line = token.map[0] + 1 if token.map else line
            for child in token.children or [token]:
                yield Place(self.path, line), child

    @cached_property
    def anchors(self) -> set[str]:
        """What a link may name after `#`: headings in GitHub's form."""
        seen: Counter[str] = Counter()
        found = set()
        for heading, inline in zip(self._tokens, self._tokens[1:], strict=False):
            if heading.type == "heading_open":
                text = "".join(child.content for child in inline.children or [])
                slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
                seen[slug] += 1
        return found

    def links(self) -> Iterator[tuple[Place, str]]:
        """Targets of links and pictures, those in HTML too."""
        for place, token in self._inline():
            if token.type in {"link_open", "image"}:
                yield place, str(token.attrs.get("href") or token.attrs["src"])
            elif token.type in {"html_inline", "html_block"}:
                yield from ((place, target) for target in re.findall(r'(?:href|src|srcset)="([^"]+)"', token.content))

    def fences(self) -> Iterator[Fence]:
        """Its fenced blocks."""
        for token in self._tokens:
            if token.type == "fence" and token.map:
                yield Fence(Place(self.path, token.map[0] + 1), token.info, token.content)

    def code_spans(self) -> Iterator[tuple[Place, str]]:
        """Its inline code, but for quoted messages."""
        messages = {row.cells["message"] for row in self.rows() if "message" in row.cells}
        for token in self._tokens:
            if token.type == "inline" and token.content not in messages and token.map:
                for child in token.children or []:
                    if child.type == "code_inline":
                        yield Place(self.path, token.map[0] + 1), child.content

    def rows(self) -> Iterator[Row]:
        """The rows of its tables, by the words at the head of each column."""
        head: list[str] = []
        cells: list[str] = []
        line = 0
        for token in self._tokens:
            line = token.map[0] + 1 if token.map else line
            if token.type in {"thead_open", "tr_open"}:
                cells = []
            elif token.type == "inline" and token.level >= 3:
                cells.append(token.content)
            elif token.type == "thead_close":
                head = cells
            elif token.type == "tr_close" and head and cells is not head:
                yield Row(Place(self.path, line), dict(zip(head, cells, strict=False)))
            elif token.type == "table_close":
                head = []

    def commands(self) -> Iterator[tuple[Place, str]]:
        """What a reader may copy into a shell, one command at a time."""
        for fence in self.fences():
            if fence.language == "sh":
                lines = fence.text.replace("\\\n", " ").splitlines()
                yield from ((fence.place, command) for command in map(_bare, lines) if command)
        for place, text in self.code_spans():
            if is_command(text):
                yield place, " ".join(text.split())


def _bare(line: str) -> str:
    """A line of a shell without its remark; nothing of one that only sets a variable."""
    command = " ".join(re.sub(r"(^|\s)#.*$", "", line).split())
    return "" if re.fullmatch(r"export \w+=\S*", command) else command


def is_command(text: str) -> bool:
    """Whether inline code is a command and not a name or a piece of one."""
    words = text.split()
    while words and ASSIGNMENT.match(words[0]):
        words.pop(0)
    program = words[0].removeprefix(".venv/bin/") if len(words) > 1 else ""
    return program in PROGRAMS or (program == "udpxfer" and words[1] in {"fetch", "keygen", "receive", "send"})


def words_of(command: str) -> list[str]:
    """A command's words as a shell takes them."""
    return shlex.split(command)


PAGES = [
    Page(path)
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("roles/*/README.md")))
]
