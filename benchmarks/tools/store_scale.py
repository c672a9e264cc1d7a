"""How a store of ImageNet's size does: ``python -m benchmarks.tools.store_scale`` writes a synthetic run and measures its summary."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from results.store.store import digest, write_atomically, write_part

METRIC = "mar"
SUMMARISE = "import sys; from pathlib import Path; from results.summary import summary; print(len(summary(Path(sys.argv[1]))))"


def synthetic(root: Path, *, images: int, methods: int, settings: int, seed: int = 0) -> None:
    """Write a run of ``methods`` x ``settings`` jobs on ``images`` images, one row per image and job, and its store, a part a key."""
    rng = np.random.default_rng(seed)
    digests = [rng.bytes(8).hex() for _ in range(images)]
    names = [f"ILSVRC2012_val_{i:08d}" for i in range(images)]
    listed = [[*key, i % 1000] for i, key in enumerate(zip(names, digests, strict=True))]
    write_atomically(root / "run" / "images" / "all.json", json.dumps(listed).encode())
    fixed = {"image": names, "digest": digests, "status": ["ok"] * images, "metric": [METRIC] * images}
    columns = {name: pa.array(values, pa.large_string()) for name, values in fixed.items()} | {"x": pa.nulls(images, pa.float64())}
    provenance = pa.array([json.dumps({"host": "synthetic"})] * images, pa.large_string())
    for method in range(methods):
        for setting in range(settings):
            config = {"kind": "benchmark", "method": method, "setting": setting}
            key = digest(config)
            write_atomically(root / "store" / key / "config.json", json.dumps(config).encode())
            value = pa.array(rng.beta(2, 8, images))
            write_part(root / "store" / key / f"{key[:16]}.parquet", pa.table(columns | {"value": value, "provenance": provenance}))
            named = {"dataset": "imagenet", "model": "synthetic", "method": f"method{method}", "engine": "torch-fp32", "seed": 0}
            record = named | {"parameters": {"k": setting}, "store": str(root / "store"), "keys": {METRIC: key}, "images": "all"}
            write_atomically(root / "run" / "jobs" / f"{key}.json", json.dumps(record).encode())


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools.store_scale", description=__doc__)
    for name, default in {"images": 50_000, "methods": 8, "settings": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--folder", type=Path, help="where to write it, and to keep it (default: a temporary folder)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Write, measure, and print the figures."""
    args = options().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = args.folder or Path(folder)
        start = time.perf_counter()
        synthetic(root, images=args.images, methods=args.methods, settings=args.settings)
        files = list((root / "store").rglob("*.parquet"))
        size = sum(path.stat().st_size for path in files) / 1e9
        print(f"{args.images * args.methods * args.settings:.3g} rows in {len(files)} files, {size:.2f} GB", end=", ")
        print(f"written in {time.perf_counter() - start:.0f} s", flush=True)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", SUMMARISE, root / "run"], check=True, capture_output=True, text=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        print(f"{done.stdout.strip()} configurations summarised in {time.perf_counter() - start:.0f} s, peak memory {peak:.2f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
