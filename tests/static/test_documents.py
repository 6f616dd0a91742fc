"""README, docs and the roles' READMEs: what they point to is there."""

from __future__ import annotations

import re
import tomllib

import yaml
from packaging.requirements import Requirement

from tests.project import ROOT
from tests.static.documents import PAGES, Page
from tools import topology_docs

README = Page(ROOT / "README.md")
LEFT_BY_RUNS = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
MADE_BY_READERS = {"inventory/real.yml"}


def test_links_lead_somewhere() -> None:
    broken = []
    for place, target in (link for page in PAGES for link in page.links()):
        path, _, anchor = target.partition("#")
        file = (place.page.parent / path).resolve() if path else place.page
        if re.match(r"https?://", target):
            continue
        if not file.exists() or (anchor and anchor not in Page(file).anchors):
            broken.append(f"{place}: {target}")
    assert broken == []


def test_blocks_say_what_they_hold() -> None:
    """Commands stand in `sh` blocks, where the tests above find them."""
    assert [str(fence.place) for page in PAGES for fence in page.fences() if not fence.language] == []


def test_tags_and_variables_exist() -> None:
    tags = {tag for entry in yaml.safe_load((ROOT / "run_all.yml").read_text()) for tag in entry["tags"]}
    sources = [*(ROOT / "inventory").rglob("*.yml"), *(ROOT / "playbooks").glob("*.yml")]
    sources += ROOT.glob("roles/*/meta/argument_specs.yml")
    known = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    wrong = []
    for page in PAGES:
        for place, text in page.code_spans():
            wrong += [f"{place}: tag {tag}" for tag in re.findall(r"--tags (\w+)", text) if tag not in tags]
            wrong += [f"{place}: variable {name}" for name in re.findall(r"-e (\w+)=", text) if name not in known]
    assert wrong == []


def test_named_files_exist() -> None:
    """Paths of the project in code spans; capitals and wildcards stand for names that differ."""
    top = {path.name for path in ROOT.iterdir()} - LEFT_BY_RUNS
    missing = []
    for page in PAGES:
        for place, text in page.code_spans():
            is_path = re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", text) and text.partition("/")[0] in top
            there = (ROOT / text).exists() or (page.path.parent / text).exists()
            if is_path and not there and text not in MADE_BY_READERS:
                missing.append(f"{place}: {text}")
    assert missing == []


def test_architecture_has_every_room() -> None:
    """Each folder of the project, each file of the engine's core and each playbook of the main job."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = [path.name + "/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    rooms = [name for name in folders if name.rstrip("/") not in LEFT_BY_RUNS]
    steps = re.findall(r"playbooks/\w+\.yml", (ROOT / "run_all.yml").read_text(encoding="utf-8"))
    assert [name for name in sorted({*rooms, *steps}) if name not in text] == []


def test_drawing_is_current() -> None:
    assert topology_docs.PICTURE.read_text(encoding="utf-8") == topology_docs.drawing(), "run `make docs`"


def test_readme_gives_each_runtime_dependency_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wishes = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    rows = [row.cells for row in README.rows() if "package" in row.cells]
    assert all(cells["why"] for cells in rows)
    listed = {name for cells in rows for name in re.findall(r"`([^`]+)`", cells["package"])}
    assert listed == {Requirement(wish).name for wish in wishes}


def test_readme_explains_each_tag() -> None:
    steps = yaml.safe_load((ROOT / "inventory/group_vars/all/transfer.yml").read_text(encoding="utf-8"))["run_tags"]
    listed = [row.cells["tag"].strip("`") for row in README.rows() if "tag" in row.cells]
    assert listed == ["a mode", *steps]
