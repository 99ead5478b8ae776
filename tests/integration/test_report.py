"""The report, opened in headless Chromium: what it draws, what it says, and that it asks nothing of the network."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Browser, Page

from handler.definitions.spec import FeatureSpec
from machine_features import FeatureStore
from machine_features.__main__ import main
from machine_features.report.page import write_report
from scripts.browser import start
from tests.harness import HOUR, Pipeline, at, line, write_raw
from tests.integration.conftest import SimulatedPlant, convert_data_set
from tests.measured import ROOT

BROWSER = ROOT / ".tools" / "browser"
DESKTOP, PHONE = (1180, 900), (390, 844)
CHARTS = ("readings", "baseline", "zones", "changes", "freshness", "rejected")
HOSTILE = "<img src=x onerror=document.title='taken'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (BROWSER / "chromium").exists():
        pytest.skip("headless Chromium is locked for Linux on x86_64: make .tools/browser/.ready")
    with start(BROWSER) as started:
        yield started


@dataclass
class Opened:
    """A page, and all that it said and asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def count(self, chart: str, marks: str) -> int:
        found: int = self.page.locator(f"#{chart} svg {marks}").count()
        return found

    def text(self, chart: str) -> list[str]:
        texts: list[str] = self.page.locator(f"#{chart} svg text").all_text_contents()
        return texts


