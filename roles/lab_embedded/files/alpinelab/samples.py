"""The sample images that nat1 serves: made here, the same on every run, nice to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .image import Say
from .system import LabError

# Name in www, view of the Mandelbrot set (left, bottom, right, top), title, size in pixels, options for saving.
# Sizes are chosen for about 300 KB and about 3 MB.
IMAGES: tuple[tuple[str, tuple[float, float, float, float], str, tuple[int, int], dict[str, Any]], ...] = (
    ("image1.jpg", (-0.7502, 0.0985, -0.7402, 0.106), "image 1", (1280, 960), {"quality": 80}),
    ("image2.png", (-0.1668, 1.0285, -0.1568, 1.036), "image 2", (1600, 1200), {}),
)


def make(folder: Path, say: Say) -> None:
    """Make the images that are missing in `folder`; one that is there, whoever made it, is left alone."""
    for name, view, title, size, options in IMAGES:
        target = folder / name
        if target.exists():
            continue
        say(f"drawing {name}")
        unfinished = target.with_stem(f".{target.stem}")
        _draw(view, title, size).save(unfinished, **options)
        unfinished.replace(target)


def _draw(view: tuple[float, float, float, float], title: str, size: tuple[int, int]) -> Any:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise LabError("the Python package pillow is missing: install it with pip install pillow") from None
    depth = Image.effect_mandelbrot(size, view, 250)
    colours = (depth.point(_wave(1.0, 0.0)), depth.point(_wave(1.7, 1.0)), depth.point(_wave(2.3, 2.0)))
    picture = Image.merge("RGB", colours)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size[1] // 12)
    draw.text((size[0] // 24, size[1] // 24), title, fill="white", stroke_width=4, stroke_fill="black", font=font)
    return picture


def _wave(frequency: float, phase: float) -> list[int]:
    """A colour channel over the 256 depths, going up and down so that neighbouring depths stay close."""
    from math import cos, pi

    return [round(127.5 - 127.5 * cos(phase + frequency * 2 * pi * depth / 255)) for depth in range(256)]
