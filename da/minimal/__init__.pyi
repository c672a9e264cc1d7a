from .by_score import minimal_region_by_score as minimal_region_by_score
from .region import minimal_region as minimal_region
