"""Models, data sets, engines and measures: the application that runs methods."""

import da  # noqa: F401 (its settings come before PyTorch)
