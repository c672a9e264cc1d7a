"""The paper's pictures from a run's attributions: one function a figure, named in ``conf/experiment`` (see ``results.artefacts.paper``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from da.circles import segment_masks, segments_inside
from da.rule import picture
from da.superpixels import superpixels
from results import tables
from results.artefacts.parts import ExplainedImage, Records, Run, for_each_part
from results.figures import matplotlib as figures
from results.figures.matplotlib import save
from results.naming import configuration, naming_columns
from results.records import ID_COLUMNS
from results.store.store import unpacked

STATES = 6  # of a walk, in Fig. 2


@for_each_part()
def fig1(run: Run) -> Iterator[Path]:
    """Fig. 1: image, kept region, map; a row per image.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    for record in run.records[:1]:  # of several seeds, the first
        rows, titles = [], []
        for shown in run.pictures(record):
            mask = unpacked(shown.arrays["kept"], shown.image.shape[:2])
            rows.append([shown.image, picture(shown.image, mask), figures.heat_map(shown.image, shown.arrays["saliency"])])
            map_title = figures.with_status("sum of the accepted masks", shown.status)
            titles.append([shown.words, f"if present: {100 * mask.mean():.1f} %", map_title])
        yield from save(figures.grid_of_pictures(rows, titles), run.figure(f"fig1_{record['model']}"))


@for_each_part()
def fig2(run: Run) -> Iterator[Path]:
    """Fig. 2: accepted states of each walk as the area shrinks, and under each the first proposal rejected after it.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.

    Raises
    ------
    ValueError
        For a run without the states of its walks (``method.trace=true``).
    """
    for record in run.records[:1]:
        for shown in run.pictures(record):
            if "trace_circles" not in shown.arrays:
                raise ValueError("fig2 draws a walk's states: run it with method.trace=true")
            accepted = np.flatnonzero(shown.arrays["trace_accepted"])
            if not len(accepted):
                continue
            chosen = accepted[np.unique(np.linspace(0, len(accepted) - 1, STATES).astype(int))]
            rejected = np.flatnonzero(~shown.arrays["trace_accepted"])
            below = [rejected[rejected > step][:1] for step in chosen]
            masks = _states(shown, [*chosen, *(int(step[0]) for step in below if len(step))], record["parameters"]["sp_num"])
            top = [picture(shown.image, masks[int(step)]) for step in chosen]
            nothing, red = np.ones_like(shown.image), (1.0, 0.2, 0.2)
            bottom = [picture(shown.image, masks[int(step[0])], colour=red) if len(step) else nothing for step in below]
            share = shown.arrays["trace_share"]
            titles = [
                [f"step {step + 1}: {100 * share[step]:.0f} %" for step in chosen],
                [f"rejected: {100 * share[step[0]]:.0f} %" if len(step) else "" for step in below],
            ]
            rows = [[shown.image, *top], [nothing, *bottom]]
            figure = figures.grid_of_pictures(rows, [[shown.words, *titles[0]], ["", *titles[1]]])
            yield from save(figure, run.figure(f"fig2_{shown.key[0].replace('/', '_')}"))


@for_each_part("method", "param")
def fig3(run: Run) -> Iterator[Path]:
    """Fig. 3: one row per image, one column per method.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    records = sorted(one_seed(run.records), key=lambda record: tables.method_sort_key(record["method"]))
    names = naming_columns(records)
    figure = maps(run, records, [configuration(record, names) for record in records])
    yield from save(figure, run.figure("fig3")) if figure else ()


@for_each_part("model")
def fig4(run: Run) -> Iterator[Path]:
    """Fig. 4: one row per image, one column per model.

    Parameters
    ----------
    run : Run
        A finished run, see ``results.artefacts.parts.Run``.

    Yields
    ------
    Path
        Of each file that it writes.
    """
    records = one_seed(run.records)
    figure = maps(run, records, [record["model"] for record in records], words=False)
    yield from save(figure, run.figure("fig4")) if figure else ()


def one_seed(records: Records) -> Records:
    """The records of each configuration's first seed."""
    names = naming_columns(records)
    told = [json.dumps([record[name] for name in ID_COLUMNS]) + configuration(record, names) for record in records]
    return [record for i, record in enumerate(records) if told[i] not in told[:i]]


def maps(run: Run, records: Records, columns: Sequence[str], *, words: bool = True) -> Figure | None:
    """A row per image: the image and then each job's map, blank where it failed; None where all did.

    words: the class over each image, else over each map.
    """
    rows: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    titles: dict[tuple[str, str], list[str]] = {}
    for i, record in enumerate(records):
        for shown in run.pictures(record):
            row, title = rows.setdefault(shown.key, [shown.image]), titles.setdefault(shown.key, [shown.words if words else ""])
            row += [np.ones_like(shown.image)] * (i + 1 - len(row))
            title += [""] * (i + 1 - len(title))
            row.append(figures.heat_map(shown.image, shown.arrays["saliency"]))
            title.append(figures.with_status("" if words else shown.words, shown.status))
    if not rows:
        return None
    head = [list(title) for title in titles.values()]
    below = [*head[0][1:], *[""] * len(columns)]
    head[0] = [head[0][0], *("\n".join(filter(None, pair)) for pair in zip(columns, below, strict=False))]
    return figures.grid_of_pictures(list(rows.values()), head)


def _states(shown: ExplainedImage, steps: Sequence[int], sp_num: int | None) -> dict[int, NDArray[np.bool_]]:
    """The masks of a walk's states, from its circles."""
    segments = superpixels(torch.from_numpy(shown.image).permute(2, 0, 1)[None], sp_num)
    found = {}
    for step in steps:
        x, y, r = torch.from_numpy(shown.arrays["trace_circles"][step])[:, None]
        found[int(step)] = segment_masks(segments_inside(x, y, r, segments.centres), segments.index)[0].numpy()
    return found
