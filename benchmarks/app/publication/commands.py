"""What the commands for published rows, documents and boards do, and verification. Each returns its exit code."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.inputs.own_folders import CONFIGURATIONS

BOARDS = Path(CONFIGURATIONS) / "board"  # the shipped ones


def publish(args: argparse.Namespace) -> int:
    """Publish the rows of runs."""
    from results.published.manifest import FOLDER
    from results.published.publish import publish as write

    out = args.out or FOLDER
    found = write(args.runs, args.name, out, with_failures=args.with_failures, without=args.without)
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


def submit(args: argparse.Namespace) -> int:
    """Make entries of a board from a run."""
    from results.boards.board import ENTRIES, Board
    from results.boards.entry import scores
    from results.boards.submit import submit as make

    board = Board.read((args.boards or BOARDS) / f"{args.board}.yaml")
    found = make(args.run, board, args.out or ENTRIES, methods=args.methods, entry=args.name, code=args.code, replace=args.replace)
    if args.json:
        print(json.dumps([str(entry.folder) for entry in found], indent=1))
    else:
        for entry in found:
            print(f"{entry.folder}: accepted by {args.board}, {board.score} {scores(entry, board).mean():.3f} ({board.better} is better)")
        print("Its numbers are claimed until they are computed again: python -m results verify ENTRY --trust", file=sys.stderr)
    return 0


def verify(args: argparse.Namespace) -> int:
    """Compute a sample again."""
    from benchmarks.jobs import verify as verification
    from benchmarks.keys.provenance import provenance
    from results.boards import verified
    from results.boards.entry import ENTRY, ROWS
    from results.published.manifest import is_published

    entry = args.run if (args.run / ENTRY).is_file() else None
    rows: Path = args.run / ROWS if entry else args.run
    if is_published(rows) and not args.trust:
        raise ValueError(f"{args.run}: this imports and runs the code that it names, which may be a stranger's; read it, then add --trust")
    if entry:
        verified.check(entry, args.boards or BOARDS)
    elif args.mark:
        raise ValueError(f"{args.run} is no entry of a board: --mark is for those")
    seed = secrets.randbelow(2**31) if entry and args.seed is None else args.seed or 0  # nobody knows which numbers will be looked at
    verdicts = verification.verify(rows, sample=args.sample, seed=seed, data=args.data)
    if args.json:
        print(json.dumps([asdict(verdict) | {"matches": verdict.matches} for verdict in verdicts], indent=1))
    else:
        for verdict in verdicts:
            largest = "" if verdict.difference != verdict.difference else f", largest difference {verdict.difference:g}"
            said = "matches" if verdict.matches else f"DOES NOT MATCH ({verdict.reason}){largest}"
            said = said if verdict.computed else f"not compared ({verdict.reason})"
            print(f"{verdict.method} {verdict.model} {verdict.image}: {verdict.rows} rows, {said}")
    if any(verdict.computed and not verdict.matches for verdict in verdicts):
        if entry and args.mark:
            verified.withdraw(entry)
        return 1
    if missing := [verdict for verdict in verdicts if not verdict.computed]:
        print(f"error: {len(missing)} of {len(verdicts)} not compared, the first since: {missing[0].reason}", file=sys.stderr)
        return 2
    if entry:
        print(f"{len(verdicts)} images match, drawn with --seed {seed}", file=sys.stderr)
    if entry and args.mark:
        verified.state(entry, images=len(verdicts), seed=seed, provenance=provenance())
    return 0
