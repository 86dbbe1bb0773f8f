"""`case`: each of the shared models with its data and loss."""

import pytest

from support.cases import NAMES, make


@pytest.fixture(params=NAMES)
def case(request):
    return make(request.param)
