"""Every Python block in the README and the docs runs, in order, each document in a namespace of its own."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from registry_checks import CHECKS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_code_blocks_run(path, tmp_path, monkeypatch):
    from minigrad.op import REGISTRY

    monkeypatch.chdir(tmp_path)
    known = set(REGISTRY)
    names = {"__name__": path.stem}
    try:
        for match in re.finditer(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S):
            line = path.read_text()[: match.start()].count("\n") + 1
            exec(compile("\n" * line + match.group(1), str(path), "exec"), names)
    finally:
        for name in set(REGISTRY) - known:
            del REGISTRY[name]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_operation_of_ten_minutes_needs_no_more_than_the_text_says():
    """What stands in CONTRIBUTING goes into the file that it names, and passes what the registry's tests ask of it."""
    from minigrad.op import REGISTRY

    text = (ROOT / "CONTRIBUTING.md").read_text()
    (path,) = re.findall(r"this goes into `(minigrad/ops/\w+\.py)`, which has the import already", text)
    head, _, block = re.search(r"^```python\n(.*?)^```", text, re.M | re.S)[1].partition("\n")
    assert head in (ROOT / path).read_text().splitlines()
    family = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    try:
        exec(block, dict(vars(family)))
        op = REGISTRY["softsign"]
        assert op.doc and op.family == "activation"
        for sample in op.samples(np.random.default_rng(0)):
            for check in CHECKS:
                check(op, sample)
    finally:
        del REGISTRY["softsign"]
    for facade in ("minigrad", "minigrad.nn.functional"):
        assert set(family.__all__) <= vars(importlib.import_module(facade)).keys(), f"{facade} has the names in __all__"
