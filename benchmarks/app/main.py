"""The Hydra application: ``python -m benchmarks --help``."""

from __future__ import annotations

import os
import sys

import hydra

import benchmarks.inputs.resolvers  # noqa: F401 (the configuration uses them)
from benchmarks.app.application import application
from benchmarks.app.process import prepare
from benchmarks.app.search.sweeper import register
from benchmarks.app.session import begin
from benchmarks.inputs import own_folders
from benchmarks.inputs.command_line import as_given, parsed, searched, split_flags
from benchmarks.inputs.messages import CONFIGURATIONS, DEBUG, cause, debugging
from benchmarks.inputs.places import any_file_names, ensure_cache, expanded


def main() -> int:
    """Run the command line and return its exit code: 0 done, 1 a job failed, 2 bad input, 130 interrupted."""
    prepare()
    session = begin()
    if "--debug" in sys.argv or os.environ.get("HYDRA_FULL_ERROR") == "1":
        os.environ[DEBUG] = "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra is to raise, not to print and exit
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        register()
        sys.argv[1:] = as_hydra_takes(arguments)
        hydra.main(version_base="1.3", config_path=CONFIGURATIONS, config_name="config")(application)()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if session.sweep:
            from benchmarks.app.failures import reported_broken_sweep

            if reported_broken_sweep(session, error):
                return 1
        if debugging():
            raise
        print(f"error: {cause(error, arguments)}", file=sys.stderr)
        return 2
    if session.runs or session.unwritten:
        from benchmarks.app.failures import any_failed

        return int(any_failed(session))
    return 0


def as_hydra_takes(arguments: list[str]) -> list[str]:
    """The command line as Hydra is to see it, and what there is to be said of it, on standard error.

    Raises ValueError for a flag that there is not, and a name or a folder that cannot be.
    """
    if "-sc" in arguments or "--shell-completion" in arguments:
        return arguments
    any_file_names()
    flags, overrides = split_flags(expand_shards(arguments))
    given = parsed([*(word for flag in flags for word in flag), *overrides])
    notes = own_folders.set_search_path(given.config_dir, searched(overrides), given.config_name or "config")
    words = [expanded(word) for flag in flags for word in ([*flag[0].split("=", 1), *flag[1:]] if flag[0].startswith("--") else flag)]
    for note in [*notes, ensure_cache()] if not (given.help or given.hydra_help) else ():
        print(note, file=sys.stderr, end="\n" if note else "")
    return [*words, *as_given(overrides)]


def expand_shards(arguments: list[str]) -> list[str]:
    """``shards=4`` as the sweep it stands for. Raises ValueError where it is no number."""
    found = [argument for argument in arguments if argument.startswith("shards=")]
    if not found:
        return arguments
    count = found[-1].removeprefix("shards=")
    if not count.isdigit() or int(count) < 1:
        raise ValueError(f"shards={count!r}: give how many, at least 1")
    sweep = "shard=" + ",".join(f"{i + 1}/{count}" for i in range(int(count)))
    return ["-m", *(argument for argument in arguments if argument not in ("-m", "--multirun") and argument not in found), sweep]
