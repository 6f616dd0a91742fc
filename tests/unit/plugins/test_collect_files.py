from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from action import collect_files

from tests.unit.plugins.modules_in_process import run_module

ALLOWED = ["received/alpine-1", "logs/alpine-1/host.json", "logs/alpine-1/repeats.json"]


def pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, dict[str, object]]:
    """An archive as a server makes it, and what the module said about it."""
    source = tmp_path / "source" / "RUN"
    (source / "multi_thread").mkdir(parents=True, exist_ok=True)
    (source / "multi_thread" / "image1.jpg").write_bytes(b"picture")
    (source / "link").unlink(missing_ok=True)
    (source / "link").symlink_to("/etc/passwd")
    archive = tmp_path / "collected.tar"
    items = [
        {"path": str(source), "into": "received/alpine-1"},
        {"path": str(tmp_path / "not there"), "into": "logs/alpine-1/receiver.log"},
        {"path": str(source), "into": "logs/alpine-1/repeats.json", "digests": True},
    ]
    result = run_module(
        "pack_files", capsys, items=items, description=ALLOWED[1], program="/bin/false", dest=str(archive)
    )
    return archive, result


def test_packed_files_arrive_and_what_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, result = pack(tmp_path, capsys)
    collect_files.unpack(archive, tmp_path, ALLOWED)
    assert (tmp_path / "received/alpine-1/multi_thread/image1.jpg").read_bytes() == b"picture"
    assert result["missing"] == [str(tmp_path / "not there")]
    assert not (tmp_path / "received/alpine-1/link").exists()
    digests = json.loads((tmp_path / "logs/alpine-1/repeats.json").read_text())
    wanted = {"bytes": 7, "sha256": hashlib.sha256(b"picture").hexdigest()}
    assert digests == {"multi_thread/image1.jpg": wanted}


def test_a_link_in_the_place_of_a_folder_or_file_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("precious")
    (tmp_path / "RUN").symlink_to(tmp_path / "secret")
    (tmp_path / "receiver.log").symlink_to(tmp_path / "secret" / "file")
    archive = tmp_path / "collected.tar"
    items = [
        {"path": str(tmp_path / "RUN"), "into": "sent"},
        {"path": str(tmp_path / "RUN"), "into": "repeats.json", "digests": True},
        {"path": str(tmp_path / "receiver.log"), "into": "receiver.log"},
    ]
    run_module("pack_files", capsys, items=items, description="host.json", program="/bin/false", dest=str(archive))
    with tarfile.open(archive) as packed:
        assert packed.getnames() == ["repeats.json", "host.json"]
        assert packed.extractfile("repeats.json").read() == b"{}"  # type: ignore[union-attr]


def test_another_host_may_make_the_same_parent_folder_at_the_same_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_meanwhile(path: str, *_: object) -> None:
        raise FileExistsError(path)

    archive, _ = pack(tmp_path, capsys)
    monkeypatch.setattr(os, "makedirs", made_meanwhile)
    collect_files.unpack(archive, tmp_path, ALLOWED)
    assert (tmp_path / "received/alpine-1/multi_thread/image1.jpg").exists()


def test_host_describes_itself_even_without_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, _ = pack(tmp_path, capsys)
    collect_files.unpack(archive, tmp_path, ALLOWED)
    about = json.loads((tmp_path / ALLOWED[1]).read_text())
    assert sorted(about) == [
        "interfaces",
        "kernel",
        "machine",
        "processors",
        "python",
        "release",
        "udpxfer",
    ]
    assert about["udpxfer"] is None
    assert about["kernel"]


def test_output_of_commands_comes_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "collected.tar"
    commands = [{"run": "echo here; echo there >&2; exit 3", "into": "state.txt"}]
    run_module(
        "pack_files",
        capsys,
        items=[],
        commands=commands,
        description="host.json",
        program="/bin/false",
        dest=str(archive),
    )
    collect_files.unpack(archive, tmp_path, ["state.txt", "host.json"])
    assert (tmp_path / "state.txt").read_text() == "here\nthere\n\n(ended with 3)\n"


def test_collecting_again_takes_the_place_of_the_former(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, _ = pack(tmp_path, capsys)
    stray = tmp_path / "received/alpine-1/stray"
    stray.parent.mkdir(parents=True)
    stray.touch()
    collect_files.unpack(archive, tmp_path, ALLOWED)
    assert not stray.exists()


def test_what_a_host_no_longer_has_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, _ = pack(tmp_path, capsys)
    kept = tmp_path / "logs/alpine-1/receiver.log"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with pytest.raises(ValueError, match=r"no longer has .*logs/alpine-1/receiver\.log\. .* was kept"):
        collect_files.unpack(archive, tmp_path, [*ALLOWED, "logs/alpine-1/receiver.log"])
    assert kept.exists()
    assert not (tmp_path / "received").exists()


def test_a_diagnosis_holds_nothing_of_a_former_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, _ = pack(tmp_path, capsys)
    former = tmp_path / "logs/alpine-1/receiver.log"
    former.parent.mkdir(parents=True)
    former.touch()
    collect_files.unpack(archive, tmp_path, [*ALLOWED, "logs/alpine-1/receiver.log"], keep=False)
    assert not former.exists()
    assert (tmp_path / "received").exists()


def test_an_archive_cut_short_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"content")
    collect_files.check_content(archive, hashlib.sha256(b"content").hexdigest())
    with pytest.raises(ValueError, match=r"7 bytes came over SSH.*--tags collect"):
        collect_files.check_content(archive, hashlib.sha256(b"content and more").hexdigest())


@pytest.mark.parametrize(
    "name",
    ["received/alpine-3/x", "../x", "/tmp/x", "plan.json", "received/alpine-1x", "received/alpine-1/../../x"],
)
def test_a_host_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    archive_path = tmp_path / "hostile.tar"
    with tarfile.open(archive_path, "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ValueError, match="nobody asked for"):
        collect_files.unpack(archive_path, tmp_path / "dest", ALLOWED)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_only_files_and_folders_are_unpacked(tmp_path: Path, kind: bytes) -> None:
    archive_path = tmp_path / "hostile.tar"
    member = tarfile.TarInfo("received/alpine-1/x")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(archive_path, "w") as archive:
        archive.addfile(member)
    with pytest.raises(ValueError, match="nobody asked for"):
        collect_files.unpack(archive_path, tmp_path / "dest", ALLOWED)
