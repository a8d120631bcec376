"""The page that moves: its walk against the engine, what it holds, and that a real browser folds and steps it in silence."""

import html.parser
import json
import re
import shutil
import subprocess
from collections import OrderedDict
from pathlib import Path

import pytest

import minigrad as mg
from minigrad import nn, viz, zoo
from minigrad.viz.names import Names
from minigrad.viz.page import page
from minigrad.viz.record import record
from minigrad.viz.steps import steps_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--enable-logging=stderr", "--virtual-time-budget=20000"),
]


def data_of(drawing):
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', drawing.html, re.S).group(1)
    return json.loads(text)


def awkward() -> nn.Module:
    """Modules within modules, with names that HTML, JSON and scripts would trip over."""
    block = nn.Sequential(OrderedDict([('a<b>&"c"', nn.Linear(4, 4)), ("</script>", nn.ReLU())]))
    return nn.Sequential(
        OrderedDict([("{{script}}", block), ("last", nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)))])
    )


# ------------------------------------------------------------------------------------------------ the walk


def walked(loss, model=None):
    recorded = record([loss.edge], Names(model))
    keys = {node.number: (key,) for key, node in recorded.nodes.items()}
    return steps_of(list(recorded.nodes.values()), keys, keys, Names(model))


def test_a_chain_step_by_step_as_worked_out_by_hand():
    x = mg.ones(10, requires_grad=True)  # 40 bytes, a leaf that is no parameter
    steps = walked(x.exp().relu().sum())
    assert [(step.keys[0], step.backward) for step in steps] == [
        *((key, False) for key in ("op0", "op1", "op2")),
        *((key, True) for key in ("op2", "op1", "op0")),
    ]
    exp, relu, total, back_sum, back_relu, back_exp = steps
    assert (exp.kept, exp.freed, exp.alive, exp.held) == ((("out", 40),), (), 40, 40)
    assert (relu.kept, relu.freed, relu.alive, relu.held) == ((("out", 40),), (), 80, 80)
    assert (total.kept, total.freed, total.alive) == ((), (), 84)
    assert back_sum.alive == 84 + 4 + 40 and back_sum.freed == (("its gradient", 4),)  # 4 arrived, 40 were made
    assert back_relu.alive == 84 + 40 + 40 and dict(back_relu.freed) == {"relu": 40, "its gradient": 40}
    assert back_exp.alive == 44 + 40 and back_exp.held == 40 and dict(back_exp.freed) == {"exp": 40, "its gradient": 40}


def test_what_nobody_keeps_goes_when_it_was_used():
    x = mg.ones(10, requires_grad=True)
    steps = walked((x + 1).sum())  # neither add nor sum keeps anything
    assert [step.held for step in steps] == [0, 0, 0, 0]
    assert steps[1].freed == (("add", 40),)


def test_an_array_kept_twice_is_freed_by_the_older_one():
    x = mg.ones(10, requires_grad=True)
    y = x.exp()
    steps = walked((y * y).sum())
    assert [step.kept for step in steps[:3]] == [(("out", 40),), (), ()]
    back = {step.keys[0]: dict(step.freed) for step in steps if step.backward}
    assert "exp" in back["op0"] and "exp" not in back["op1"]


@pytest.mark.parametrize("name", zoo.MODELS)
def test_the_walk_agrees_with_the_summary(name):
    with nn.init.skip():
        model = zoo.create(name)
    shape = (1, *zoo.MODELS[name].input_shape)
    data, counted = data_of(viz.graph(model, shape)), viz.summary(model, shape)
    steps = data["steps"]
    half = len(steps) // 2
    assert [step["back"] for step in steps] == [False] * half + [True] * half
    assert sum(step["size"] for step in steps) == max(step["held"] for step in steps)
    assert sum(node["sums"][0] for node in data["nodes"]) == counted.parameters
    assert sum(node["sums"][1] for node in data["nodes"]) == counted.macs
    assert sum(node["sums"][2] for node in data["nodes"]) == sum(step["size"] for step in steps) == counted.kept


