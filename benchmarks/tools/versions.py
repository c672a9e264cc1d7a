"""State the versions of this project's functions with what they were made of: ``python -m benchmarks.tools.versions``.

A result's key holds the version of the function that computed it (its module's ``__version__``). Whoever changes a source that a function
imports raises the version where a number can change, and then runs this command, which writes ``benchmarks/keys/versions.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.keys import identity


def main() -> None:
    """Write the file and say what changed."""
    path = Path(identity.__file__).with_name(identity.VERSIONS)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    now = identity.current_versions()
    path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            versions = [of.get(name, {}).get("version", "none") for of in (before, now)]
            print(
                f"{name}: version {versions[0]} -> {versions[1]}"
                if versions[0] != versions[1]
                else f"{name}: sources changed, same version"
            )


if __name__ == "__main__":
    main()
