"""Small copies of the images, to lie in a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

LONGEST_SIDE = 320
QUALITY = 72


@dataclass(frozen=True)
class Thumbnail:
    """A picture for a page: its address (a data URI) and size, and that of the picture it was made from."""

    address: str
    width: int
    height: int
    full_width: int
    full_height: int


def thumbnail(path: Path) -> Thumbnail | None:
    """A small copy of an image file; None when it is not there or cannot be decoded whole."""
    from PIL import Image  # late: a run without images should not pay for it

    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            full_width, full_height = image.size
            image.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
            small = image.convert("RGB")
            small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    # Pillow's decoders raise whatever a broken file leads them to.
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, Image.DecompressionBombError):
        return None
    small.save(buffer, "WEBP", quality=QUALITY)
    address = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(address, small.width, small.height, full_width, full_height)
