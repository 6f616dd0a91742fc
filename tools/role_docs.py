"""Writes the variable table of each role's README from its argument specs: `make docs`.

The table stands between two markers; a README without them gets the section at its end. A test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
BEGIN = "<!-- variables: made from meta/argument_specs.yml by `make docs` -->"
END = "<!-- end of variables -->"

Options = Mapping[str, Mapping[str, Any]]


def role_folders() -> list[Path]:
    """All roles of the project, sorted."""
    return sorted(path for path in ROLES.iterdir() if path.is_dir())


def argument_specs(role: Path) -> dict[str, Mapping[str, Any]]:
    """Entry points of a role, each with its description and options."""
    text = (role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    specs: dict[str, Mapping[str, Any]] = yaml.safe_load(text)["argument_specs"]
    return specs


def renewed_readme(role: Path) -> str:
    """The README of a role as it should be.

    Raises FileNotFoundError without a README.
    """
    text = (role / "README.md").read_text(encoding="utf-8")
    section = f"{BEGIN}\n{_tables(argument_specs(role))}{END}"
    if BEGIN not in text:
        return f"{text.rstrip()}\n\n## Variables\n\n{section}\n"
    head, rest = text.split(BEGIN, 1)
    return head + section + rest.split(END, 1)[1]


def _tables(specs: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for entry_point, spec in sorted(specs.items(), key=lambda item: (item[0] != "main", item[0])):
        title = "" if entry_point == "main" else f"Entry point `{entry_point}`: {_text(spec['short_description'])}\n\n"
        parts.append(title + _table(spec.get("options", {})))
    return "\n".join(parts)


def _table(options: Options) -> str:
    if not options:
        return "None.\n"
    rows = ["| variable | type | default | meaning |", "| --- | --- | --- | --- |", *_rows(options, "")]
    return "\n".join(rows) + "\n"


def _rows(options: Options, prefix: str) -> Iterator[str]:
    for name, option in options.items():
        full_name = prefix + name
        yield f"| `{full_name}` | {_type(option)} | {_default(option)} | {_text(option['description'])} |"
        inner_prefix = f"{full_name}[]." if option.get("type") == "list" else f"{full_name}."
        yield from _rows(option.get("options", {}), inner_prefix)


def _type(option: Mapping[str, Any]) -> str:
    kind = option.get("type", "str")
    return f"list of {option['elements']}" if "elements" in option else str(kind)


def _default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "required"
    if "default" not in option:
        return ""
    value = yaml.safe_dump(option["default"], default_flow_style=True, width=10_000).removesuffix("\n...\n")
    return f"`{_cell(value)}`"


def _text(description: str | list[str]) -> str:
    return _cell(description if isinstance(description, str) else " ".join(description))


def _cell(text: str) -> str:
    """One line that cannot end a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Renews every README that is out of date; the exit status is 1 when one is missing."""
    for role in role_folders():
        readme = role / "README.md"
        try:
            text = renewed_readme(role)
        except FileNotFoundError:
            print(f"{role.name}: no README.md; write one that says what the role is for", file=sys.stderr)
            return 1
        if text != readme.read_text(encoding="utf-8"):
            readme.write_text(text, encoding="utf-8")
            print(f"renewed {readme.relative_to(ROLES.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
