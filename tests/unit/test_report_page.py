"""The report: what is drawn is the data, what is hostile is text, what is missing is said."""

import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import jinja2
import pytest

from flow.report.html import pareto_svg, render
from flow.report.measures import duration, fidelity_word, standing, text
from flow.report.plot import Axis, axis, colour, convergence, convergence_svg, plotted

SVG = "{http://www.w3.org/2000/svg}"


def trial(number, accuracy, latency, dsp=100, **more):
    return {
        "trial": number,
        "objectives": {"accuracy": accuracy, "latency_ms": latency, "dsp": dsp},
        "fidelity": {"accuracy": "trained", "latency_ms": "estimate", "dsp": "estimate"},
        "feasible": True,
        "violations": [],
        "summary": f"network {number}",
        "trained": True,
        "seconds": 1.5,
    } | more


def point(number, accuracy, latency, dsp=100, **more):
    return {
        "trial": number,
        "objectives": {"accuracy": accuracy, "latency_ms": latency, "dsp": dsp},
        "fidelity": {"accuracy": "test", "latency_ms": "estimate", "dsp": "csynth"},
        "directory": f"trials/{number:04d}-ab",
    } | more


TRIALS = [
    trial(0, 0.5, 10.0),
    trial(1, 0.9, 10.0),
    trial(2, 0.7, 1.0, 400),
    trial(3, 0.6, 2.0),
    trial(4, 0.99, 0.01, feasible=False, violations=[{"resource": "dsp", "used": 9999, "available": 2520}]),
    trial(5, None, None, feasible=False, violations=["loss is not finite"], trained=False),
    trial(6, 0.85, 2.5, trained=False, fidelity={"accuracy": "predicted by a model"}),
    trial(7, 123.0, 3.0, trained=False, fidelity={"accuracy": "proxy"}),
    trial(8, 0.4, 0.1, 900),
    trial(9, math.nan, 5.0),
]
POINTS = [
    point(1, 0.9, 10.0),
    point(2, 0.7, 1.0, 400, csim={"bit_exact": True, "images": 1000, "mismatches": 0}),
    point(8, 0.4, 0.1, 900, csim={"bit_exact": False, "images": 1000, "mismatches": 3}),
]
FRONT = {
    "objectives": ["accuracy", "latency_ms"],
    "reference": [0.1, 100.0],
    "hypervolume": 77.0,
    "trials": 10,
    "points": POINTS,
}
META = {
    "board": "zcu102",
    "data": "digits",
    "space": "default",
    "strategy": "nsga2",
    "seed": 3,
    "version": "0.1.0",
    "commands": ["flow csim runs/a/trials/0001-ab", "flow synth runs/a/trials/0001-ab"],
    "config": {"trials": 10, "limits": {"max_utilisation": 0.8}, "bits": [8, 4], "nothing": None},
    "environment": {"packages": {"numpy": "2.4.6"}},
    "started": "2025-01-02 03:04",
    "seconds": 247.0,
}


def root(svg):
    return ET.fromstring(str(svg))


def of_class(tree, kind):
    return [e for e in tree.iter() if e.get("class") == kind]


def places(tree):
    """Pixel centres of the front's points, in the order of the data, without the legend's example."""
    groups = [g for g in tree.iter(f"{SVG}g") if any(c.get("r") == "7" for c in g)]
    return [tuple(map(float, re.findall(r"[\d.]+", g.get("transform")))) for g in groups]


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_plot_holds_the_front_and_the_dominated_and_nothing_infeasible():
    tree = root(pareto_svg(FRONT, TRIALS))
    assert len(places(tree)) == 3
    titles = [t.text for t in tree.iter(f"{SVG}title")]
    shown = sorted(int(re.match(r"trial (\d+)", t)[1]) for t in titles)
    assert shown == [0, 1, 2, 3, 6, 8]
    legend = 1
    assert len(of_class(tree, "other")) == 2 + legend and len(of_class(tree, "untrained")) == 1 + legend
    assert len(of_class(tree, "rug")) == 2 + legend  # cost known, accuracy a proxy or NaN
    assert "trial 2 – Latency [ms]: 1 (estimate), Accuracy: 70.00 % (test), DSP: 400 (csynth)" in titles
    assert "nan" not in str(pareto_svg(FRONT, TRIALS)).lower()


def test_points_stand_where_the_data_says():
    """Log axis: equal ratios, equal distances. Accuracy: equal differences, equal distances, upwards."""
    (x1, y1), (x2, y2), (x3, y3) = places(root(pareto_svg(FRONT, TRIALS)))
    assert x1 - x2 == pytest.approx(x2 - x3, abs=0.2) and x1 > x2 > x3
    assert (y2 - y1) / 2 == pytest.approx((y3 - y2) / 3, abs=0.2) and y1 < y2 < y3


