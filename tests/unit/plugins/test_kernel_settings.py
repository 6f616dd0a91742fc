"""Settings are files of a folder that stands for /proc/sys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from modules import kernel_settings

from tests.unit.plugins.modules_in_process import run_module

NAME = "net.core.rmem_max"


class Host:
    """A host with one kernel setting."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.setting = folder / "proc" / "net" / "core" / "rmem_max"
        self.setting.parent.mkdir(parents=True)
        self.setting.write_text("1000\n")
        self.file = folder / "sysctl.d" / "60-test.conf"
        self.capsys = capsys

    @property
    def value(self) -> int:
        return int(self.setting.read_text())

    def call(self, *, check: bool = False, **options: object) -> dict[str, Any]:
        return run_module("kernel_settings", self.capsys, check=check, file=str(self.file), **options)


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(kernel_settings, "PROC", tmp_path / "proc")
    return Host(tmp_path, capsys)


def test_a_small_one_is_raised_kept_and_put_back(host: Host) -> None:
    assert host.call(at_least={NAME: 4000})["changed"]
    assert host.value == 4000
    assert f"\n{NAME} = 4000\n" in host.file.read_text()
    assert not host.call(at_least={NAME: 4000})["changed"]
    assert host.call(at_least={NAME: 5000})["changed"]
    assert host.value == 5000
    assert host.call(state="absent")["changed"]
    assert host.value == 1000
    assert not host.file.exists()
    assert not host.call(state="absent")["changed"]


def test_what_is_not_asked_for_any_more_is_left_alone(host: Host) -> None:
    host.call(at_least={NAME: 4000})
    text = host.file.read_text()
    assert not host.call(at_least={})["changed"]
    assert not host.call(at_least={"net.core.none": 1})["changed"]
    assert not host.call(at_least={NAME: 3000})["changed"]
    assert host.file.read_text() == text
    assert host.value == 4000


def test_what_somebody_raised_since_stays(host: Host) -> None:
    host.call(at_least={NAME: 4000})
    host.setting.write_text("9000\n")
    assert host.call(state="absent")["changed"]
    assert host.value == 9000
    assert not host.file.exists()


def test_a_file_is_written_whole_or_not_at_all(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.call(at_least={NAME: 4000})
    text = host.file.read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        host.call(at_least={NAME: 5000})
    assert host.file.read_text() == text
    assert list(host.file.parent.iterdir()) == [host.file]


def test_a_large_one_is_left_alone(host: Host) -> None:
    assert not host.call(at_least={NAME: 500})["changed"]
    assert host.value == 1000
    assert not host.file.exists()


def test_check_mode_tells_and_touches_nothing(host: Host) -> None:
    result = host.call(check=True, at_least={NAME: 4000})
    assert result["changed"]
    assert f"{NAME} = 4000" in result["diff"]["after"]
    assert host.value == 1000
    assert not host.file.exists()


def test_a_refusal_is_told_and_no_failure(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_settings, "write", lambda _name, _value: "Permission denied")
    result = host.call(at_least={NAME: 4000, "net.core.none": 1})
    assert not result["changed"]
    assert not result.get("failed")
    assert result["refused"] == {NAME: "Permission denied", "net.core.none": "this kernel has no such setting here"}
    assert not host.file.exists()
