"""How often engines decide differently: ``python -m benchmarks.tools.decisions``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.engines.engine import Engine
from benchmarks.engines.loading import load
from benchmarks.engines.views import View
from benchmarks.inputs.compose import as_json, composed
from benchmarks.inputs.messages import cause
from benchmarks.jobs.resolve import resolve
from benchmarks.models.classifier import Model
from da.rng import image_rng
from da.types import Images
from da.walk import dynamic_ablation


@dataclass
class Counts:
    """An engine beside PyTorch at fp32 on the same masked images."""

    engine: str
    decisions: int = 0
    differ: int = 0
    labels_differ: int = 0
    largest: float = 0.0  # difference of a logit


class Watched:
    """PyTorch's label model, which asks the other engines about the same images and keeps count.

    A decision is whether the class is that of the whole image.
    """

    def __init__(self, reference: View, others: dict[str, View], counts: dict[str, Counts]) -> None:
        self.reference, self.others, self.counts = reference, others, counts
        self.targets = torch.empty(0)

    def __call__(self, images: Images, /) -> Tensor:
        """Predicted classes ``[m]``."""
        logits = self.reference.logits(images)
        labels = logits.argmax(1)
        for name, engine in self.others.items():
            found, count = engine.logits(images), self.counts[name]
            count.decisions += len(images)
            count.differ += int(((found.argmax(1) == self.targets) != (labels == self.targets)).sum())
            count.labels_differ += int((found.argmax(1) != labels).sum())
            count.largest = max(count.largest, float((found - logits).abs().max()))
        return labels


def measure(
    reference: Engine, others: dict[str, Engine], images: Sequence[tuple[str, Tensor]], masks: int, out: Path | None
) -> list[Counts]:
    """Walk over images, as many at a time as a pass has, and count; what is known so far is written to ``out``."""
    watched = Watched(View(reference), {name: View(engine) for name, engine in others.items()}, {name: Counts(name) for name in others})
    for start in range(0, len(images), reference.batch):
        ids, pixels = zip(*images[start : start + reference.batch], strict=True)
        batch = torch.stack(pixels)
        watched.targets = watched.reference.logits(batch).argmax(1)
        rngs = [image_rng(0, "method", one) for one in ids]
        dynamic_ablation(watched, batch, watched.targets, rngs=rngs, iterations=masks)
        if out:
            done = {"images": start + len(ids), "masks": masks, "engines": [asdict(one) for one in watched.counts.values()]}
            out.write_text(json.dumps(done, indent=1) + "\n")
    return list(watched.counts.values())


def loaded(model_json: str, name: str, batch: int) -> tuple[Model, Engine]:
    """A model and an engine such as ``onnxruntime`` or ``openvino/bf16``."""
    kind, _, precision = name.partition("/")
    given = [f"engine={kind}", f"engine.batch={batch}", *([f"engine.precision={precision}"] if precision else [])]
    return load(model_json, as_json(composed(*given).engine))


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.decisions",
        description="Walk as da_pos does with PyTorch, ask other engines about every masked image, and count decisions that differ.",
        epilog="Example\n  python -m benchmarks.tools.decisions --engines onnxruntime openvino/bf16 --masks 50 dataset.root=photos",
    )
    parser.add_argument("--engines", nargs="+", default=["onnxruntime"], metavar="ENGINE", help="such as onnxruntime or openvino/bf16")
    parser.add_argument("--masks", type=int, default=500, help="an image; one more is the premise")
    parser.add_argument("--batch", type=int, default=16, help="images a forward pass")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counts, after every batch of images")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="model, dataset and select, as of python -m benchmarks")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return the exit code."""
    args = options().parse_intermixed_args(arguments)
    try:
        cfg = composed(*args.overrides)
        model, reference = loaded(as_json(cfg.model), "torch", args.batch)
        others = {name: loaded(as_json(cfg.model), name, args.batch)[1] for name in args.engines}
        images = [(one.id, one.tensor(model.preprocessing)) for one in resolve(cfg).images().photographs]
        found = measure(reference, others, images, args.masks, args.json)
    except Exception as error:
        print(f"error: {cause(error)}", file=sys.stderr)
        return 2
    shown = Table(box=SIMPLE_HEAD, caption=f"{model.name}, {len(images)} images, {args.masks} masks of da_pos each", caption_justify="left")
    for name in ("engine", "decisions", "differ", "of a million", "other label", "largest difference of a logit"):
        shown.add_column(name, justify="left" if name == "engine" else "right")
    for one in found:
        rate = f"{1e6 * one.differ / max(one.decisions, 1):.0f}"
        shown.add_row(one.engine, f"{one.decisions}", f"{one.differ}", rate, f"{one.labels_differ}", f"{one.largest:.2g}")
    Console(width=120, markup=False).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
