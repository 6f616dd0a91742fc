"""Ansible action on the controller: have two images to serve, details of the Mandelbrot set, the same bytes on every run."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from dataclasses import dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils.host_files import put_file


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
# Drawn larger and scaled down, for smooth edges.
OVERSAMPLING = 2
# Frequency and phase of red, green and blue over the depths of the set.
CHANNELS = ((3.0, 0.0), (2.5, 0.5), (2.0, 1.0))


def publish(folder: Path, *, check: bool) -> bool:
    """Put the images into the folder (not with `check`); one that is there, whoever made it, is left alone. True when any was missing."""
    missing = [sample for sample in SAMPLES if not (folder / sample.name).exists()]
    if not check:
        folder.mkdir(parents=True, exist_ok=True)
        for sample in missing:
            put_file(folder / sample.name, drawn(sample), 0o644)
    return bool(missing)


def drawn(sample: Sample) -> bytes:
    """The image's file. Drawing takes seconds, so all labs of this user share it, by a digest of this program."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "udpxfer-lab"
    kept = cache / f"samples-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]}" / sample.name
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        put_file(kept, draw(sample), 0o644)
    return kept.read_bytes()


def draw(sample: Sample) -> bytes:
    """The image as a file of the kind that its name says. Raises AnsibleActionFail without Pillow."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        message = (
            "The Python package pillow is missing, which draws the sample images. Install it with: pip install pillow"
        )
        raise AnsibleActionFail(message) from None
    (x, y), (columns, rows) = sample.centre, sample.size
    dx, dy = sample.width / 2, sample.width * rows / columns / 2
    large = (columns * OVERSAMPLING, rows * OVERSAMPLING)
    depth = Image.effect_mandelbrot(large, (x - dx, y - dy, x + dx, y + dy), 255)
    coloured = Image.merge("RGB", [depth.point(wave(*channel)) for channel in CHANNELS])
    picture = coloured.resize(sample.size, Image.Resampling.LANCZOS)
    ImageDraw.Draw(picture).text(
        (columns // 24, rows // 24),
        sample.title,
        fill="white",
        stroke_width=rows // 250,
        stroke_fill="black",
        font=ImageFont.load_default(rows / 12),
    )
    file = io.BytesIO()
    picture.save(file, sample.name.rpartition(".")[2].replace("jpg", "jpeg"), **sample.options)
    return file.getvalue()


def wave(frequency: float, phase: float) -> list[int]:
    """A colour channel over the 256 depths, going up and down; the set itself (the deepest) is black."""
    return [round(127.5 - 127.5 * cos(phase + frequency * 2 * pi * depth / 255)) for depth in range(255)] + [0]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: folder (on the controller; made when missing)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Put the images that are missing into the folder."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"folder": {"type": "path", "required": True}})
        result["changed"] = publish(Path(given["folder"]), check=self._task.check_mode)
        return result
