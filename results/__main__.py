"""Look after finished runs: ``python -m results --help``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from benchmarks.app.publication import commands as publication_commands
from benchmarks.app.publication import options as publication
from benchmarks.inputs.messages import DEBUG
from benchmarks.inputs.places import any_file_names, expanded


class OneLine(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = OneLine(
        prog="python -m results",
        description="Look after runs: folders that python -m benchmarks leaves in runs/.",
        epilog="Examples\n"
        "  python -m results summary runs/demo              means and intervals as a table\n"
        "  python -m results summary runs/demo --json       the same for a script\n"
        "  python -m results verify runs/demo --sample 3    are these numbers what this code computes?\n"
        "Each command has a --help of its own.\n"
        "Exit codes: 0 all is well, 1 a difference or a failure was found, 2 bad input, or nothing to compare; 130 interrupted.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    summary = commands.add_parser("summary", help="means and 95 %% bootstrap intervals of a run, and how many images failed")
    summary.add_argument("run", type=_rows, help="such as runs/demo, or published rows: docs/rows/NAME.json")
    verify = commands.add_parser(
        "verify", help="compute a random sample of a run again and say whether it matches; an entry of a board, too"
    )
    verify.add_argument("run", type=_rows, help="such as runs/demo, an entry's folder, or published rows: docs/rows/NAME.json")
    verify.add_argument("--trust", action="store_true", help="run the code that an entry or published rows name, which may be a stranger's")
    verify.add_argument("--data", type=_folder, metavar="DIR", help="the folder of the images, where published rows are of a folder")
    verify.add_argument("--boards", type=_folder, metavar="DIR", help="of an entry: with other boards than those that are shipped")
    verify.add_argument("--sample", type=positive, default=5, metavar="N", help="images of jobs (default: 5)")
    verify.add_argument("--seed", type=int, help="of the sample (default: 0; of an entry drawn anew, and said)")
    verify.add_argument("--mark", action="store_true", help="of an entry, by whoever reviews it: note beside the rows that they match")
    compare = commands.add_parser("compare", help="the differences between runs, two by two, or between methods, paired over images")
    compare.add_argument("runs", type=_folder, nargs="+", metavar="RUN", help="one run or more, such as runs/mine runs/theirs")
    compare.add_argument(
        "--methods",
        type=_names,
        default=[],
        help="A,B,...: A of the first run against B,... of the last, or all; of three runs, of each",
    )
    compare.add_argument("--metrics", type=_names, default=[], help="such as mar,insertion_auc; left out, every measure that both have")
    compare.add_argument("--images", type=int, default=5, help="to name of those that differ most (default: 5); the file has all")
    compare.add_argument("--out", type=_path, metavar="DIR", help="folder for the tables (default: RUN/compare/NAME)")
    page = commands.add_parser("page", help="write a run's page again from the store")
    page.add_argument("run", type=_folder, help="such as runs/demo")
    status = commands.add_parser("status", help="how far a run is, while it runs: images done and left, queries/s, what failed")
    status.add_argument("run", type=_folder, help="such as runs/demo")
    compact = commands.add_parser("compact", help="merge the small files of a store into few large ones, even while it is used")
    compact.add_argument("paths", type=_path, nargs="+", metavar="STORE", help="such as runs/store, or keys of it: runs/store/KEY")
    published = publication.add(commands, _folder, _path, _names)
    for command in (summary, verify, compare, page, status, compact, *published):
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def script() -> int:
    """The command ``da-results``."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # such as "| head", which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    any_file_names()
    args = options().parse_args(arguments)
    args.given = list(arguments)
    if args.debug:
        os.environ[DEBUG] = "1"
    try:
        for run in [*vars(args).get("runs", ()), *filter(None, [vars(args).get("run")])]:
            if not run.exists():  # said before anything is imported
                raise ValueError(f"there is no run {run}: give its folder, such as runs/demo")
        return COMMANDS[args.command](args)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of at least 1")
    return int(text)


def summary(args: argparse.Namespace) -> int:
    """Print the means of a run."""
    from results.records import no_run_error
    from results.summary import summary as summarised

    found = summarised(args.run)
    if found.empty:
        raise no_run_error(args.run)
    if args.json:
        print(found.to_json(orient="records", indent=1))
    else:
        from rich.console import Console

        from benchmarks.app.report import short_table  # what draws takes a second to import
        from results.export import LINE_WIDTH

        Console(markup=False, width=None if Console().is_terminal else LINE_WIDTH).print(short_table(found))
    if empty := found[found["images"] == 0].to_dict("records"):
        first = ", ".join(f"{name} {empty[0][name]}" for name in ("method", "model", "dataset"))
        more = f", and of {len(empty) - 1} more" if len(empty) > 1 else ""
        print(f"error: no image of {first}{more} has a number: its statuses say why", file=sys.stderr)
        return 1
    return 0


def compare(args: argparse.Namespace) -> int:
    """Compare two runs, or methods."""
    from benchmarks.app.pictures import ForPage
    from results import compare as comparing
    from results.page.page import write_comparison

    comparison = comparing.compare(args.runs, args.methods, args.metrics)
    out = args.out or comparing.default_folder(args.runs, args.methods)
    paths = comparing.write(comparison, out)
    paths.append(write_comparison(out, comparison, ForPage(), shlex.join(["python", "-m", "results", *args.given])))
    if args.json:
        largest = comparison.images.groupby(["metric", "a", "b"], sort=False).head(args.images)
        frames = {"differences": comparison.differences, "images": largest}
        found = {name: json.loads(frame.to_json(orient="records")) for name, frame in frames.items()}
        print(json.dumps({"notes": comparison.notes, **found, "files": [str(path) for path in paths]}, indent=1))
    else:
        print(comparing.markdown(comparison, args.images, escape=False))
        print("Written: " + ", ".join(str(path) for path in paths))
    return 0


def page(args: argparse.Namespace) -> int:
    """Write a run's page."""
    from benchmarks.app import report

    path = report.page(args.run)
    print(json.dumps({"page": str(path), "bytes": path.stat().st_size}) if args.json else path)
    return 0


def status(args: argparse.Namespace) -> int:
    """Print how far a run is."""
    from results.status import status as look
    from results.status import status_text

    found = look(args.run)
    print(json.dumps(asdict(found), indent=1) if args.json else status_text(found))
    return 1 if found.failed or found.failures else 0


def compact(args: argparse.Namespace) -> int:
    """Merge small parts."""
    from results.store.compact import compact as merge
    from results.store.compact import keys_of

    done = [merge(store, key) for store, key in keys_of(args.paths)]
    if args.json:
        print(json.dumps([asdict(one) for one in done], indent=1))
    else:
        print(f"{len(done)} keys: {sum(one.before for one in done)} parts before, {sum(one.after for one in done)} now")
    return 0


def _path(text: str) -> Path:
    try:
        return Path(expanded(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _folder(text: str) -> Path:
    path = _path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file: give a run's folder, such as runs/demo")
    return path


def _rows(text: str) -> Path:
    return _path(text) if text.endswith(".json") else _folder(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


COMMANDS = {"summary": summary, "compare": compare, "page": page, "status": status, "compact": compact}
COMMANDS |= {name: getattr(publication_commands, name) for name in ("verify", "publish", "pages", "submit")}

if __name__ == "__main__":
    sys.exit(script())
