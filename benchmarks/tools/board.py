"""State what a board is of: ``python -m benchmarks.tools.board NAME [key=value ...]``.

Writes the list of images that ``board=NAME`` selects to ``conf/board/images``, and the identity of its model, engine and measure to the
board's file. Whoever changes any of these raises the board's version: entries are of the one that they were made for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from benchmarks.inputs.compose import composed
from benchmarks.inputs.own_folders import CONFIGURATIONS
from benchmarks.jobs.job import Job
from benchmarks.jobs.resolve import make_job, resolve
from results.boards.board import Image, write_list

LINE = "  # Written by python -m benchmarks.tools.board\n"


def job_of(name: str, *overrides: str) -> Job:
    """A job on a board's images, of a method that knows nothing of the model."""
    return make_job(resolve(composed(f"board={name}", "method=random", *overrides)))


def images_of(job: Job) -> list[Image]:
    """A job's images, as a board lists them."""
    return [(image, content, one.label, job.evidence[image, content]) for (image, content), one in job.contents.items()]


def stated(job: Job, measure: str) -> dict[str, Any]:
    """What a board says of its model, its engine, on any device, and its measure."""
    engine = {name: value for name, value in job.configs["prediction"]["engine"].items() if name != "device"}
    return {"model": job.configs["prediction"]["model"], "engine": engine, "definition": job.configs[measure]["benchmark"]}


def write(name: str, *overrides: str) -> None:
    """Write a board's list of images, and the rest of its file."""
    path, job = Path(CONFIGURATIONS) / "board" / f"{name}.yaml", job_of(name, *overrides)
    text = path.read_text(encoding="utf-8").partition(LINE)[0]
    board = yaml.safe_load(text)["board"]
    write_list(images_of(job), path.parent / "images" / board["images"])
    said = yaml.safe_dump(stated(job, board["measure"]), sort_keys=False, width=10_000, default_flow_style=None)
    path.write_text(text + LINE + "".join(f"  {line}\n" for line in said.splitlines()), encoding="utf-8")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools.board", description="State the images, model, engine and measure of a board."
    )
    parser.add_argument("name", help="of conf/board")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as dataset.root=DIR")
    return parser


if __name__ == "__main__":
    given = options().parse_args()
    write(given.name, *given.overrides)
