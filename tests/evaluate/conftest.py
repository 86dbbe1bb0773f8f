import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `evaluate_fixtures`

from evaluate_fixtures import problem  # noqa: F401


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny tensors only: a second thread costs more than it brings, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
