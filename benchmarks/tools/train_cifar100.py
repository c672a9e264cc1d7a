"""Train the VGG16-BN of ``model=cifar100_vgg16`` for those who have no weights: ``python -m benchmarks.tools.train_cifar100 --help``."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.data.sets import ImageSet, cifar100, class_folder
from benchmarks.engines.engine import resolve_device
from benchmarks.models.classifier import Normalised, class_names
from benchmarks.models.networks import cifar100_vgg16_bn
from benchmarks.models.weights import RANDOM
from da.rng import image_rng
from results.store.store import write_atomically

MEAN, STD = (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)
SIDE, PAD = 32, 4  # pixels
Report = Callable[[int, float], None]  # steps done, loss of the last


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights. batches: an epoch's; precision: ``fp32`` or ``bf16`` (autocast); images: how many, and their hash."""

    images: str
    epochs: int
    batch: int
    batches: int
    precision: str
    device: str
    seed: int
    peak_rate: float = 0.1
    warm_up: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4  # of weights; biases and batch normalisation have none
    label_smoothing: float = 0.1

    def rate(self, step: int) -> float:
        """The learning rate: linear from a 25th of the peak to the peak, then down to zero."""
        steps = self.epochs * self.batches
        return float(np.interp(step, [0, self.warm_up * steps, steps], [self.peak_rate / 25, self.peak_rate, 0]))


def train(
    pixels: UInt8[np.ndarray, "n 3 s s"], labels: Int[np.ndarray, " n"], recipe: Recipe, checkpoint: Path, report: Report
) -> Normalised:
    """Train from scratch, or on from the last finished epoch in ``checkpoint``: on one machine the outcome is the same bit for bit.

    Every epoch draws from streams of its own, so that its number is all the state there is; torch's global generators and settings are
    left as they were. Raises ValueError for a checkpoint of another recipe, and where the loss is no longer a number.
    """
    device = torch.device(recipe.device)
    with own_random_numbers(recipe.seed, "initial weights", device):
        net = cifar100_vgg16_bn(weights=RANDOM)
        for module in net.modules():
            getattr(module, "reset_parameters", lambda: None)()
    model = Normalised(net, MEAN, STD).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed, free = ([p for p in net.parameters() if (p.ndim > 1) is weights] for weights in (True, False))
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=recipe.rate(0), momentum=recipe.momentum, nesterov=True)
    finished = resume(checkpoint, recipe, net, optimizer)
    report(finished * recipe.batches, np.nan)
    for epoch in range(finished, recipe.epochs):
        rng = image_rng(recipe.seed, "train", f"epoch {epoch}")
        order = rng.permutation(len(pixels))
        with own_random_numbers(recipe.seed, f"dropout of epoch {epoch}", device):
            for i in range(recipe.batches):
                step, chosen = epoch * recipe.batches + i, order[i * recipe.batch : (i + 1) * recipe.batch]
                images = torch.from_numpy(augmented(pixels[chosen], rng)).to(device, memory_format=torch.channels_last).float() / 255
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate(step)
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    logits = model.train()(images)
                loss = cross_entropy(logits.float(), torch.from_numpy(labels[chosen]).to(device), label_smoothing=recipe.label_smoothing)
                if not torch.isfinite(loss):
                    raise ValueError(f"the loss is {loss.item()} at step {step}: try --precision fp32 or another --seed")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                report(step + 1, loss.item())
        buffer = io.BytesIO()
        state = {"recipe": asdict(recipe), "epoch": epoch + 1, "net": net.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, buffer)
        write_atomically(checkpoint, buffer.getvalue())
    return model.eval()


