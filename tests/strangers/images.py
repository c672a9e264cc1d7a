"""Writes the odd photographs and folders of people to a folder: python images.py FOLDER."""

import os
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

D = Path(sys.argv[1])
cup = Image.fromarray(data.coffee()).resize((160, 120))


def d(n):
    p = D / n
    shutil.rmtree(p, ignore_errors=True)
    p.mkdir(parents=True)
    return p


p = d("one")
cup.save(p / "cup.png")
p = d("two")
cup.save(p / "cup.png")
cup.rotate(90).save(p / "cup2.png")
# hidden files
p = d("hidden")
cup.save(p / "a.jpg")
(p / "._a.jpg").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + b"\0" * 60)
(p / ".ipynb_checkpoints").mkdir()
cup.save(p / ".ipynb_checkpoints" / "a-checkpoint.jpg")
(p / "@eaDir").mkdir()
cup.resize((40, 30)).save(p / "@eaDir" / "SYNOPHOTO_THUMB_S.jpg")
# suffixes
p = d("suffixes")
cup.save(p / "a.jpg")
for s in ("jfif", "jpe", "avif", "jp2", "pgm", "pnm"):
    try:
        f = {"jfif": "JPEG", "jpe": "JPEG", "avif": "AVIF", "jp2": "JPEG2000", "pgm": "PPM", "pnm": "PPM"}[s]
        (cup.convert("L") if s == "pgm" else cup).save(p / f"b.{s}", f)
    except Exception as e:
        print(s, e)
# links
p = d("links")
q = d("elsewhere")
cup.save(q / "far.jpg")
cup.rotate(180).save(p / "near.jpg")
(p / "album").symlink_to(q, target_is_directory=True)
# grey depths
grey = np.asarray(cup.convert("L"))
p = d("depth")
Image.fromarray(grey).save(p / "a8.png")
Image.fromarray(grey.astype(np.uint16) * 257).save(p / "b16full.png")
Image.fromarray(grey.astype(np.uint16) * 16).save(p / "c12in16.png")
Image.fromarray(grey.astype(np.float32)).save(p / "d_float255.tif")
Image.fromarray(grey.astype(np.float32) / 255).save(p / "e_float1.tif")
Image.fromarray(grey.astype(np.int32)).save(p / "f_int32.tif")
f = grey.astype(np.float32) / 255
f[:5] = np.nan
Image.fromarray(f).save(p / "g_floatnan.tif")
# exif
import io

p = d("exif")


def jpeg_with(app1, name):
    b = io.BytesIO()
    cup.save(b, "JPEG", quality=95)
    b = b.getvalue()
    seg = b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1
    (p / name).write_bytes(b[:2] + seg + b[2:])


cup.save(p / "a_good.jpg", quality=95)
jpeg_with(b"Exif\0\0", "b_blank.jpg")
jpeg_with(b"Exif\0\0Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\1\0\0\0\0\0\0\0", "c_doubled.jpg")
jpeg_with(b"Exif\0\0garbage garbage", "d_garbage.jpg")
jpeg_with(b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\1\3\0\1\0\0\0\1\0\0\0", "e_many.jpg")
jpeg_with(b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0ab\0\0\0\0\0\0", "f_text_orientation.jpg")
jpeg_with(b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\5\0\0\0\1\0\0\0\x1a\0\0\0\0\0\0\0\0\0\0\0\0", "g_rational_orientation.jpg")
jpeg_with(b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\2\0\0\0\6\0\6\0\0\0\0\0", "h_two_orientations.jpg")
jpeg_with(b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0\0\0\0\0", "i_nine.jpg")
jpeg_with(b"Exif\0\0II*\0\x08\0\0\0\2\0\x12\1\3\0\1\0\0\0\6\0\0\0\x0e\1\2\0\xff\xff\0\0\xf0\xff\xff\x7f\0\0\0\0", "j_bad_offset.jpg")
# sizes
p = d("strip")
Image.new("RGB", (1, 30000), (200, 90, 10)).save(p / "strip.png")
p = d("constant")
Image.new("RGB", (64, 64), (120, 120, 120)).save(p / "grey.png")
Image.new("RGB", (64, 64)).save(p / "black.png")
Image.new("RGB", (64, 64), "white").save(p / "white.png")
# class folders, labels
p = d("classes")
for n, im in (("cat", cup), ("dog", cup.rotate(180))):
    (p / n).mkdir()
    im.save(p / n / "a.png")
    im.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(p / n / "b.png")
p = d("dup")
(p / "crane").mkdir()
cup.save(p / "crane" / "a.png")
(p / "dog").mkdir()
cup.save(p / "dog" / "a.png")
p = d("digits")
(p / "7").mkdir()
cup.save(p / "7" / "a.png")
(p / "1").mkdir()
cup.save(p / "1" / "a.png")
p = d("empty_class")
(p / "n02124075").mkdir()
(p / "n01440764").mkdir()
cup.save(p / "n01440764" / "a.JPEG")
# dates and odd folder names
for n in ("2024_11_28", "123", "1e3", "a=b", "a,b", "a b", "a#b", "100%", "a@b", "null", "true", "ünï 猫"):
    p = d("names/" + n)
    cup.save(p / "cup.png")
# file with no encoding
with open(os.fsencode(D) + b"/\xff\xfe.png", "wb") as f:
    cup.save(f, "PNG")
cup.save(D / ("x" * 246 + ".png"))
cup.save(D / "photo.png")
cup.save(D / "photo.jpg")
