import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `evaluate_fixtures`

from evaluate_fixtures import problem  # noqa: F401
