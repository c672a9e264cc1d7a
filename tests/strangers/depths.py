"""Writes one picture in every depth and layout that people have: python depths.py FOLDER."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from skimage import data

CUP = Image.fromarray(data.coffee()).resize((40, 30))
GREY, RGB = np.asarray(CUP.convert("L")).astype(np.int64), np.asarray(CUP).astype(np.int64)


def png16(path, pixels, colours):
    """16 bits a value, in colour, which Pillow does not write. colours: PNG's colour type."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def pnm(path, kind, top, pixels):
    values = np.rint(pixels / 255 * top)
    path.write_bytes(b"P%d\n40 30\n%d\n" % (kind, top) + values.astype(">u2" if top > 255 else "u1").tobytes())


def make(folder: Path) -> dict[str, tuple[str, tuple[float, float] | None]]:
    """Write the files; return of each whether it is ``grey``, ``rgb``, ``black`` or ``""`` (refused), and the range with which it is."""
    expected: dict[str, tuple[str, tuple[float, float] | None]] = {}

    def add(name, right, value_range=None):
        expected[name] = (right, value_range)
        return folder / name

    g, r, white = GREY, RGB, np.full_like(GREY, 65535)
    Image.fromarray(g.astype(np.uint8)).save(add("8.png", "grey"))
    Image.fromarray((g * 257).astype(np.uint16)).save(add("16.png", "grey"))
    for bits in (9, 10, 12, 14):
        top = 255 << (bits - 8)
        Image.fromarray((g << (bits - 8)).astype(np.uint16)).save(add(f"{bits} in 16.png", "grey", (0, top)))
    png16(add("rgb16.png", "rgb"), r * 257, 2)
    png16(add("la16.png", "grey"), np.dstack([g * 257, white]), 4)
    png16(add("rgba16.png", "rgb"), np.dstack([r * 257, white]), 6)
    png16(add("rgb 12 in 16.png", ""), r * 16, 2)
    png16(add("rgb 8 in 16.png", ""), r, 2)
    png16(add("la 12 in 16.png", ""), np.dstack([g * 16, white]), 4)
    png16(add("rgba 12 in 16.png", ""), np.dstack([r * 16, white]), 6)
    for name, order in (("little", "<"), ("big", ">")):

        def tiff(what, right, pixels, kind, value_range=None, order=order, name=name, **options):
            tifffile.imwrite(add(f"{what} {name}.tif", right, value_range), pixels.astype(kind), byteorder=order, **options)

        tiff("16", "grey", g * 257, "u2")
        tiff("16 compressed", "grey", g * 257, "u2", compression="zlib")
        tiff("12 in 16", "grey", g * 16, "u2", (0, 4080))
        tiff("signed 16", "grey", g * 128, "i2", (0, 32640))
        tiff("negative 16", "grey", g - 100, "i2", (-100, 155))
        tiff("8 in 32", "grey" if order == "<" else "", g, "u4", (0, 255))
        tiff("32", "grey" if order == "<" else "", g * 16843009, "u4")
        tiff("signed 32", "grey", g * 8421504, "i4", (0, 8421504 * 255))
        tiff("8 in signed 32", "grey", g, "i4", (0, 255))
        tiff("16 in signed 32", "grey", g * 257, "i4", (0, 65535))
        tiff("signed 8", "", g - 128, "i1")
        tiff("signed 8 without negatives", "", g // 2, "i1")
        tiff("white is 0", "grey", 255 - g, "u1", photometric="miniswhite")
        tiff("white is 0 in 16", "grey" if order == "<" else "", 65535 - g * 257, "u2", photometric="miniswhite")
        tiff("white is 0 in floats", "grey", 1 - g / 255, "f4", photometric="miniswhite")
        tiff("black 16", "black", g * 0, "u2")
        tiff("float 1", "grey", g / 255, "f4")
        tiff("float 255", "grey", g, "f4", (0, 255))
        tiff("float -1 to 1", "grey", g / 127.5 - 1, "f4", (-1, 1))
        tiff("half", "", g / 255, "f2")
        tiff("double", "", g / 255, "f8")
        tiff("nan", "", np.where(g > 200, np.nan, g / 255), "f4", (0, 1))
        tiff("infinite", "", np.where(g > 200, np.inf, g / 255), "f4", (0, 1))
        tiff("rgb16", "rgb", r * 257, "u2", photometric="rgb")
        tiff("rgb16 compressed", "rgb", r * 257, "u2", photometric="rgb", compression="zlib")
        tiff("rgb 12 in 16", "", r * 16, "u2", photometric="rgb")
        tiff("rgb 12 in 16 compressed", "", r * 16, "u2", photometric="rgb", compression="zlib")
        tiff("rgb16 in planes", "", np.moveaxis(r * 257, -1, 0), "u2", photometric="rgb", planarconfig="separate")
        tiff("rgb8 in planes", "rgb", np.moveaxis(r, -1, 0), "u1", photometric="rgb", planarconfig="separate")
        tiff("rgb floats", "", r / 255, "f4", photometric="rgb")
        tiff("pages", "grey", np.stack([g, 255 - g]), "u1", photometric="minisblack")
    for top in (255, 1023, 4095, 65535):
        pnm(add(f"{top}.pgm", "grey", (0, top)), 5, top, g)
        pnm(add(f"{top}.ppm", "rgb", (0, top)), 6, top, r)
    pnm(add("12 in 16.ppm", ""), 6, 65535, r / 16)
    (add("float.pfm", "grey")).write_bytes(b"Pf\n40 30\n-1.0\n" + (g[::-1] / 255).astype("<f4").tobytes())
    Image.fromarray((g * 257).astype(np.uint16)).save(add("16.jp2", "grey"))
    Image.fromarray((g * 16).astype(np.uint16)).save(add("12 in 16.jp2", "grey", (0, 4080)))
    for name in ("8.bmp", "8.tga", "8.jp2", "8.sgi", "8.webp", "8.tif", "8.dds"):
        CUP.save(add(name, "rgb"), **({"lossless": True} if name == "8.webp" else {}))
    CUP.convert("CMYK").save(add("cmyk.tif", "rgb"))
    CUP.convert("LA").save(add("la.png", "grey"))
    return expected


if __name__ == "__main__":
    make(Path(sys.argv[1]))
