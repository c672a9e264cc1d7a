"""A folder of images as people have them: every mode, orientation and name, and what is no image at all."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

READABLE = ("grey16.png", "cmyk.jpg", "palette.png", "alpha.png", "one bit.png", "animated.gif", "one pixel.png", "tall.png", "float.tif")
NAMES = (
    "a space.png",
    "a \"quote\" and 'another'.png",
    "a\nnewline.png",
    "猫 ñ é.png",
    "percent%20.png",
    "semi;colon,comma.png",
    "-dash.png",
)


def write(folder: Path) -> dict[str, bool]:
    """Write the corpus and return whether each image, by its path in the folder, can be read."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(40, 255, (24, 32, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels)
    grey = pixels[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "grey16.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.quantize(16).save(folder / "palette.png", transparency=3)
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.convert("1").save(folder / "one bit.png")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[rgb.rotate(90)])
    rgb.resize((1, 1)).save(folder / "one pixel.png")
    rgb.resize((2, 300)).save(folder / "tall.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(folder / "float.tif")
    found = dict.fromkeys(READABLE, True)
    for turned in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turned
        rgb.save(folder / f"exif {turned}.jpg", exif=exif)
        found[f"exif {turned}.jpg"] = True
    for name in NAMES:
        rgb.save(folder / name)
        found[name] = True
    rgb.save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    (folder / "bomb.png").write_bytes(bomb(20_000, 20_000))
    (folder / "archive.png").write_bytes(b"PK\x03\x04" + bytes(200))
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    found |= {"whole.jpg": True} | dict.fromkeys(("truncated.jpg", "zero.png", "text.jpg", "bomb.png", "archive.png", "gone.png"), False)
    (folder / "below").mkdir()
    rgb.save(folder / "below" / "nested.png")
    found["below/nested.png"] = True
    (folder / "below" / "loop").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.png")  # no file: left out, and not waited for
    (folder / "folder.png").mkdir()
    (folder / "notes.txt").write_text("left out")
    return found


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than anyone should unpack."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
