"""What a board is: one task on one list of images, for one model and measure."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = Path("conf") / "board"
ENTRIES = Path("docs") / "entries"

Image = tuple[str, str, int | None, str]  # id, content, label, evidence; the last empty where there is none


class Board(BaseModel):
    """The part ``board`` of ``conf/board/NAME.yaml``; the rest of the file is how a run for it is configured.

    version: raised where anything below changes, since entries of another version are of another task. task: in a sentence. score: the
    number that ranks, one per image. better: ``smaller`` or ``larger``. worst: what counts for an image that failed, or has no number.
    requires: a number that must be 1 for the score of an image to count, else it is the worst. also: further numbers that are shown.
    budget: forward and backward passes that an image may take, none where they are free. measure: its name in a run. definition: its
    function, version and every setting. model: its name, the hash of its weights and what it is shown. engine: its function, batch and
    precision. seed: of methods and measure. images: the file of the list.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    version: int
    task: str
    score: str
    better: Literal["smaller", "larger"]
    worst: float
    requires: str | None = None
    also: list[str] = []
    budget: int | None = None
    measure: str
    definition: dict[str, Any]
    model: dict[str, Any]
    engine: dict[str, Any]
    seed: int = 0
    images: str
    listed: list[Image]

    @classmethod
    def read(cls, path: Path) -> Board:
        """Read a board and its list of images. Raises ValueError where there is none."""
        if not path.is_file():
            known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
            raise ValueError(f"there is no board {path.stem}: choose {known or 'a folder with conf/board'}")
        content = yaml.safe_load(path.read_text(encoding="utf-8")).get("board") or {}
        if lacking := [part for part in ("model", "engine", "definition") if part not in content]:
            raise ValueError(f"{path} does not state its {lacking[0]}: run python -m benchmarks.tools.board {path.stem}")
        try:
            listed = read_list(path.parent / "images" / str(content.get("images")))
            return cls.model_validate(content | {"name": path.stem, "listed": listed})
        except (ValidationError, OSError) as error:
            raise ValueError(f"{path} is no board: {' '.join(str(error).split())}") from None


def read_list(path: Path) -> list[Image]:
    """A list of images, CSV with the columns ``id, digest, label, evidence``; the last two may be empty."""
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["id"], row["digest"], int(row["label"]) if row["label"] else None, row["evidence"]) for row in csv.DictReader(file)]


def write_list(images: list[Image], path: Path) -> None:
    """Write a list of images."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "digest", "label", "evidence"])
        writer.writerows([image, content, "" if label is None else label, evidence] for image, content, label, evidence in images)
