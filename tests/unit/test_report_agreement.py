"""The panel of predicted against reported numbers, and its table."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flow.report import agreement


def report(raw: float, said: float, used: float | None = None) -> dict[str, dict[str, float]]:
    return {
        "raw": {"lut": raw, "dsp": 0},
        "estimated": {"lut": used or raw, "dsp": 0},
        "reported": {"lut": said, "dsp": 0},
    }


def test_table_and_panels() -> None:
    own = [report(100, 130), report(200, 250, 260), report(400, 560, 520), report(900, 1100, 1170)]
    (row,) = agreement.rows(own)
    assert row["reports"] == 4 and row["reported / estimated"] == "1.30 (1.22 to 1.40)"
    assert row["rank correlation"] == "1.00"
    root = ET.fromstring(str(agreement.svg(own)))
    assert len(root.findall(".//{*}circle")) == 8
    assert "1170 corrected, 1100 reported" in str(agreement.svg(own))


def test_points_on_the_line_agree() -> None:
    root = ET.fromstring(str(agreement.svg([report(100, 100), report(900, 900)])))
    for c in root.findall(".//{*}circle"):
        x = float(c.attrib["cx"]) - agreement.LEFT
        y = agreement.TOP + agreement.PANEL - float(c.attrib["cy"])
        assert abs(x - y) < 0.2


def test_nothing_reported() -> None:
    assert agreement.rows([]) == [] and agreement.svg([]) == ""
    assert agreement.rows([report(0, 5)]) == []
