"""Notebooks: tensors and models show themselves, and the engine does not know who shows them."""

import base64
import html.parser
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.viz import notebook
from minigrad.viz.notebook import html_of

IPYTHON = """
import sys, types
told = {}
class Page:
    def for_type_by_name(self, module, name, function): told[module, name] = function
shell = types.SimpleNamespace(display_formatter=types.SimpleNamespace(formatters={"text/html": Page()}))
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
import minigrad as mg
assert not any(name.startswith("minigrad.viz") for name in sys.modules), "drawn before anything is shown"
for (module, name), show in told.items():
    kinds = [kind for kind in mg.Tensor.__mro__ if (kind.__module__, kind.__name__) == (module, name)]
    if kinds:
        assert "<pre>tensor([1., 2.]" in show(mg.tensor([1.0, 2.0]))
from minigrad import nn
assert [kind for kind in nn.Linear.__mro__ if (kind.__module__, kind.__name__) in told]
assert len(told) == 2
"""


def checked(text):
    """The text, if every tag in it is closed."""
    tags: list[str] = []

    class Checker(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("img", "br"):
                tags.append(tag)

        def handle_endtag(self, tag):
            assert tags.pop() == tag

    Checker().feed(text)
    assert not tags
    return text


def test_a_running_ipython_is_told_by_name():
    subprocess.run([sys.executable, "-W", "error", "-c", IPYTHON], check=True)


def test_a_leaf_shows_its_numbers():
    text = checked(html_of(mg.tensor([1.0, float("nan"), 3.0])))
    assert "from 1 to 3, mean 2 · 1 NaN" in text and "<img" not in text


def test_a_result_shows_its_graph():
    text = checked(html_of((mg.ones(2, requires_grad=True) * 3).exp().sum()))
    image = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', text).group(1)
    assert "exp" in "".join(ET.fromstring(base64.b64decode(image)).itertext())


def test_a_large_graph_collapses_first():
    x = mg.ones(2, requires_grad=True)
    for i in range(400):
        x = x.exp() if i % 7 % 3 else x.tanh()
    text = html_of(x.sum())
    assert len(text) < 200_000


@pytest.mark.parametrize("value", ["tensor", "empty", "whole", "flag"])
def test_every_tensor_shows(value):
    made = {"tensor": mg.zeros(2, 3), "empty": mg.zeros(0, 3), "whole": mg.tensor([1, 2]), "flag": mg.tensor([True])}
    assert "<pre>" in checked(html_of(made[value]))


def test_a_model_lists_its_modules():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    text = checked(html_of(model))
    assert "13 parameters" in text and "Linear(2, 3)" in text and "1.1" in text


def test_without_graphviz_the_numbers_are_shown(monkeypatch):
    monkeypatch.setattr(notebook, "can_render", lambda: False)
    assert "<pre>" in html_of(mg.ones(2, requires_grad=True).exp())


def test_a_layout_that_fails_does_not_hide_the_numbers(monkeypatch):
    def fails(*_args, **_settings):
        raise viz.RenderError("no luck")

    monkeypatch.setattr(notebook, "graph", fails)
    text = checked(html_of(mg.ones(2, requires_grad=True).exp()))
    assert "no luck" in text and "<pre>" in text


def test_a_drawing_shows_itself():
    drawing = viz.graph(mg.ones(2, requires_grad=True).exp())
    assert drawing._repr_svg_() == drawing.svg