def test_the_front_is_connected_by_steps_through_its_points():
    tree = root(pareto_svg(FRONT, TRIALS))
    path = of_class(tree, "front")[0].get("d")
    (x1, y1), (x2, y2), (x3, y3) = places(tree)
    assert path == f"M{x3} {y3}H{x2}V{y2}H{x1}V{y1}"


def test_colour_follows_use_from_dark_to_light():
    fills = [c.get("fill") for c in root(pareto_svg(FRONT, TRIALS)).iter(f"{SVG}circle") if c.get("r") == "7"]
    assert fills[0] == colour(0) and fills[1] == colour(300 / 800) and fills[2] == colour(1)
    brightness = [sum(int(colour(i / 20)[k : k + 2], 16) for k in (1, 3, 5)) for i in range(21)]
    assert brightness[0] < brightness[10] < brightness[20]


def test_labels_do_not_cover_each_other():
    points = [point(i, 0.9 + 0.001 * i, 1.0 * 1.05**i) for i in range(30)]
    tree = root(pareto_svg(FRONT | {"points": points}, []))
    boxes = [
        (float(t.get("x")), float(t.get("y")), 3.4 * len(t.text)) for t in of_class(tree, "small") if "#" in t.text
    ]
    assert len(boxes) >= 5
    for i, (x, y, w) in enumerate(boxes):
        for u, v, z in boxes[:i]:
            assert abs(x - u) >= w + z - 0.2 or abs(y - v) >= 13.8


def test_one_point_no_point_and_other_objectives_are_drawn():
    for points in (POINTS[:1], []):
        for trials in (TRIALS, []):
            root(pareto_svg(FRONT | {"points": points}, trials))
            root(convergence_svg(FRONT | {"points": points}, trials))
    assert "No feasible candidate" in pareto_svg(FRONT | {"points": []}, [])
    assert plotted(["fps", "energy_mj"], []) == ("energy_mj", "fps")
    assert plotted(["accuracy", "dsp", "latency_ms"], []) == ("latency_ms", "accuracy")
    assert plotted(["accuracy", "dsp"], POINTS) == ("dsp", "accuracy")
    assert plotted(["accuracy"], POINTS) == ("latency_ms", "accuracy")
    costs = [{"objectives": {"fps": f, "energy_mj": e}, "trial": f, "fidelity": {}} for f, e in ((100, 1.0), (10, 0.0))]
    root(pareto_svg({"objectives": ["fps", "energy_mj"], "points": costs}, []))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[1, 1], [0.5, 0.51], [1e-4, 3e3], [3, 8], [0.02, 0.9], [1e6, 3e7], [0, 0], [-5, 5]])
def test_axes_have_ticks_inside(values, log):
    a = axis(values, 0, 100, log)
    assert all(0 <= a.at(v) <= 100 for v in values)
    assert 2 <= len(a.ticks) <= 14 and all(a.low * 0.999 <= t <= a.high * 1.001 for t in a.ticks if a.low > 0)
    assert a.ticks == sorted(a.ticks)
    assert Axis(1, 100, True, 0, 10).at(10) == pytest.approx(5)


def test_convergence_by_hand():
    """Accuracy above 0.1 times decades below 100 ms; trials 4, 5, 6, 7 and 9 are infeasible or not known."""
    first, second, third = 0.4 * 1, 0.8 * 1, 0.8 * 1 + 0.6 * 1
    last = third + 0.3 * 1
    expected = [(0, first / last), (1, second / last), (2, third / last), (8, 1.0)]
    found = convergence(FRONT, TRIALS)
    assert [n for n, _ in found] == [n for n, _ in expected]
    assert [v for _, v in found] == pytest.approx([v for _, v in expected])
    assert convergence(FRONT, TRIALS[::-1]) == found
    assert convergence(FRONT, TRIALS[4:6]) == []


def test_the_page_says_what_is_known_and_how():
    page = Page(render(FRONT, TRIALS, META))
    assert "bit-exact csim, 1,000 images" in page.text and "3 outputs differ csim, 1,000 images" in page.text
    assert "1 of 3 accelerators, compiled as C++, give onnxruntime's outputs bit for bit" in page.text
    for number, words in ((1, "90.00 % test"), (2, "400 csynth"), (3, "0.1 estimate")):
        assert words in page.text, number
    assert "measured test Accuracy" in page.text and "reported csynth DSP" in page.text
    assert "proved csim outputs of the accelerator (1 of 3)" in page.text
    assert "estimated estimate Latency [ms]" in page.text
    assert "DSP over the limit 1" in page.text and "loss is not finite 1" in page.text
    for words in ("limits.max_utilisation 0.8", "bits 8, 4", "packages.numpy 2.4.6", "4 min 07 s", *META["commands"]):
        assert words in page.text
    assert "nothing" not in [w.strip() for w in page.words]
    assert "10 candidates" in page.text and "8 of 10 feasible" in page.text and "3 on the front" in page.text