def test_steps_find_their_nodes_in_every_view():
    model = zoo.lenet()
    for what in ("graph", "modules", "backward", "both"):
        data = data_of(viz.graph(model, (1, 1, 28, 28), what=what))
        known = {node["of"] for node in data["nodes"]}
        missed = [step for step in data["steps"] if not known & set(step["at"]) and (step["back"] or what != "backward")]
        assert len(missed) <= (2 if what in ("backward", "both") else 0), what  # steps that only turn shapes are not drawn


def test_folded_blocks_stand_for_their_steps():
    x = mg.ones(3, requires_grad=True)
    for _ in range(40):
        x = (x * 2).tanh()
    data = data_of(viz.graph(x.sum()))
    known = {node["of"] for node in data["nodes"]}
    assert len(known) < 10 and len(data["steps"]) == 162
    assert all(set(step["at"]) <= known for step in data["steps"])


def test_after_backward_there_is_no_walk():
    loss = mg.ones(3, requires_grad=True).exp().sum()
    loss.backward()
    assert data_of(viz.graph(loss))["steps"] == []


def test_very_many_steps_share_places(monkeypatch):
    monkeypatch.setattr("minigrad.viz.page._MOST_STEPS", 10)
    x = mg.ones(3, requires_grad=True)
    for _ in range(40):
        x = x.exp()
    steps = data_of(viz.graph(x.sum()))["steps"]
    assert len(steps) <= 12 and "operations" in steps[0]["computed"]


# ------------------------------------------------------------------------------------------------ the page


