"""What the commands for published rows and documents do. Each returns its exit code."""

from __future__ import annotations

import argparse
import json
import sys


def publish(args: argparse.Namespace) -> int:
    """Publish the rows of runs."""
    from results.published.manifest import FOLDER
    from results.published.publish import publish as write

    out = args.out or FOLDER
    found = write(args.runs, args.name, out, with_failures=args.with_failures)
    path = out / f"{found.name}.json"
    if args.json:
        print(json.dumps(found.model_dump(exclude={"jobs", "images"}) | {"manifest": str(path)}, indent=1))
    else:
        print(f"{path}: {found.rows} rows of {len(found.jobs)} jobs, {path.with_suffix('.parquet').stat().st_size} bytes")
        for one in found.failures:
            print(f"{one['method']}: {one['images']} x {one['status']}")
    return 0


def pages(args: argparse.Namespace) -> int:
    """Make documents from rows, or say how they differ."""
    from results.published import pages as documents

    if args.check and args.recompute:
        raise ValueError("--check changes nothing, and --recompute does: give one of them")
    if args.recompute:
        for command in documents.recompute(args.root, args.only):
            print(f"$ {command}", file=sys.stderr, flush=True)
    if args.check:
        found = documents.differences(args.root)
        print(json.dumps(found, indent=1) if args.json else "\n".join(found) or "all tables and figures are those of the rows")
        return 1 if found else 0
    changed = [path.relative_to(args.root).as_posix() for path in documents.write(args.root)]
    print(json.dumps(changed, indent=1) if args.json else "\n".join(changed) or "nothing to change")
    return 0
