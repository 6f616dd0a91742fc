"""The sample images that nat1 serves: two details of the Mandelbrot set, the same bytes on every run."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .image import Say, cache_folder
from .system import LabError, locked

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Sample:
    """One image: file name, title on it, centre and width of the detail, size in pixels, options for saving."""

    name: str
    title: str
    centre: tuple[float, float]
    width: float
    size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)


# Sizes and quality are chosen for about 300 KB and about 3 MB.
SAMPLES = (
    Sample("image1.jpg", "image 1", (0.2855, 0.0115), 0.01, (1400, 1050), {"quality": 85}),
    Sample("image2.png", "image 2", (-0.7453, 0.1127), 0.0065, (2000, 1500)),
)
LOCK_TIMEOUT_S = 120.0
# Drawn larger and scaled down, for smooth edges.
OVERSAMPLING = 2
# Frequency and phase of red, green and blue over the depths of the set.
CHANNELS = ((3.0, 0.0), (2.5, 0.5), (2.0, 1.0))


def publish(folder: Path, say: Say) -> None:
    """Put the images into `folder`; one that is there, whoever made it, is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    cache = cache_folder()
    drawn = cache / f"samples-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}"
    with locked(cache / "samples.lock", LOCK_TIMEOUT_S, "another lab draws the sample images and does not end"):
        for sample in SAMPLES:
            if not (drawn / sample.name).exists():
                say(f"drawing {sample.name}")
                _save(_draw(sample), drawn / sample.name, sample.options)
    for sample in SAMPLES:
        if not (folder / sample.name).exists():
            unfinished = folder / f".{sample.name}"
            shutil.copyfile(drawn / sample.name, unfinished)
            unfinished.replace(folder / sample.name)


def _save(picture: Image.Image, target: Path, options: dict[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    with unfinished.open("wb") as file:
        picture.save(file, target.suffix[1:].replace("jpg", "jpeg"), **options)
    unfinished.replace(target)


def _draw(sample: Sample) -> Image.Image:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise LabError("the Python package pillow is missing; install with: pip install pillow") from None
    (x, y), (columns, rows) = sample.centre, sample.size
    dx, dy = sample.width / 2, sample.width * rows / columns / 2
    large = (columns * OVERSAMPLING, rows * OVERSAMPLING)
    depth = Image.effect_mandelbrot(large, (x - dx, y - dy, x + dx, y + dy), 255)
    coloured = Image.merge("RGB", [depth.point(_wave(*channel)) for channel in CHANNELS])
    picture = coloured.resize(sample.size, Image.Resampling.LANCZOS)
    ImageDraw.Draw(picture).text(
        (columns // 24, rows // 24),
        sample.title,
        fill="white",
        stroke_width=rows // 250,
        stroke_fill="black",
        font=ImageFont.load_default(rows / 12),
    )
    return picture


def _wave(frequency: float, phase: float) -> list[int]:
    """A colour channel over the 256 depths, going up and down; the set itself (the deepest) is black."""
    return [round(127.5 - 127.5 * cos(phase + frequency * 2 * pi * depth / 255)) for depth in range(255)] + [0]