def test_layers_resources_and_bounds_of_a_point():
    layer = {"name": "conv<1>", "op": "Conv", "macs": 12345, "interval_cycles": 784, "parameters": {"pe": 4}}
    more = {
        "layers": [layer | {"resources": {"dsp": 36}}],
        "resources": {"dsp": 630},
        "available": {"dsp": 2520},
        "bound": {"gap": 0.034, "proved": True},
    }
    page = Page(render(FRONT | {"points": [point(1, 0.9, 10.0, **more)]}, TRIALS, META))
    assert "630 of 2,520 (25.0 %)" in page.text
    assert "interval 3.4 % above the lower bound" in page.text
    assert "conv<1> Conv 12,345 784 pe 4 – – 36 – –" in page.text


def test_nothing_feasible_is_said():
    failed = [trial(i, None, None, feasible=False, violations=["out of memory"]) for i in range(3)]
    page = Page(render(FRONT | {"points": [], "hypervolume": 0.0}, failed, META))
    assert "Nothing is on the front" in page.text and "out of memory 3" in page.text


HOSTILE = (
    '"><script>alert(1)</script></style></title></svg><img src=x onerror=alert(2)>'
    "{{ 7*7 }}' */ ]]> &amp; [exec rm]\n\x00\x1b"
)


def test_hostile_names_stay_text():
    bad = point(1, 0.9, 10.0, layers=[{"name": HOSTILE, "op": HOSTILE, "parameters": {HOSTILE: HOSTILE}}])
    bad |= {"directory": HOSTILE, "summary": HOSTILE}
    bad["objectives"][HOSTILE] = 1.0
    bad["fidelity"] = {"accuracy": HOSTILE, "latency_ms": "estimate", HOSTILE: HOSTILE}
    front = FRONT | {"points": [bad, *POINTS[1:]]}
    trials = [*TRIALS, trial(10, 0.5, 5.0, summary=HOSTILE, fidelity={"accuracy": HOSTILE})]
    trials.append(trial(11, 0.5, 5.0, feasible=False, violations=[HOSTILE]))
    meta = {k: HOSTILE for k in META} | {"config": {HOSTILE: HOSTILE}, "environment": {HOSTILE: [HOSTILE]}}
    meta |= {"commands": [HOSTILE, HOSTILE], "seconds": 1.0}
    clean, page = Page(render(FRONT, TRIALS, META)), Page(render(front, trials, meta))
    assert set(page.tags) == set(clean.tags) and page.tags.count("script") == 1 and "img" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.text.count("alert(1)") > 10  # it is there, as text
    assert "49" not in page.text
    root(pareto_svg(front, trials))


def test_the_page_loads_nothing():
    page = render(FRONT, TRIALS, META)
    parsed = Page(page)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(parsed.tags)
    for name, value in parsed.attributes:
        assert name not in ("src", "srcset", "data", "action", "xlink:href")
        assert name != "href" or value.startswith("#")
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "@import" not in page and "url(" not in page and "default-src 'none'" in page


def test_a_missing_fact_is_an_error_not_a_blank():
    with pytest.raises(jinja2.UndefinedError, match="version"):
        render(FRONT, TRIALS, {k: v for k, v in META.items() if k != "version"})


def test_every_link_has_its_target():
    page = Page(render(FRONT, TRIALS, META))
    ids = {v for n, v in page.attributes if n == "id"}
    links = {v[1:] for n, v in page.attributes if n == "href"}
    assert links <= ids and {"trial-1", "detail-1"} <= ids
    assert 'href="#' in pareto_svg(FRONT, TRIALS, links=True) and "href" not in pareto_svg(FRONT, TRIALS)


def test_numbers_as_people_read_them():
    assert [text("accuracy", v) for v in (0.91234, None, math.nan)] == ["91.23 %", "–", "–"]
    assert [text("dsp", v) for v in (2520, 2520.0, 0, True)] == ["2,520", "2,520", "0", "True"]
    assert [text("latency_ms", v) for v in (0.01234, 12.345, 1234.5, 0.00001)] == [
        "0.0123",
        "12.3",
        "1,234",
        "1.00e-05",
    ]
    assert [duration(s) for s in (3.21, 247, 3600 * 2 + 61, None)] == ["3.2 s", "4 min 07 s", "2 h 01 min", "–"]
    assert standing("csim")[0] == "proved" and standing("guess")[0] == "unknown"
    assert fidelity_word("onnxruntime, test split") == "test" and fidelity_word("a guess") == "a guess"
    assert standing("short training, validation split") == standing("trained")
