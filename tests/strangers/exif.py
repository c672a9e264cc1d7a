"""Writes good JPEGs to a folder, python exif.py FOLDER: each one's EXIF says orientation 6 and gives XResolution in a type that it cannot have."""

import io
import struct

from PIL import Image
from skimage import data


def write(path, typ, tag=0x011A):
    b = io.BytesIO()
    Image.fromarray(data.coffee()).resize((160, 120)).save(b, "JPEG")
    b = b.getvalue()
    ifd = (
        struct.pack("<H", 2)
        + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
        + struct.pack("<HHII", tag, typ, 8, 8 + 2 + 24 + 4)
        + struct.pack("<I", 0)
        + b"72/1\0\0\0\0"
    )
    app1 = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + ifd
    open(path, "wb").write(b[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + b[2:])


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for typ in (1, 2, 7, 3, 4, 12):
        write(Path(sys.argv[1]) / f"exif_type_{typ}.jpg", typ)