def test_the_page_is_whole_and_needs_nobody():
    text = viz.graph(awkward(), (1, 4)).html
    open_tags: list[str] = []

    class Checker(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "input"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(text)
    assert not open_tags
    assert set(re.findall(r"https?://[^\"'\s<]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", text)
    assert text.count("</script") == 2  # the name of a module does not end one


def test_scripts_stay_short():
    for path in (Path(viz.__file__).parent / "assets").iterdir():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path.name


def test_names_come_through_as_they_are():
    data = data_of(viz.graph(awkward(), (1, 4)))
    owners = " ".join(node["owner"] for node in data["nodes"])
    assert '{{script}}.a<b>&"c"' in owners and "{{script}}.</script>" in owners


def test_html_is_saved_without_graphviz(tmp_path, monkeypatch):
    monkeypatch.setattr(viz.render, "_command", lambda format: None)
    drawing = viz.graph(awkward(), (1, 4))
    path = drawing.save(tmp_path / "page.html")
    assert path.name == "page.html" and path.read_text(encoding="utf-8") == drawing.html


def test_equal_graphs_give_equal_pages():
    model = awkward()
    assert viz.graph(model, (1, 4)).html == viz.graph(model, (1, 4)).html


def test_nan_is_said_in_words_that_json_knows():
    with viz.watch():
        loss = (mg.tensor([0.0, 1.0], requires_grad=True) - 1).log().sum()
        loss.backward()
    data = data_of(viz.graph(loss))
    broken = [node["title"] for node in data["nodes"] if node["broken"]]
    assert "log" in broken and "1 NaN, 1 Inf of 2" in str(data["nodes"])


# ------------------------------------------------------------------------------------------------ in a browser

#: Whether any two of the nodes drawn lie on each other; the answer stands in the document's element.
OVERLAP = """
<script>
const overlap = () => {
  const boxes = [...new Set(nodes.map(shownAs))];
  return boxes.some((a, i) => boxes.slice(i + 1).some((b) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h));
};
document.documentElement.dataset.overlap = overlap();
</script></body>"""

#: Runs at the end of the page and leaves what it saw in the document's element.
EXERCISE = """
<script>{
const seen = [], noted = (name, value) => seen.push([name, value]);
const drawn = () => document.querySelectorAll("#stage .node").length;
noted("nodes", drawn());
noted("overlap", overlap());
const slider = document.getElementById("slider");
const told = new Set();
for (let i = 0; i <= Number(slider.max); i++) {
  slider.value = i;
  slider.dispatchEvent(new Event("input"));
  told.add(document.getElementById("where").textContent);
}
noted("steps", told.size - 1);
noted("now", document.querySelectorAll("#stage .node.now").length);
noted("pills at the end", document.querySelectorAll("#stage .pill").length);
slider.value = Number(slider.max) / 2;
slider.dispatchEvent(new Event("input"));
noted("pills at the turn", document.querySelectorAll("#stage .pill").length);
for (const head of [...document.querySelectorAll("#stage .head")].map((head) => head.dataset.frame)) {
  const before = drawn();
  const found = document.querySelector(`#stage .head[data-frame='${CSS.escape(head)}']`);
  found.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  noted("folded", drawn() < before && document.querySelectorAll("#stage .node.folded").length === 1 && !overlap());
  document.querySelector("#stage .node.folded").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  noted("open again", drawn() === before);
}
document.getElementById("fold").click();
noted("all folded", drawn());
const field = document.getElementById("search");
field.value = "tanh";
field.dispatchEvent(new Event("input"));
noted("found", document.getElementById("found").textContent);
field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
noted("hit is shown", document.querySelectorAll("#stage .node.hit").length);
document.querySelector("#stage .node.hit").dispatchEvent(new PointerEvent("pointerenter", { clientX: 300, clientY: 300 }));
noted("hint", document.getElementById("tip").textContent.includes("output1×4 float32"));
const place = document.getElementById("stage").getAttribute("transform");
document.getElementById("graph").dispatchEvent(new WheelEvent("wheel", { deltaY: -200, cancelable: true }));
noted("zoomed", document.getElementById("stage").getAttribute("transform") !== place);
document.getElementById("memory").dispatchEvent(new MouseEvent("click", { clientX: 20, bubbles: true }));
noted("step by the curve", slider.value);
document.getElementById("theme").click();
document.getElementById("play").click();
document.getElementById("play").click();
document.documentElement.dataset.seen = JSON.stringify(seen);
}</script></body>"""


def opened(text, tmp_path):
    """The page in headless Chromium: the document afterwards, and what the console said."""
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    command = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH (Debian: apt-get install chromium)")


@browser
@pytest.mark.slow
def test_a_browser_folds_searches_and_steps_without_a_word_in_its_console(tmp_path):
    model = nn.Sequential(
        OrderedDict(first=nn.Sequential(nn.Linear(4, 4), nn.ReLU()), last=nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
    )
    text = viz.graph(model, (1, 4)).html.replace("</body>", OVERLAP).replace("</body>", EXERCISE)
    document, console = opened(text, tmp_path)
    assert console == []
    seen = json.loads(re.search(r'data-seen="(.*?)"', document).group(1).replace("&quot;", '"'))
    assert seen == [
        ["nodes", 5],  # the input and four operations
        ["overlap", False],
        ["steps", 8],
        ["now", 1],
        ["pills at the end", 1],  # the first layer's input is freed by the last step
        ["pills at the turn", 3],  # the second layer keeps what relu keeps already
        *[["folded", True], ["open again", True]] * 2,
        ["all folded", 3],
        ["found", "1"],
        ["hit is shown", 1],
        ["hint", True],
        ["zoomed", True],
        ["step by the curve", "1"],
    ]


@browser
@pytest.mark.slow
@pytest.mark.parametrize("what", ["awkward", "alexnet", "both", "broken"])
def test_a_browser_shows_every_kind_of_picture(what, tmp_path):
    if what == "awkward":
        drawing = viz.graph(awkward(), (1, 4))
    elif what == "broken":
        with viz.watch():
            loss = (awkward()(mg.ones(1, 4)) - 100).log().sum()
            loss.backward()
        drawing = viz.graph(loss)
    else:
        with nn.init.skip():
            model = zoo.alexnet()
        drawing = viz.graph(model, (1, 3, 227, 227), what="both" if what == "both" else "modules")
    document, console = opened(drawing.html.replace("</body>", OVERLAP), tmp_path)
    assert console == []
    assert 'data-overlap="false"' in document
    assert document.count('class="node') >= 5
    if what == "awkward":
        assert '{{script}}.a&lt;b&gt;&amp;"c"' in document
    if what == "broken":
        assert "broken" in document


@browser
@pytest.mark.slow
def test_the_console_is_heard(tmp_path):
    text = viz.graph(awkward(), (1, 4)).html.replace("</body>", "<script>missing()</script></body>")
    assert len(opened(text, tmp_path)[1]) == 1


def test_a_picture_of_nothing_is_a_page_too():
    assert "<svg" in page(viz.graph(awkward(), (1, 4)).picture.with_items([]), ())