def resume(checkpoint: Path, recipe: Recipe, net: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint, if there is one, and return the number of finished epochs."""
    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, map_location=recipe.device, weights_only=True)
        theirs = state["recipe"]
    except Exception:
        raise ValueError(f"{checkpoint} is no checkpoint of this command: remove it to start anew") from None
    different = [f"{name} {theirs.get(name)} there, {value} here" for name, value in asdict(recipe).items() if theirs.get(name) != value]
    if different:
        raise ValueError(f"{checkpoint} is of another training ({'; '.join(different)}): remove it to start anew")
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


@contextmanager
def own_random_numbers(seed: int, purpose: str, device: torch.device) -> Iterator[None]:
    """Torch's generators on a stream of their own, and cuDNN on algorithms that repeat; all as they were afterwards."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        torch.manual_seed(int(image_rng(seed, "train", purpose).integers(2**63)))
        yield


def augmented(pixels: UInt8[np.ndarray, "b 3 s s"], rng: np.random.Generator) -> UInt8[np.ndarray, "b 3 s s"]:
    """Each image cropped at random from itself with 4 pixels of reflection around it, and flipped or not."""
    n, _, side, _ = pixels.shape
    padded = np.pad(pixels, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)), mode="reflect")
    rows, columns = (rng.integers(0, 2 * PAD + 1, (n, 1)) + np.arange(side) for _ in "yx")
    columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
    return padded[np.arange(n)[:, None, None, None], np.arange(3)[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


@torch.inference_mode()
def accuracy(model: nn.Module, pixels: UInt8[np.ndarray, "n 3 s s"], labels: Int[np.ndarray, " n"], batch: int = 250) -> float:
    """Top-1 accuracy in float32."""
    device = next(model.parameters()).device
    answers = [model(images.to(device).float() / 255).argmax(1).cpu().numpy() for images in torch.from_numpy(pixels).split(batch)]
    return float((np.concatenate(answers) == labels).mean())


def arrays(images: ImageSet) -> tuple[UInt8[np.ndarray, "n 3 s s"], Int[np.ndarray, " n"]]:
    """Pixels and class indices. Raises ValueError for an image that is not 32 x 32 or cannot be read."""
    pictures = [np.asarray(photograph.load()).transpose(2, 0, 1) for photograph in images.photographs]
    if odd := next((p.id for p, picture in zip(images.photographs, pictures, strict=True) if picture.shape != (3, SIDE, SIDE)), None):
        raise ValueError(f"{odd} is not 32 x 32 pixels, as CIFAR-100's images are")
    return np.stack(pictures), np.array([photograph.label for photograph in images.photographs], dtype=np.int64)


def best_precision(device: torch.device) -> str:
    """``bf16`` where the hardware computes in it, not only emulates it, else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if known.get("avx512_bf16") or known.get("amx_bf16") else "fp32"


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.train_cifar100",
        description="Train VGG16 with batch normalisation on CIFAR-100, for model=cifar100_vgg16 model.weights=FILE.",
        epilog="Examples\n"
        "  python -m benchmarks.tools.train_cifar100 --root data --download --out vgg16.safetensors\n"
        "  python -m benchmarks.tools.train_cifar100 --root data --out try.safetensors --epochs 1 --limit-batches 5\n"
        "  python -m benchmarks experiment=fig5_cifar100 model.weights=vgg16.safetensors dataset.root=data\n"
        "Interrupted? The same command goes on after the last finished epoch.\n"
        "Exit codes: 0 done, 2 bad input, 130 interrupted. Errors are one line; --debug shows where they come from.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", help="folder of torchvision's CIFAR-100 (with cifar-100-python inside)")
    source.add_argument("--folder", help="instead: folders of 32 x 32 images named by class, to train on; needs --test-folder")
    parser.add_argument("--test-folder", help="with --folder: the like, to measure accuracy on")
    parser.add_argument("--download", action="store_true", help="with --root: fetch CIFAR-100 (170 MB) if it is not there")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.safetensors", help="where the weights go")
    parser.add_argument("--epochs", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=250, help="images a step; default: %(default)s")
    parser.add_argument("--limit-batches", type=int, metavar="N", help="at most this many steps an epoch, to try it out")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: %(default)s")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the hardware has it")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input, 130 interrupted."""
    parser, console = options(), Console(stderr=True)
    args = parser.parse_args(arguments)
    if bool(args.folder) != bool(args.test_folder):
        parser.error("--folder and --test-folder go together")
    if args.out.suffix != ".safetensors" or args.out.exists():
        parser.error(f"--out {args.out}: give a name that ends in .safetensors and is not taken")
    try:
        print(run(args, console))
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on after the last finished epoch", highlight=False)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        if args.debug:
            raise
        console.print(f"error: {' '.join(str(error).split())}", highlight=False, markup=False, soft_wrap=True)
        return 2
    return 0


def run(args: argparse.Namespace, console: Console) -> str:
    """Train, measure and save as the command line asks, and say what came of it."""
    names = class_names("cifar100")
    if args.folder:
        sets = [class_folder(folder, class_names=names) for folder in (args.folder, args.test_folder)]
    elif not args.download and not (Path(args.root) / "cifar-100-python").is_dir():
        raise ValueError(f"--root {args.root}: there is no folder cifar-100-python in it; --download fetches CIFAR-100 (170 MB)")
    else:
        sets = [cifar100(args.root, split=split, download=args.download) for split in ("train", "test")]
    (pixels, labels), (test_pixels, test_labels) = map(arrays, sets)
    batches = min(len(pixels) // max(args.batch, 1), args.limit_batches or len(pixels))
    if min(args.epochs, args.batch, batches) < 1:
        raise ValueError(f"--epochs, --batch and --limit-batches must be at least 1, and --batch at most the {len(pixels)} images")
    device = resolve_device(args.device)
    precision = best_precision(device) if args.precision == "auto" else args.precision
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()[:16]
    recipe = Recipe(f"{len(pixels)}, {digest}", args.epochs, args.batch, batches, precision, device.type, args.seed)
    checkpoint = args.out.with_suffix(".checkpoint")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"CIFAR-100, {precision}, {device.type}", total=args.epochs * batches, loss="")

        def report(steps: int, loss: float) -> None:
            bar.update(task, completed=steps, loss=f"loss {loss:.3f}")
            if steps and steps % batches == 0:
                how = "found in the checkpoint" if np.isnan(loss) else f"loss {loss:.3f}"
                console.print(f"epoch {steps // batches} of {args.epochs}: {how}", highlight=False)

        model = train(pixels, labels, recipe, checkpoint, report)
    measured = accuracy(model, test_pixels, test_labels)
    metadata = {"test_accuracy": f"{measured:.4f}", "test_images": str(len(test_labels)), "recipe": json.dumps(asdict(recipe))}
    state = {name: value.cpu().contiguous() for name, value in model.net.state_dict().items()}
    write_atomically(args.out, save(state, metadata | {"torch": torch.__version__}))
    checkpoint.unlink(missing_ok=True)
    return f"{args.out}: {100 * measured:.2f} % of {len(test_labels)} test images, in float32"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
