"""The checker on every sample of every operation in the registry: all of them are right, so none may fail."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import REGISTRY


def wanted(op, sample):
    """The inputs that have a derivative."""
    named = {name for key in op.vjp for name in ((key,) if isinstance(key, str) else key)}
    names = op.slots(len(sample.inputs))
    return [
        i for i, a in enumerate(sample.inputs) if a is not None and a.dtype.kind == "f" and (names[i] in named or op.variadic)
    ]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_no_right_operation_fails(name):
    op = REGISTRY[name]
    for sample in op.samples(np.random.default_rng(0)):
        checked = wanted(op, sample)
        tensors = [None if a is None else mg.Tensor(a, i in checked) for i, a in enumerate(sample.inputs)]
        if not op(*tensors, **sample.params).requires_grad:
            continue
        report = mg.gradcheck(lambda *a, op=op, sample=sample: op(*a, **sample.params), tensors, raise_exception=False)
        assert report.ok, f"{sample.why}: {report}"
