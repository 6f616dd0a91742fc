from __future__ import annotations

from pathlib import Path

import pytest
from alpinelab import samples
from PIL import Image

SMALL = tuple(
    samples.Sample(sample.name, sample.title, sample.centre, sample.width, (120, 90), sample.options)
    for sample in samples.SAMPLES
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small images, drawn into a cache of the test's own."""
    monkeypatch.setattr(samples, "SAMPLES", SMALL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def publish(folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    samples.publish(folder, lambda _: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_images_are_real_differ_and_are_drawn_alike_each_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(tmp_path / "one")
    assert set(first) == {"image1.jpg", "image2.png"}
    for name, kind in (("image1.jpg", "JPEG"), ("image2.png", "PNG")):
        with Image.open(tmp_path / "one" / name) as picture:
            picture.load()
            assert (picture.format, picture.size) == (kind, (120, 90))
            colours = picture.getcolors(120 * 90)
            assert colours is not None
            assert len(colours) > 1000
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.with_name("other")))
    assert publish(tmp_path / "two") == first


def test_own_image_is_left_alone(tmp_path: Path, cache: Path) -> None:
    www = tmp_path / "www"
    www.mkdir()
    (www / "image1.jpg").write_bytes(b"mine")
    found = publish(www)
    assert found["image1.jpg"] == b"mine"
    assert set(found) == {"image1.jpg", "image2.png"}
    assert cache.is_dir()


def test_second_lab_takes_the_images_that_are_drawn(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(tmp_path / "one")
    assert cache.is_dir()
    monkeypatch.setattr(samples, "_draw", lambda _: pytest.fail("drawn again"))
    assert publish(tmp_path / "two") == first
