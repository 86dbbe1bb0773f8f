"""The default denoiser of digits is trained once, whichever worker asks for it first."""

import math
import os

import pytest

import refluence as rf
from refluence.run.folder import locked


@pytest.fixture(scope="session")
def digits_denoiser(tmp_path_factory):
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own  # of all workers of this session
    with locked(shared / "denoiser-of-digits", wait=math.inf):
        return rf.train_denoiser("digits", out=shared / "denoiser-of-digits" / "run", threads=1)
