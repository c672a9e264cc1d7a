"""``python -m benchmarks``."""

import sys

from benchmarks.app.main import main

if __name__ == "__main__":
    sys.exit(main())
