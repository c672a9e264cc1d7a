"""Write a model as an ONNX graph, and the images as it sees them, for programs of other environments.

    python examples/rex/prepare.py FOLDER model=efficientnet_lite0 dataset=image_folder dataset.root=PHOTOS select.count=24

The graph takes one image ``images`` [1, 3, h, w] of values in [0, 1], which it normalises itself, and returns logits. Each image is
``FOLDER/images/ID.npy`` [3, h, w], by the id that it has in the rows.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from hydra.utils import instantiate

from benchmarks.data import select
from benchmarks.engines.graphs import exported
from benchmarks.inputs.compose import composed


def main(folder: Path, overrides: list[str]) -> None:
    settings = composed(*overrides)
    model = instantiate(settings.model)
    rule = settings.select
    images = select(instantiate(settings.dataset), n=rule.count, order=rule.order, seed=settings.seed, skip=rule.skip)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(exported(model, batch=1), folder / "model.onnx")
    for photograph in images.photographs:
        path = folder / "images" / f"{photograph.id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, photograph.tensor(model.preprocessing).numpy())
    print(f"{folder}: model.onnx and {len(images)} images")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
