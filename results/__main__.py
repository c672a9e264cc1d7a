"""Look after finished runs: ``python -m results --help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m results",
        description="Look after runs: folders that python -m benchmarks leaves in runs/.",
        epilog="Exit codes: 0 all is well, 1 a difference or a failure was found, 2 bad input.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="compute a random sample of a run again and say whether it matches")
    verify.add_argument("run", type=Path, help="such as runs/demo")
    verify.add_argument("--sample", type=int, default=5, help="images of jobs (default: 5)")
    verify.add_argument("--seed", type=int, default=0, help="of the sample")
    for command in (verify,):
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    args = options().parse_args(arguments)
    try:
        return COMMANDS[args.command](args)
    except (ValueError, OSError) as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def verify(args: argparse.Namespace) -> int:
    """Compute a sample again."""
    from benchmarks import verify as verification

    verdicts = verification.verify(args.run, sample=args.sample, seed=args.seed)
    if args.json:
        print(json.dumps([asdict(verdict) | {"matches": verdict.matches} for verdict in verdicts], indent=1))
    else:
        for verdict in verdicts:
            said = "matches" if verdict.matches else f"DOES NOT MATCH ({verdict.reason}), largest difference {verdict.difference:g}"
            print(f"{verdict.method} {verdict.model} {verdict.image}: {verdict.rows} rows, {said}")
    return 0 if all(verdict.matches for verdict in verdicts) else 1


COMMANDS = {"verify": verify}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