@contextmanager
def open_page(browser: Browser, report: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.set_default_timeout(180_000)  # other tests may have the machine to themselves for a while
    opened = Opened(page)
    page.on("console", lambda message: opened.console.append(message.text))
    page.on("pageerror", lambda error: opened.console.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-ready=true]")
    yield opened
    page.close()
    assert opened.console == []
    assert opened.requests == [report.as_uri()]


def write(root: Path, to: Path) -> Path:
    write_report(FeatureStore.open(root.as_uri()), to)
    return to


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_of_the_simulated_plant(
    browser: Browser, simulated: SimulatedPlant, tmp_path: Path, size: tuple[int, int]
) -> None:
    with open_page(browser, write(simulated.pipeline.root, tmp_path / "r.html"), size) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert {chart: opened.count(chart, "path") > 10 for chart in CHARTS} == dict.fromkeys(CHARTS, True)
        assert page.locator(".counts").inner_text().split("\n")[:4] == [
            "1 of 8", "in zone C or D", "1", "failure in view",
        ]  # fmt: skip
        rows = page.locator("#worst ~ .wide tbody tr").all_inner_texts()
        assert len(rows) == 8
        assert rows[0].startswith("PUMP-A08\tD\t")
        assert "FALHA_VIBRACAO_ELEVADA" in rows[0]
        assert {"A", "B", "C", "D", "PUMP-A08"} <= set(opened.text("zones"))
        assert "FALHA_VIBRACAO_ELEVADA" in opened.text("readings")
        assert "not_json" in opened.text("rejected")
        descriptions = [page.locator(f"#{chart}").get_attribute("aria-label") for chart in CHARTS]
        assert [text for text in descriptions if text is None or len(text) < 20] == []


def test_letters_never_overlap(browser: Browser, simulated: SimulatedPlant, tmp_path: Path) -> None:
    report = write(simulated.pipeline.root, tmp_path / "r.html")
    for size in (DESKTOP, PHONE):
        with open_page(browser, report, size) as opened:
            boxes = opened.page.evaluate(
                """() => [...document.querySelectorAll('#zones svg .mark-text.role-mark text')]
                    .map((t) => t.getBoundingClientRect()).map((b) => [b.left, b.right, Math.round(b.top)])"""
            )
            assert len(boxes) > 8 * 4
            for (_, right, row), (left, _, next_row) in pairwise(boxes):
                assert next_row != row or left >= right


def test_machines_and_readings_can_be_picked(browser: Browser, simulated: SimulatedPlant, tmp_path: Path) -> None:
    with open_page(browser, write(simulated.pipeline.root, tmp_path / "r.html")) as opened:
        page = opened.page
        zones = opened.count("readings", ".layer_0_marks path")
        assert zones == 4
        page.select_option("#machine", label="PUMP-A03")
        page.wait_for_function("document.querySelector('#name').textContent === 'PUMP-A03'")
        page.wait_for_function("!document.querySelector('#readings svg').textContent.includes('FALHA')")
        page.get_by_role("button", name="PUMP-A08").click()
        page.wait_for_function("document.querySelector('#readings svg').textContent.includes('FALHA')")
        page.select_option("#reading", label="temperature_celsius")
        page.wait_for_function("document.querySelector('#readings-title').textContent === 'temperature_celsius, °C'")
        assert not page.locator("#zones-part").is_visible()
        page.fill("#find", "a05")
        shown = [row for row in page.locator("#worst ~ .wide tbody tr").all() if row.is_visible()]
        assert [row.inner_text().split("\t")[0] for row in shown] == ["PUMP-A05"]


def test_clean_lake_says_so_in_words_and_names_are_only_text(browser: Browser, tmp_path: Path) -> None:
    for hour in range(8):
        lines = [
            line(machine, at(hour, minutes=10 * k), vibration=1 + hour / 10)
            for machine in ("M1", HOSTILE)
            for k in range(6)
        ]
        write_raw(tmp_path, at(hour), "a.jsonl", lines)
    Pipeline(tmp_path).backfill(at(0), at(8))
    with open_page(browser, write(tmp_path, tmp_path / "r.html")) as opened:
        text = opened.page.locator("main").inner_text()
        assert "Nothing was rejected." in text
        assert "No line came too late or from the future." in text
        assert "NaN" not in text + "".join(opened.text("readings"))
        opened.page.get_by_role("button", name=HOSTILE).click()
        opened.page.wait_for_function("document.querySelector('#name').textContent.startsWith('<img')")
        assert opened.page.title() == "Machines as of 2025-10-15 08:00 UTC"
        assert opened.page.locator("img").count() == 0


def test_readings_without_zones(browser: Browser, tmp_path: Path) -> None:
    spec = FeatureSpec.parse('windows = ["1h"]\n[[readings]]\nname = "rpm"\nplausible = [-1, 9]\n')
    for hour in range(3):
        write_raw(tmp_path, at(hour), "a.jsonl", [line("M1", at(hour, minutes=k), rpm=3) for k in range(60)])
    Pipeline(tmp_path, spec=spec).backfill(at(0), at(3))
    with open_page(browser, write(tmp_path, tmp_path / "r.html")) as opened:
        assert "rpm has too few hours here for a baseline." in opened.page.locator("main").inner_text()
        assert not opened.page.locator("#zones-part").is_visible()
        assert opened.count("readings", "path") > 10


def test_page_of_1000_machines_is_below_5_mb(browser: Browser, tmp_path: Path) -> None:
    random = Random(1)
    begin, hours = at(0), 30
    for hour in range(hours):
        lines = [
            line(
                f"PUMP-{machine:04d}", begin + hour * HOUR + timedelta(minutes=minute),
                vibration=round(1 + random.random(), 3), temperature=round(60 + random.gauss(0, 1), 2),
            )
            for machine in range(1_000)
            for minute in range(0, 60, 5)
        ]  # fmt: skip
        write_raw(tmp_path, begin + hour * HOUR, "a.jsonl", lines)
    Pipeline(tmp_path).backfill(begin, begin + hours * HOUR)
    report = write(tmp_path, tmp_path / "r.html")
    assert report.stat().st_size < 5e6
    with open_page(browser, report, PHONE) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert opened.page.locator("#machine option").count() == 1_000
        rows = opened.page.locator("#worst ~ .wide tbody tr")
        assert sum(row.is_visible() for row in rows.all()[:30]) == 25
        opened.page.get_by_role("button", name="Show all 1000").click()
        assert rows.nth(999).is_visible()


def test_bearings_that_stay_in_zone_a_are_told_from_each_other(browser: Browser, shared: Path, tmp_path: Path) -> None:
    convert_data_set(shared, "ims2", tmp_path)
    begin = at(0).replace(year=2004, month=2, day=12, hour=10)
    Pipeline(tmp_path).backfill(begin, begin + timedelta(days=6, hours=21))
    with open_page(browser, write(tmp_path, tmp_path / "r.html")) as opened:
        rows = opened.page.locator("#worst ~ .wide tbody tr").all_inner_texts()
        cells = [row.split("\t") for row in rows]
        assert cells[0][:2] == ["BRG-IMS2-1", "A"]
        own = [float(row[4].split()[1]) for row in cells]
        assert own[0] > 2 > 1.5 > own[1]
        ticks = [float(text) for text in opened.text("readings") if text.replace(".", "").isdigit()]
        assert max(ticks) < 1  # fitted to the data: zone A alone ends at 2.3


def test_command_line(simulated: SimulatedPlant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake, out = simulated.pipeline.root.as_uri(), tmp_path / "new" / "r.html"
    assert main(["report", "--lake", lake, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(out), "machines": 8}
    assert main(["report", "--lake", lake, "--out", str(out), "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"]) == 2
    assert "there are no training rows in (2020-01-01T00:00:00Z, 2020-01-02T00:00:00Z]" in capsys.readouterr().err
    assert main(["report", "--lake", tmp_path.as_uri(), "--out", str(out)]) == 2
    assert "holds no training rows; run the function first" in capsys.readouterr().err
