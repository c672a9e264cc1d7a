"""Pictures of attributions, with matplotlib."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from da.rule import picture
from da.types import OK, Attribution, Images

HEAT = "inferno"  # lighter is more important, in print without colours as well
TITLE = 24  # letters in a line of the title above a picture


class ShownFigure(Figure):
    """A figure that a notebook shows, without pyplot, whose import chooses how the whole process draws."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def rows_of_pictures(images: Images, found: Attribution, names: Sequence[str]) -> Figure:
    """A row per image: the image, what is kept of it, and the map, each under its title. names: of the classes.

    Raises ValueError for other images than those explained.
    """
    if [len(images), *images.shape[-2:]] != [*found.saliency.shape]:
        raise ValueError(f"images of shape {[*images.shape]} for maps {[*found.saliency.shape]}: give the images that were explained")
    pictures, titles = [], []
    for i, image in enumerate(images.detach().permute(0, 2, 3, 1).cpu().numpy()):
        row, title = [image], [names[i]]
        if found.kept is not None:
            mask = found.kept[i].cpu().numpy()
            row.append(picture(image, mask))
            title.append(f"if {'absent' if found.negative else 'present'}: {100 * mask.mean():.1f} %")
        pictures.append([*row, heat_map(image, found.saliency[i].cpu().numpy())])
        titles.append([*title, with_status("map", found.status[i] if found.status else OK)])
    return grid_of_pictures(pictures, titles)


def with_status(title: str, status: str) -> str:
    """The title of a map: its attribution's status in a line of its own, unless that is ``ok``. An empty map is to say why."""
    return title if status == OK else "\n".join(filter(None, [title, status.partition(":")[0].replace("_", " ")]))


def heat_map(image: Float[np.ndarray, "h w 3"], saliency: Float[np.ndarray, "h w"], opacity: float = 0.6) -> NDArray[np.float32]:
    """A saliency map as colours over the dimmed greyscale image; the map is scaled to its own range, a constant one to zero."""
    low, high = float(saliency.min()), float(saliency.max())
    scaled = (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)
    colour = ScalarMappable(cmap=HEAT).to_rgba(scaled, norm=False)[..., :3]
    grey = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    return ((1 - opacity) * grey + opacity * colour).astype(np.float32)


def show(picture: Float[np.ndarray, "h w 3"], ax: Axes, title: str = "") -> Axes:
    """A picture without axes; a long title has several lines."""
    ax.imshow(np.clip(picture, 0, 1), interpolation="nearest")
    ax.set_title("\n".join(textwrap.fill(line, TITLE) for line in title.splitlines()), fontsize=8)
    ax.axis("off")
    return ax


def row_of_pictures(pictures: Sequence[Float[np.ndarray, "h w 3"]], titles: Sequence[str]) -> Figure:
    """Pictures side by side, such as the paper's Fig. 1: image, kept region, map."""
    return grid_of_pictures([pictures], [titles])


def grid_of_pictures(rows: Sequence[Sequence[Float[np.ndarray, "h w 3"]]], titles: Sequence[Sequence[str]], inch: float = 1.6) -> Figure:
    """Rows of pictures; a row of titles for each row of pictures, or one for the first alone."""
    columns = max(len(row) for row in rows)
    figure = ShownFigure(figsize=(inch * columns, (inch + 0.2) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for r, row in enumerate(rows):
        for c in range(columns):
            axes[r, c].axis("off")
        for c, shown in enumerate(row):
            show(shown, axes[r, c], titles[r][c] if r < len(titles) and c < len(titles[r]) else "")
    return figure
