"""Train the small networks that come with ``dataset=planted``: ``python -m benchmarks.tools.train_planted --help``.

So that a network depends on the parts alone, it is also shown images of which only some is left, under every fill: where enough of the
parts is, they have their class, where too little is, they are nothing. The confounded network is trained in the same way on the ground.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from rich.console import Console
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from benchmarks.data.planted import Planted, planted
from benchmarks.data.scenes import CLASSES, SIDE, draw
from benchmarks.engines.engine import resolve_device
from benchmarks.measures.evidence import known_evidence
from benchmarks.models.classifier import Normalised
from benchmarks.models.planted import planted_cnn, planted_vit
from benchmarks.models.preprocessing import Preprocessing
from benchmarks.models.weights import RANDOM
from benchmarks.tools.train_cifar100 import own_random_numbers
from da.fill import baseline_image
from da.models import label_model
from da.rng import image_rng
from da.types import Attribution, Images
from results.store.store import write_atomically

HALF = (0.5, 0.5, 0.5)
SEEN = Preprocessing(SIDE, 1.0, "bilinear", HALF, HALF)
NOTHING, IGNORED = CLASSES, -100
HELD_OUT = 500  # images to check on
PARTS = 6  # of an image, at most
FILLS = ("black", "mean", "blur", "noise", "colour")
NETWORKS = {"planted_cnn": planted_cnn, "planted_vit": planted_vit, "planted_confounded": planted_cnn}
DEFAULTS = {"planted_cnn": (3500, 3e-3, 1e-3, 0), "planted_vit": (16000, 2e-3, 0.05, 4), "planted_confounded": (1200, 3e-3, 1e-3, 0)}
Report = Callable[[int, float], None]  # steps done, mean loss since the last report


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights.

    images: drawn once. shift: pixels by which a batch is moved at most, for a network whose patches lie on a grid. enough, too_little:
    shares of a part with which its class is there, and is not.
    """

    network: str
    images: int
    steps: int
    seed: int
    rate: float
    weight_decay: float
    shift: int = 0
    batch: int = 64
    warm_up: float = 0.1
    enough: float = 0.8
    too_little: float = 0.3

    @property
    def by_ground(self) -> bool:
        """Whether the class is that of the ground."""
        return self.network == "planted_confounded"


@dataclass(frozen=True)
class Drawn:
    """Images to train on. places: the number of the part that a pixel belongs to, from 1, or 0. groups: of each part, -1 for none."""

    pixels: UInt8[Tensor, "n 3 h w"]
    labels: Int[Tensor, " n"]
    places: UInt8[Tensor, "n h w"]
    groups: Int[Tensor, "n p"]

    def take(self, chosen: Int[Tensor, " b"], flip: list[int], move: tuple[int, int]) -> Drawn:
        """Some of the images, turned over along these axes and moved, what leaves on one side coming in on the other."""
        pixels, places = (of[chosen].flip(flip).roll(move, (-2, -1)) for of in (self.pixels, self.places))
        return Drawn(pixels, self.labels[chosen], places, self.groups[chosen])


def drawn(recipe: Recipe) -> Drawn:
    """Images of all kinds that ``dataset=planted`` has, some of them without a class."""
    n = recipe.images
    pixels, places = np.empty((n, 3, SIDE, SIDE), np.uint8), np.zeros((n, SIDE, SIDE), np.uint8)
    labels, groups = np.empty(n, np.int64), np.full((n, PARTS), -1)
    for i in range(n):
        rng = image_rng(recipe.seed, "planted training", str(i))
        copies, necessary, others = int(rng.choice([1, 1, 1, 2, 3])), int(rng.choice([1, 1, 2])), int(rng.integers(0, 6))
        size = min(int(rng.integers(12, 19)), int(46 / np.sqrt(copies * necessary + others)) - 1)  # so that they fit
        contrast = rng.choice([1, rng.uniform(0.7, 1)])
        scene = draw(
            rng,
            int(rng.integers(CLASSES)),
            size=max(size, 10),
            contrast=contrast,
            copies=copies,
            necessary=necessary,
            distractors=others,
            confounded=0.7 if recipe.by_ground else 0.1,
        )
        pixels[i], labels[i] = scene.picture.transpose(2, 0, 1), scene.label
        if recipe.by_ground:
            labels[i], places[i], groups[i, 0] = scene.ground_class, scene.ground, 0
        elif rng.random() < 0.1:
            pixels[i], labels[i] = scene.absent.transpose(2, 0, 1), NOTHING
        else:
            places[i] = (scene.parts * np.arange(1, len(scene.parts) + 1, dtype=np.uint8)[:, None, None]).sum(0)
            groups[i, : len(scene.groups)] = scene.groups
    return Drawn(*map(torch.from_numpy, (pixels, labels, places, groups)))


