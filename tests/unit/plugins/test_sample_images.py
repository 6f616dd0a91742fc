from __future__ import annotations

from pathlib import Path

import pytest
from action import sample_images
from PIL import Image

SMALL = tuple(
    sample_images.Sample(sample.name, sample.title, sample.centre, sample.width, (120, 90), sample.options)
    for sample in sample_images.SAMPLES
)
NAMES = {"image1.jpg", "image2.png"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small images, drawn into a cache of the test's own."""
    monkeypatch.setattr(sample_images, "SAMPLES", SMALL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def publish(folder: Path, *, check: bool = False) -> bool:
    return sample_images.publish(folder, check=check)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("cache")
def test_images_are_real_differ_and_are_drawn_alike_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert publish(tmp_path / "one")
    assert set(files(tmp_path / "one")) == NAMES
    for name, kind in (("image1.jpg", "JPEG"), ("image2.png", "PNG")):
        with Image.open(tmp_path / "one" / name) as picture:
            picture.load()
            assert (picture.format, picture.size) == (kind, (120, 90))
            colours = picture.getcolors(120 * 90)
            assert colours is not None
            assert len(colours) > 1000
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    publish(tmp_path / "two")
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.usefixtures("cache")
def test_own_image_is_left_alone(tmp_path: Path) -> None:
    www = tmp_path / "www"
    www.mkdir()
    (www / "image1.jpg").write_bytes(b"mine")
    publish(www)
    assert files(www)["image1.jpg"] == b"mine"
    assert set(files(www)) == NAMES
    assert not publish(www)


def test_second_lab_takes_the_images_that_are_drawn(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "one")
    assert cache.is_dir()
    monkeypatch.setattr(sample_images, "draw", lambda _: pytest.fail("drawn again"))
    publish(tmp_path / "two")
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_check_mode_draws_none(tmp_path: Path, cache: Path) -> None:
    assert publish(tmp_path / "www", check=True)
    assert not (tmp_path / "www").exists()
    assert not cache.exists()
