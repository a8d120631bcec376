"""Pictures of recorded graphs: what is drawn, how it is written down, and that it can be rendered."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.image import imread

import minigrad as mg
from minigrad import viz
from minigrad.viz import render
from minigrad.viz.dot import dot_text
from minigrad.viz.fold import coarser
from minigrad.viz.picture import Box, Edge, Item, Picture
from minigrad.viz.record import paths_of

GOLDEN = Path(__file__).with_name("viz_small.dot")


def small() -> mg.Tensor:
    w = mg.tensor([1.0, -2.0], requires_grad=True)
    w.name = "w"
    return (w * mg.tensor([3.0, 4.0])).relu().sum()


def test_dot_is_as_written_by_hand():
    items = [
        Item("n1", "op", "exp", shape=(2, 3)),
        Item("n2", "op", "relu", family="activation", shape=(2, 3), path=("block",)),
    ]
    picture = Picture({item.key: item for item in items}, (Edge("n1", "n2"),), {("block",): Box("block")})
    assert dot_text(picture) == GOLDEN.read_text(encoding="utf-8")


def test_every_operation_is_drawn_with_what_it_keeps():
    drawing = viz.graph(small())
    titles = [item.title for item in drawing.picture.items.values()]
    assert titles == ["w", "b", "mul", "relu", "sum"]
    by_title = {item.title: item for item in drawing.picture.items.values()}
    assert by_title["mul"].keeps == ("b",) and by_title["mul"].kept == 8
    assert by_title["relu"].keeps == ("out",) and by_title["relu"].kept == 8
    assert by_title["sum"].keeps == ()
    assert [(edge.source, edge.target) for edge in drawing.picture.edges] == [
        ("in0", "op0"),
        ("in1", "op0"),
        ("op0", "op1"),
        ("op1", "op2"),
    ]
    assert "3 operations · 16 B kept" in drawing.picture.notes[0]


def test_an_array_kept_twice_counts_once():
    x = mg.randn(100).requires_grad_()
    y = x.exp()
    total = viz.graph((y * y).sum()).picture.total("kept")
    assert total == 400


def test_x_times_x_has_two_edges():
    x = mg.tensor([2.0], requires_grad=True)
    y = x.exp()
    edges = viz.graph((y * y).sum()).picture.edges
    assert [(edge.source, edge.target) for edge in edges].count(("op0", "op1")) == 2


def test_equal_graphs_give_equal_bytes():
    first = viz.graph(small()).dot
    mg.randn(3).requires_grad_().exp()  # moves the engine's counter
    assert viz.graph(small()).dot == first


def test_after_backward_it_says_that_nothing_is_kept():
    loss = small()
    loss.backward()
    assert "freed" in viz.graph(loss).picture.notes[0]


def test_a_tensor_without_graph_is_refused():
    with pytest.raises(mg.GradientError, match="does not require a gradient"):
        viz.graph(mg.tensor([1.0]))


@pytest.mark.parametrize(
    "name", ['a<b>&"c"', "back\\slash", "new\nline", "<b>", "{a|b}", "\x00\x1b", "é ∂L/∂w", "%s", "", "<", "-->", "]]>"]
)
def test_any_name_draws(name):
    item = Item("n", "op", name or "x", shape=(1,), path=(f"box {name}",), settings=name, owner=name)
    picture = Picture({"n": item}, (), {item.path: Box(name, name)}, title=name, notes=(name,))
    root = ET.fromstring(render.rendered(dot_text(picture), "svg"))
    shown = "".join(root.itertext())
    if name.isprintable() and name:
        assert re.sub(r"\s", "", shown).count(name.replace(" ", "")) >= 5


def test_calls_of_a_shared_module_are_told_apart():
    scopes = ["a", "a.b", "a", "", "a.b", "c", None, "a"]
    assert paths_of(scopes) == [
        ("a",),
        ("a", "a.b"),
        ("a",),
        (),
        ("a#2", "a.b"),
        ("c",),
        (),
        ("a#3",),
    ]


# ------------------------------------------------------------------------------------------------ rendering


@pytest.mark.parametrize("format", ["svg", "png", "pdf"])
def test_formats(tmp_path, format):
    path = viz.graph(small()).save(tmp_path / f"graph.{format}")
    head = path.read_bytes()
    if format == "svg":
        assert ET.fromstring(head).tag.endswith("svg")
    else:
        assert head.startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[format])
    assert list(tmp_path.iterdir()) == [path]


def test_themes():
    loss = small()
    auto, light, dark = (viz.graph(loss, theme=theme).svg for theme in ("auto", "light", "dark"))
    assert "prefers-color-scheme" in auto
    assert "prefers-color-scheme" not in light and "prefers-color-scheme" not in dark
    assert "#3b3716" in dark and "#3b3716" not in light  # the dark twin of activations
    with pytest.raises(ValueError, match="auto, light, dark"):
        viz.graph(loss, theme="pink")


def test_a_dark_png_is_dark(tmp_path):
    for theme, bright in (("dark", False), ("auto", True)):
        path = viz.graph(small(), theme=theme).save(tmp_path / f"{theme}.png")
        assert (imread(path)[:9, :9, :3].mean() > 0.5) == bright


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.svg, \.png"):
        viz.graph(small()).save(tmp_path / "graph.bmp")
    assert not list(tmp_path.iterdir())


def test_without_graphviz_the_dot_text_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "_command", lambda format: None)
    drawing = viz.graph(small())
    with pytest.warns(UserWarning, match="pip install pygraphviz"):
        path = drawing.save(tmp_path / "graph.svg")
    assert path == tmp_path / "graph.dot"
    assert path.read_text() == drawing.dot
    assert "digraph" in drawing._repr_html_()


def test_without_dot_on_the_path_pygraphviz_draws(monkeypatch, tmp_path):
    pytest.importorskip("pygraphviz")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert b"<svg" in render.rendered("digraph { a -> b }", "svg")


def test_a_fault_of_graphviz_is_told():
    with pytest.raises(viz.RenderError, match=r"Graphviz failed: .*install"):
        render.rendered("digraph { a -> }", "svg")


def test_layout_that_takes_too_long_is_stopped(monkeypatch):
    monkeypatch.setattr(render, "_command", lambda format: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(render.LayoutTimeout, match=r"0\.2 s"):
        render.rendered("digraph { a }", "svg", timeout=0.2)


def test_after_the_time_limit_a_level_is_folded(monkeypatch):
    items = [Item(f"n{i}", "op", "exp", shape=(1,), path=("a", f"a.{i // 2}")) for i in range(4)]
    boxes = {path: Box(path[-1]) for path in [("a",), ("a", "a.0"), ("a", "a.1")]}
    picture = Picture({item.key: item for item in items}, (Edge("n0", "n1"), Edge("n1", "n2"), Edge("n2", "n3")), boxes)
    tried = []

    def slow(dot, format, timeout=None):
        tried.append(dot.count("class="))
        if len(tried) == 1:
            raise render.LayoutTimeout("too long")
        return b"<svg></svg>"

    monkeypatch.setattr("minigrad.viz.drawing.rendered", slow)
    drawing = viz.Drawing(picture, coarser=coarser)
    assert "<svg" in drawing.svg
    assert tried == [4, 2]
    assert drawing.picture.notes[-1] == "folded by one level: the layout took too long for a limit of 20 s"


def test_a_layout_that_is_never_done_names_the_limit_that_was_given(monkeypatch):
    def slow(dot, format, timeout=None):
        raise render.LayoutTimeout(f"the layout took longer than {timeout:g} s")

    monkeypatch.setattr("minigrad.viz.drawing.rendered", slow)
    drawing = viz.Drawing(Picture({"a": Item("a", "op", "exp", shape=(1,))}, ()), coarser=coarser, limit=0.25)
    with pytest.raises(render.LayoutTimeout, match=r"longer than its limit of 0\.25 s, and can't be folded further"):
        _ = drawing.svg


def test_viz_is_not_needed_by_the_engine():
    code = "import sys, minigrad; sys.exit(any(name.startswith('minigrad.viz') or 'graphviz' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parent).returncode == 0