def ablated(batch: Drawn, recipe: Recipe) -> tuple[Images, Int[Tensor, " b"]]:
    """Images of a batch, most of them with something hidden, and their classes: IGNORED where neither enough nor too little is left."""
    images, n = batch.pixels.float() / 255, len(batch.pixels)
    of_group = torch.stack([batch.groups == group for group in (0, 1)], 1)  # n, 2, PARTS
    there = of_group.any(2)
    one_of_each = torch.where(of_group, torch.rand(n, 1, PARTS), -1.0).argmax(2)
    enough = ((torch.arange(PARTS) == one_of_each[..., None]) & there[..., None]).any(1)
    missing = of_group[torch.arange(n), torch.where(there[:, 1] & (torch.rand(n) < 0.5), 1, 0)]
    places = batch.places.flatten(1).long()
    alone, without = (pad(chosen, (1, 0)).float().gather(1, places).view_as(batch.places) for chosen in (enough, missing))
    at_random = smooth_masks(n)
    ways = (torch.ones_like(alone), alone, 1 - without, at_random, torch.maximum(at_random, alone), torch.minimum(at_random, 1 - without))
    way = torch.multinomial(torch.tensor([0.4, 0.12, 0.12, 0.16, 0.1, 0.1]), n, replacement=True)
    shown = torch.stack(ways)[way, torch.arange(n)]
    area, left = (torch.zeros(n, PARTS + 1).scatter_add(1, places, of.flatten(1))[:, 1:] for of in (torch.ones_like(shown), shown))
    visible = left / area.clamp_min(1)
    of_groups = torch.where(of_group, visible[:, None], -1.0).amax(2)
    least = torch.where(there, of_groups, 1.0).amin(1)
    undecided = torch.where(least > recipe.too_little, IGNORED, NOTHING)
    return torch.lerp(blanks(images), images, shown[:, None]), torch.where(least >= recipe.enough, batch.labels, undecided)


def blanks(images: Images) -> Images:
    """What stands where an image is hidden, one of FILLS each."""
    kinds, found = torch.randint(len(FILLS), (len(images),)), torch.empty_like(images)
    for kind, fill in enumerate(FILLS):
        some = images[kinds == kind]
        if fill in ("black", "mean", "blur") and len(some):
            found[kinds == kind] = baseline_image(some, fill)
        elif len(some):
            found[kinds == kind] = torch.rand_like(some if fill == "noise" else some[..., :1, :1]).expand_as(some)
    return found


def smooth_masks(n: int) -> Float[Tensor, "n h w"]:
    """Spots that show any share of an image, most of them with sharp edges."""
    cells = int(torch.randint(2, 11, ()))
    heights = interpolate(torch.rand(n, 1, cells + 1, cells + 1), (SIDE, SIDE), mode="bilinear", align_corners=True)[:, 0]
    edge = heights.flatten(1).gather(1, torch.randint(SIDE**2, (n, 1)))[..., None]  # at any pixel: as likely to show any share
    sharp = torch.where(torch.rand(n, 1, 1) < 0.7, 1e4, 8.0)
    return (0.5 + (heights - edge) * sharp).clamp(0, 1)


