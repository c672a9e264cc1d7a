from .certificate import region_certificate as region_certificate
from .eclique import rise_metrics as rise_metrics
from .evidence import known_evidence as known_evidence
from .insertion import insertion_game as insertion_game
from .mar import minimum_attribution_ratio as minimum_attribution_ratio
from .pointing import grid_pointing as grid_pointing
from .sufficiency import sufficient_shares as sufficient_shares
