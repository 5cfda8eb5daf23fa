"""Each contract test runs for each case."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, make_data  # noqa: E402 (the path above comes first)

from latome.fit import initialise  # noqa: E402


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture
def data(case):
    return make_data(case)


@pytest.fixture
def made(case, data):
    return initialise(case.settings, data, seed=5)