def train(recipe: Recipe, device: torch.device, report: Report) -> Normalised:
    """Train from scratch: on one machine the outcome is the same bit for bit. Raises ValueError where the loss is no longer a number."""
    images = drawn(recipe)
    with own_random_numbers(recipe.seed, "planted", device):
        net = NETWORKS[recipe.network](weights=RANDOM)
        for module in net.modules():
            getattr(module, "reset_parameters", lambda: None)()
        model = Normalised(net, HALF, HALF).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
        since = 0.0
        for step in range(recipe.steps):
            rate = float(np.interp(step / recipe.steps, [0, recipe.warm_up, 1], [0.02, 1, 0])) * recipe.rate
            for group in optimizer.param_groups:
                group["lr"] = rate
            flip = [axis for axis in (-1, -2) if torch.rand(()) < 0.5]
            down, right = torch.randint(-recipe.shift, recipe.shift + 1, (2,)).tolist() if recipe.shift else (0, 0)
            shown, classes = ablated(images.take(torch.randint(recipe.images, (recipe.batch,)), flip, (down, right)), recipe)
            shown = shown.to(device, memory_format=torch.channels_last)
            loss = cross_entropy(model.train()(shown), classes.to(device), ignore_index=IGNORED)
            if not torch.isfinite(loss):
                raise ValueError(f"the loss is {loss.item()} at step {step}: try another --seed")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1)
            optimizer.step()
            since += loss.item()
            if (step + 1) % (every := max(1, recipe.steps // 20)) == 0:
                report(step + 1, since / every)
                since = 0.0
    return model.eval()


def checked(model: nn.Module, *, by_ground: bool, count: int, seed: int = 1) -> dict[str, float]:
    """Shares of ``count`` images of a seed: of the right class, and with each condition of ``known_evidence``, the least over fills.

    by_ground: whether the right class is that of the ground.
    """
    device = next(model.parameters()).device
    images = [photograph for photograph in planted(count=count, seed=seed).photographs if isinstance(photograph, Planted)]
    evidence = [photograph.evidence(SEEN).to(device) for photograph in images]
    shown = torch.stack([photograph.tensor(SEEN) for photograph in images]).to(device)
    labels = [photograph.scene.ground_class if by_ground else photograph.scene.label for photograph in images]
    predict = label_model(model)
    targets = torch.cat([predict(some) for some in shown.split(100)])
    rngs = [image_rng(0, "noise", photograph.id) for photograph in images]
    frame = known_evidence(
        predict,
        shown,
        targets,
        labels,
        Attribution(torch.zeros_like(shown[:, 0])),
        rngs=rngs,
        evidence=evidence,
        fills=["black", "mean", "blur", "noise"],
    )
    source = "ground" if by_ground else "parts"
    of_source = frame[frame["metric"].isin([f"{source}_{what}" for what in ("keep", "lose", "changed")] + [f"evidence_{source}"])]
    least = of_source.groupby(["metric", "x"], dropna=False)["value"].mean().groupby("metric").min()
    right = (targets.cpu() == torch.tensor(labels)).float().mean()
    return {"accuracy": float(right), **{str(name): float(value) for name, value in least.items()}}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.train_planted",
        description="Train a network for dataset=planted, as those that come with this package were: model=planted_cnn model.weights=FILE.",
        epilog="Examples\n"
        "  python -m benchmarks.tools.train_planted --network planted_cnn --out cnn.safetensors\n"
        "  python -m benchmarks.tools.train_planted --network planted_vit --out try.safetensors --images 500 --steps 20\n"
        "  python -m benchmarks experiment=evidence model=planted_cnn model.weights=cnn.safetensors\n"
        "Exit codes: 0 done, 2 bad input, 130 interrupted. Errors are one line; --debug shows where they come from.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", required=True, choices=sorted(NETWORKS))
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.safetensors", help="where the weights go, in half precision")
    parser.add_argument("--images", type=int, default=20000, help="drawn to train on; default: %(default)s")
    parser.add_argument("--steps", type=int, help="of 64 images; default: as the weights that come with the package")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: %(default)s")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    parser, console = options(), Console(stderr=True)
    args = parser.parse_args(arguments)
    if args.out.suffix != ".safetensors" or args.out.exists():
        parser.error(f"--out {args.out}: give a name that ends in .safetensors and is not taken")
    try:
        print(run(args, console))
    except KeyboardInterrupt:
        console.print("interrupted", highlight=False)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        if args.debug:
            raise
        console.print(f"error: {' '.join(str(error).split())}", highlight=False, markup=False, soft_wrap=True)
        return 2
    return 0


def run(args: argparse.Namespace, console: Console) -> str:
    """Train, save and check as the command line asks, and say what came of it."""
    steps, rate, decay, shift = DEFAULTS[args.network]
    recipe = Recipe(args.network, args.images, steps if args.steps is None else args.steps, args.seed, rate, decay, shift)
    if min(recipe.images, recipe.steps) < 1 or args.seed < 0:
        raise ValueError("--images and --steps must be at least 1, and --seed at least 0")
    console.print(f"drawing {recipe.images} images", highlight=False)

    def report(step: int, loss: float) -> None:
        console.print(f"step {step} of {recipe.steps}: loss {loss:.3f}", highlight=False)

    model = train(recipe, resolve_device(args.device), report)
    state = {name: value.cpu().contiguous() for name, value in model.net.state_dict().items()}
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    model.net.load_state_dict({name: value.to(state[name].dtype) for name, value in half.items()})  # what is saved is what is checked
    found = checked(model, by_ground=recipe.by_ground, count=HELD_OUT)
    write_atomically(args.out, save(half, {"recipe": json.dumps(asdict(recipe)), "checked": json.dumps(found), "torch": torch.__version__}))
    return f"{args.out}: of {HELD_OUT} held-out images " + ", ".join(f"{100 * share:.1f} % {name}" for name, share in found.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
