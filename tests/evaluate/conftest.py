import pytest

from support.tiny_data import tiny_problem


@pytest.fixture
def problem():
    return tiny_problem()
