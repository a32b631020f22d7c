"""Where the checkout and its environment are."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = Path(sys.prefix).resolve()
