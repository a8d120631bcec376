"""Every operation, on every sample, against everything that is asked of it."""

import numpy as np
import pytest
from registry_checks import CHECKS

from minigrad.op import REGISTRY


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_operation(name, check):
    op = REGISTRY[name]
    samples = list(op.samples(np.random.default_rng(0)))
    assert samples, f"{name} has no samples"
    for sample in samples:
        check(op, sample)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_flops_and_macs_come_from_shapes(name):
    op = REGISTRY[name]
    for sample in op.samples(np.random.default_rng(0)):
        shapes = [() if a is None else a.shape for a in sample.inputs]
        out = op.shape(*shapes, **sample.params)
        flops, macs = op.flops(out, *shapes, **sample.params), op.macs(out, *shapes, **sample.params)
        assert isinstance(flops, int) and isinstance(macs, int)
        assert flops >= 2 * macs >= 0
