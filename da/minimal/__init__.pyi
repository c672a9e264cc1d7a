from .by_score import exact_region_by_score as exact_region_by_score
from .by_score import minimal_region_by_score as minimal_region_by_score
from .exact import exact_region as exact_region
from .reduction import reduce as reduce
from .region import minimal_region as minimal_region
