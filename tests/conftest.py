"""What every test starts from: the same seed, and how hard hypothesis tries (HYPOTHESIS_PROFILE=quick|ci|deep)."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

import minigrad as mg

hypothesis.settings.register_profile("quick", max_examples=10, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=40, deadline=None, derandomize=True)
hypothesis.settings.register_profile("deep", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick"))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    mg.manual_seed(0)
    yield
    assert mg.is_grad_enabled(), "a test left recording switched off"
