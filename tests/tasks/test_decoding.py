"""Images of every kind are decoded as colour, to their last byte."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relattn.errors import InputError
from relattn.tasks.decoding import decode_wholly, read_image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (40, 24, 4), dtype=np.uint8)
GREY, RGBA, RGB = (Image.fromarray(part) for part in (NOISE[..., 0], NOISE, NOISE[..., :3]))
KINDS = {
    "grey PNG": encoded(GREY, "PNG"),
    "RGBA PNG": encoded(RGBA, "PNG"),
    "16-bit PNG": encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257), "PNG"),
    "palette PNG": encoded(RGB.convert("P"), "PNG"),
    "grey JPEG": encoded(GREY, "JPEG"),
    "progressive JPEG": encoded(RGB, "JPEG", progressive=True),
    "CMYK JPEG": encoded(RGB.convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_kind_are_read_as_colour_by_both(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(KINDS[kind])
    assert decode_wholly(KINDS[kind]).shape == read_image(file).shape == (40, 24, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_may_lack_its_second_half(kind: str) -> None:
    content = KINDS[kind]
    for length in (0, 1, 8, len(content) // 2, len(content) - 13):
        with pytest.raises(InputError, match=r"empty|neither JPEG nor PNG|cut off before its end|damaged"):
            decode_wholly(content[:length])
