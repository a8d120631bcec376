"""Every Python block in the README and the docs runs, in order, each document in a namespace of its own."""

import re
from pathlib import Path

import pytest

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
