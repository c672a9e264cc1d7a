"""Files that people have among their images: what is wrong with each, and what is to become of it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.strangers import exif as damaged

UNREADABLE = "error: unreadable"


def gradient(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that looks different from every side."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, (x > 2 * y) * 255.0], -1).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A valid PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def make(folder: Path) -> dict[str, str]:
    """Write the corpus below a folder; return each image's id and how its status is to start where it is an error."""
    folder.mkdir(parents=True)
    picture, expected = gradient(), {}

    def add(name: str, status: str = "") -> Path:
        expected[name] = status
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        return path

    picture.save(add("good.png"))
    picture.save(add("truncated.jpg", UNREADABLE), quality=95)
    (folder / "truncated.jpg").write_bytes((folder / "truncated.jpg").read_bytes()[:900])
    add("zero.jpg", UNREADABLE).write_bytes(b"")
    add("text.jpg", UNREADABLE).write_text("not an image")
    add("bomb.png", UNREADABLE).write_bytes(png_header(20000, 20000))
    add("empty.png", UNREADABLE).write_bytes(png_header(8, 8))
    add("to itself.png", UNREADABLE).symlink_to(folder / "to itself.png")
    add("to nothing.png", UNREADABLE).symlink_to(folder / "absent")
    picture.save(add("one.gif"), save_all=True, append_images=[picture.transpose(Image.Transpose.ROTATE_180)])
    Image.fromarray(np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)).save(add("sixteen.png"))
    Image.fromarray(np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)).save(add("sixteen.tif"))
    Image.fromarray(np.linspace(0, 4095, 48 * 64).reshape(48, 64).astype(np.uint16)).save(add("twelve in sixteen.png", UNREADABLE))
    Image.fromarray(np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.float32)).save(add("float.tif", UNREADABLE))
    Image.fromarray(np.full((48, 64), np.nan, np.float32)).save(add("nan.tif", UNREADABLE))
    damaged.write(add("damaged exif.jpg"), 2)
    picture.save(add("name.jfif"), "JPEG")
    picture.convert("CMYK").save(add("cmyk.jpg"))
    picture.convert("P").save(add("palette.png"))
    picture.convert("L").save(add("grey.jpg"))
    picture.convert("1").save(add("bits.png"))
    with_alpha = picture.copy()
    with_alpha.putalpha(picture.convert("L"))
    with_alpha.save(add("alpha.png"))
    picture.convert("LA").save(add("grey alpha.png"))
    Image.new("RGB", (1, 1), (200, 30, 30)).save(add("one pixel.png"))
    gradient((900, 3)).save(add("long.png"))
    Image.new("RGB", (1, 30000), (200, 30, 30)).save(add("strip.png"))
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        turned(picture, turn).save(add(f"turned {turn}.png"), exif=exif)
    for name in (
        "a b.png",
        'it\'s "quoted".png',
        "two\nlines.png",
        "naïve 猫 🐈.png",
        "-m.png",
        "a=b,c.png",
        "<b>&amp;.png",
        "deep/good.png",
    ):
        picture.save(add(name))
    with open(os.fsencode(folder) + b"/\xff.png", "wb") as file:  # no name in any encoding of today
        picture.save(file, "png")
    expected["\\xff.png"] = ""
    (folder / "deep" / "loop").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.png")  # would be waited for without end
    (folder / "folder.png").mkdir()
    (folder / "notes.txt").write_text("no image, and not named like one")
    (folder / ".ipynb_checkpoints").mkdir()
    picture.save(folder / ".ipynb_checkpoints" / "good-checkpoint.png")
    (folder / "._good.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    return expected


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture stored so that the EXIF orientation makes it upright again."""
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    return picture.transpose(Image.Transpose[undo[orientation]]) if orientation in undo else picture
