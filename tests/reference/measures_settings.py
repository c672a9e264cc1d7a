"""The settings with which measures were recorded, and are asked again."""

IMAGES, STEPS, K, SIZE, DRAWS, SUBSETS, RADIUS, NOISY, SIGMA, SIDE = 4, 16, 82, 18, 20, 40, 0.02, 5, 0.2, 0.2
SHARES = [0.25, 0.5, 0.75]
