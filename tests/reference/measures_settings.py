"""The settings with which measures were recorded, and are asked again."""

import numpy as np

IMAGES, STEPS, K, SIZE, DRAWS, SUBSETS, RADIUS, NOISY, SIGMA, SIDE = 4, 16, 82, 18, 20, 40, 0.02, 5, 0.2, 0.2
SHARES, TOLERANCE = [0.25, 0.5, 0.75], 15


def at_points(points: np.ndarray, h: int, w: int) -> np.ndarray:
    """Maps ``[n * k, h, w]`` that are 1 at one of the points ``[n, k, 2]`` each, and 0 elsewhere."""
    found = np.zeros((len(points) * points.shape[1], h, w), np.float32)
    found[np.arange(len(found)), *points.reshape(-1, 2).T] = 1
    return found
