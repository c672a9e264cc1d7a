"""The manifest of published rows: what computed them, and the records of their jobs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from results.store.files import write_atomically
from results.store.published import SUFFIX

FORM = 1
FOLDER = Path("docs") / "rows"


class Manifest(BaseModel):
    """What is known of a file of published rows, ``NAME.json`` beside ``NAME.parquet``.

    commands: that computed the runs. runs: their names. computed_by: of what the rows were computed with, each ``git`` revision,
    whether the tree was as committed (``clean``, null where it was not recorded), versions of packages, processor, cores, threads.
    weights: SHA-256 of each model's. functions: name and version of each method and measure, by what the run calls them. first, last:
    days (UTC) on which images were finished. seconds: of the methods, all images together; measures are not counted. rows: how many.
    sha256: of the Parquet file. without: metrics whose rows were left out. failures: how many images failed, by method and status. jobs:
    their records. images: lists of them, ``[id, digest, label]`` and the digest of the evidence if there is any.
    """

    model_config = ConfigDict(extra="forbid")

    form: int = FORM
    name: str
    commands: list[str]
    runs: list[str]
    computed_by: list[dict[str, Any]]
    engines: list[str]
    weights: dict[str, str | None]
    functions: dict[str, list[str]]
    first: str | None
    last: str | None
    seconds: float
    rows: int
    sha256: str
    without: list[str] = []
    failures: list[dict[str, Any]] = []
    jobs: list[dict[str, Any]]
    images: dict[str, list[list[Any]]]

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest. Raises ValueError for what is none, and for rows that are not the ones that it describes."""
        try:
            found = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} is no manifest of published rows ({where}: {first['msg']})") from None
        if found.form != FORM:
            raise ValueError(f"{path} is a manifest of form {found.form}, and this program reads form {FORM}: update it")
        rows = path.with_suffix(SUFFIX)
        if not rows.is_file():
            raise ValueError(f"{rows} is not there: {path.name} describes it; publish the run again")
        if hashlib.sha256(rows.read_bytes()).hexdigest() != found.sha256:
            raise ValueError(f"{rows} is not the file that {path.name} describes: publish the run again")
        return found

    def write(self, path: Path) -> None:
        """Write the manifest, with a line per job and an image, so that differences between two are readable."""
        write_atomically(path, self.text().encode())

    def text(self) -> str:
        """The manifest as JSON."""
        content = self.model_dump(exclude=set() if self.without else {"without"})
        lines = [
            f" {json.dumps(name)}: {_listed(value) if name in ('jobs', 'images') else json.dumps(value)}" for name, value in content.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def computed_by(provenance: str) -> dict[str, Any]:
    """What computed numbers, from its JSON, without the name of the machine, which is its owner's."""
    found = json.loads(provenance)
    found.pop("host", None)
    return {"git": found.pop("git", ""), "clean": found.pop("clean", None), **found}


def is_published(path: Path) -> bool:
    """Whether a path is that of published rows, by their manifest ``NAME.json``."""
    return Path(path).suffix == ".json"


def published_records(path: Path) -> list[dict[str, Any]]:
    """The records of published rows as ``results.records.records`` gives those of a run. Raises what ``Manifest.read`` raises."""
    found = Manifest.read(path)
    lists = {name: [entry[:3] for entry in entries] for name, entries in found.images.items()}
    evidence = {name: {(entry[0], entry[1]): entry[3] for entry in entries if len(entry) > 3} for name, entries in found.images.items()}
    store = str(path.with_suffix(SUFFIX))
    return [
        record | {"store": store, "without": found.without, "images": lists[record["images"]], "evidence": evidence[record["images"]]}
        for record in found.jobs
    ]


def _listed(value: Any) -> str:
    """A list with a line per entry; of lists by name, too."""
    if isinstance(value, dict):
        return "{" + ",".join(f"\n  {json.dumps(name)}: {_listed(one)}" for name, one in value.items()) + "}"
    return "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "]"
