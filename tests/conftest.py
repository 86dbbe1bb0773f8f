"""Tiny tensors only: a second thread costs more than it brings on a busy machine. No test writes into the user's cache."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFLUENCE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
