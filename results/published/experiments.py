"""Tables and figures of experiments in documents: what the artefacts of ``conf/experiment`` make of published rows."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from hydra.utils import get_method
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from results.artefacts.parts import Run
from results.published.figures import stamp
from results.published.read import Rows

Value = TypeVar("Value")

CONFIGURATIONS = Path("conf") / "experiment"


@dataclass(frozen=True)
class Artefacts:
    """What the artefacts of an experiment wrote, by name: tables with their captions as Markdown, tables as CSV, figures as PNG."""

    tables: dict[str, str]
    data: dict[str, str]
    figures: dict[str, bytes]

    def table(self, name: str) -> str:
        """A table and its caption. Raises ValueError for one that was not made."""
        return _one_of(self.tables, name, "table")

    def figure(self, name: str) -> tuple[str, bytes]:
        """The data of a figure, those of the table ``NAME_curves``, ``NAME_images`` or ``NAME``, and its PNG.

        Raises ValueError for one that was not made.
        """
        picture = _one_of(self.figures, name, "figure")
        data = next((of for of in (f"{name}_curves", f"{name}_images") if of in self.data), name)
        return _one_of(self.data, data, "data of the figure"), picture


def artefacts(rows: Rows, experiment: str, root: Path) -> Artefacts:
    """Run the artefacts of ``conf/experiment/NAME.yaml`` on published rows.

    Raises ValueError for an experiment that is not there, and for artefacts that cannot be made of these rows.
    """
    path = root / CONFIGURATIONS / f"{experiment}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise ValueError(f"experiment={experiment}: choose {known}")
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    measures = rows.records[0]["config"].get("benchmark") or {}
    if any((record["config"].get("benchmark") or {}) != measures for record in rows.records):
        raise ValueError(f"experiment={experiment}: the settings of measures differ between the jobs of {rows.manifest.name}: choose some")
    of_run = {name: value for name, value in rows.records[0]["config"].items() if name in ("models", "pairs")}
    settings = {name: value for name, value in settings.items() if "${" not in str(value)} | of_run  # a scale's values are those of no run
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), rows.frame, rows.records, settings | {"scale": "paper", "benchmark": measures})
        (run.out / "figures").mkdir()
        for name in settings["artefacts"]:
            try:
                list(get_method(name)(run))
            except (KeyError, ValueError, IndexError) as error:
                raise ValueError(f"experiment={experiment}: {name} cannot be made of these rows: {error}") from error
        return Artefacts(
            {file.stem: file.read_text(encoding="utf-8") for file in run.out.glob("*.md")},
            {file.stem: file.read_text(encoding="utf-8") for file in run.out.glob("*.csv")},
            {file.stem: file.read_bytes() for file in (run.out / "figures").glob("*.png")},
        )


def _one_of(known: dict[str, Value], name: str, what: str) -> Value:
    if name not in known:
        raise ValueError(f"{what} {name} is not made of these rows; there are {', '.join(sorted(known)) or 'none'}")
    return known[name]


def write_picture(png: bytes, data: str, path: Path) -> None:
    """Write a PNG that says by their hash which data it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = PngInfo()
    said.add_text("Description", stamp(data))
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(128).save(path, pnginfo=said, optimize=True)
