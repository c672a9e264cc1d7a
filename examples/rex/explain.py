"""ReX's responsibility maps and explanations of images, as files for ``method=precomputed``. Runs in an environment of its own.

    python explain.py FOLDER

FOLDER is what ``prepare.py`` wrote; the maps go to ``FOLDER/maps``. ReX has its own defaults. Its ``mask_value`` of 0 replaces what the
network is fed, after any normalisation, where 0 is the mean colour; here the graph is fed values in [0, 1] and normalises inside, so that 0
is black.
"""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import onnxruntime
import torch
from PIL import Image
from rex_xai.explanation.rex import explanation
from rex_xai.input.config import CausalArgs
from rex_xai.input.input_data import Data
from rex_xai.responsibility.prediction import from_pytorch_tensor


class Counted:
    """The network as ReX calls it, and how many images it was shown."""

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self.shape = [1, *self.session.get_inputs()[0].shape[1:]]
        self.images = 0

    def prediction_function(self, mutants, target=None, raw=False, **_):
        logits = [self.session.run(None, {"images": one.reshape(self.shape).numpy()})[0] for one in mutants]
        self.images += len(logits)
        scores = torch.from_numpy(np.concatenate(logits))
        return scores.softmax(1) if raw else from_pytorch_tensor(scores, target=target)


def preprocess(path, shape, device):
    pixels = np.load(path)
    data = Data(Image.fromarray((pixels * 255).astype(np.uint8).transpose(1, 2, 0)), shape, device, mode="RGB")
    data.data = torch.from_numpy(pixels)[None]
    return data


def main(folder: Path) -> None:
    network = Counted(folder / "model.onnx")
    script = SimpleNamespace(preprocess=preprocess, prediction_function=network.prediction_function, model_shape=network.shape)
    for path in sorted((folder / "images").rglob("*.npy")):
        to = (folder / "maps" / path.relative_to(folder / "images")).with_suffix(".npz")
        if to.exists():
            continue
        settings = CausalArgs()
        settings.path, settings.script, settings.mode = str(path), script, "RGB"
        settings.seed, settings.mask_value = 0, 0
        settings.gpu = settings.progress_bar = False
        network.images = 0
        found = explanation(settings, torch.device("cpu"))
        saliency = np.asarray(found.target_map, np.float32)
        kept = np.asarray(found.sufficiency_mask).reshape(-1, *saliency.shape)[0]
        to.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(to, saliency=saliency, kept=kept, queries=network.images)
        print(f"{to}: {kept.mean():.3f} of the image, {network.images} queries", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
