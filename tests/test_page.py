"""A report's page: what its tables and pictures say, byte for byte the same; and in a real browser, narrow and dark."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from bench.__main__ import main
from bench.choice import found_beside
from bench.plan.interval import mean
from bench.plan.share import mean_share
from bench.study.report.chart import Axis, exactly
from bench.study.report.index import write_index
from bench.study.report.overview import runs_table
from bench.study.report.picture.contract import Picture
from bench.study.report.pictures import chart_of
from bench.study.report.plot import plots_of
from bench.study.report.quality_table import quality_table
from bench.study.report.result import Run, read_run
from bench.study.report.script import SCRIPT, plotly_script
from bench.study.report.sheet import Sheet, sheets_of
from tests.commands import ROOT
from tests.designs import in_full
from tests.records import keep_records, record_of
from tests.tiny import config

GRID = [(1, 0), (2, 0), (2, 2), (4, 2)]
"""Stages and staleness of what the page is of; the last shared cores."""
SEEDS = range(3)


def records() -> list[dict[str, Any]]:
    """Three seeds of each point; accuracies and speeds are all different."""
    found = []
    for place, (stages, staleness) in enumerate(GRID):
        for seed in SEEDS:
            accuracies = [0.5 + 0.01 * place + 0.001 * seed, 0.9 - 0.02 * place + 0.003 * seed]
            point = config(stages=stages, staleness=staleness, seed=seed)
            found.append(record_of(point, 100.0 + 40 * place + seed, accuracies, {"oversubscribed": stages == 4}))
    return found


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [read_run(record) for record in records()]


def plots(runs: list[Run], name: str) -> list[dict[str, Any]]:
    """The panels of a picture's only workload, as the page's script gets them."""
    (plot,) = plots_of(chart_of(found_beside(Picture)[name](), runs))
    return list(plot["panels"])


# ----------------------------------------------------------------------------------------------------------- the tables
def cells(sheet: Sheet, column: str) -> list[str]:
    place = [each.name for each in sheet.columns].index(column)
    return [line.cells[place].text for line in sheet.lines]


def test_an_interval_stands_in_the_cell_of_its_mean() -> None:
    """Shares are in per cent, and differences of them have a sign; ends without a mean are a cell of their own."""
    nan, inf = math.nan, math.inf
    table = {"n": [3, 1], "accuracy": [0.98944, 0.5], "accuracy_low": [0.9828, nan], "accuracy_high": [0.99608, nan]}
    table |= {"difference": [-0.004, nan], "difference_low": [-0.0113, nan], "difference_high": [0.0024, nan]}
    table |= {"test_set_low": [0.97, nan], "test_set_high": [0.995, nan], "images_per_second": [1812.6, 98.25]}
    table |= {"over_locked": [1.87, 1.0], "over_locked_low": [1.83, nan], "over_locked_high": [1.9, nan]}
    table |= {
        "updates_to_target": [40.0, inf],
        "updates_to_target_low": [20.0, nan],
        "updates_to_target_high": [inf, nan],
    }
    (sheet,) = sheets_of({"trials": pandas.DataFrame({**table, "run": ["a", "b"]})})
    assert {column.title: cells(sheet, column.name) for column in sheet.columns} == {
        "n": ["3", "1"],
        "accuracy %": ["98.9 (98.3 to 99.6)", "50.0"],
        "difference %": ["-0.4 (-1.1 to +0.2)", ""],
        "test set %": ["97.0 to 99.5", ""],
        "images per second": ["1813", "98.25"],
        "over locked": ["1.87 (1.83 to 1.90)", "1.00"],
        "updates to target": ["40.0 (20.0 to inf)", "inf"],
        "run": ["a", "b"],
    }
    assert [line.cells[6].value for line in sheet.lines] == ["40.0", "Infinity"]
    (studies,) = sheets_of(
        {
            "studies": pandas.DataFrame(
                {"study": ["s"], "accuracy": [0.9], "accuracy_low": [0.8], "over_locked": [-0.0123]}
            )
        }
    )
    assert (studies.columns[2].title, cells(studies, "over_locked")) == ("over locked %", ["-1.2"])


def test_what_all_rows_share_is_told_once(runs: list[Run]) -> None:
    (sheet,) = sheets_of({"accuracy": quality_table(runs, 0.005)})
    seen = [column.name for column in sheet.columns if not column.rare]
    assert sheet.common == {"S": "1", "method": "decoupled", "n": "3", "diverged": "0"}
    assert seen == ["K", "staleness", "accuracy", "test_set_low", "difference", "said", "detectable"]


def test_runs_are_links_where_the_page_has_their_rows(runs: list[Run]) -> None:
    tables = {"accuracy": quality_table(runs, 0.005), "runs": runs_table(runs)}
    together, alone = sheets_of(tables), sheets_of({"accuracy": tables["accuracy"]})
    names = [run.name for run in runs[:3]]
    assert together[0].lines[0].made_from == {"runs": [(name, f"#{name}") for name in names]}
    assert alone[0].lines[0].made_from == {"runs": [(name, "") for name in names]}
    assert [line.run for line in together[1].lines] == [run.name for run in runs]


@pytest.mark.parametrize(
    ("form", "values", "words"),
    [
        ("share", [0.9, 0.91], "90.5 % (84.1 to 96.9)"),
        ("number", [1800.0, 1826.0], "1813 (1648 to 1978)"),
        ("number", [1.86], "1.86"),
        ("whole", [40.0], "40"),
    ],
)
def test_a_mark_says_its_interval(form: Any, values: list[float], words: str) -> None:
    interval = mean(values) if len(values) > 1 else exactly(values[0])
    assert Axis("", form).say(interval) == words


# --------------------------------------------------------------------------------------------------------- the pictures
def test_every_mark_names_its_runs(runs: list[Run]) -> None:
    """Those are the runs of its group, all three."""
    groups = {" ".join(run.name for run in runs if run.group == group) for group in {run.group for run in runs}}
    for name in {*found_beside(Picture)} - {"margin"}:
        for panel in plots(runs, name):
            told = [trace for trace in panel["data"] if "hovertemplate" in trace]
            assert told
            found = [trace["meta"][0] if "meta" in trace else row[1] for trace in told for row in trace["customdata"]]
            assert set(found) == groups, name


def test_curves_have_the_band_of_the_interval_over_updates_epochs_and_seconds(runs: list[Run]) -> None:
    panels = plots(runs, "curves")
    assert [panel["name"] for panel in panels] == ["over updates", "over epochs", "over seconds"]
    assert [panel["data"][1]["x"] for panel in panels] == [[10.0, 20.0], [1.0, 2.0], [2.0, 4.0]]
    images = runs[0].data["test_images"]
    first, last = mean_share([0.5, 0.501, 0.502], images), mean_share([0.9, 0.903, 0.906], images)
    for panel in panels:
        band, line = panel["data"][:2]
        assert line["y"] == pytest.approx([first.mean, last.mean], rel=1e-5)
        assert band["y"] == pytest.approx([first.high, last.high, last.low, first.low], rel=1e-5)
        assert (band["fill"], band["legendgroup"]) == ("toself", line["legendgroup"])


def test_a_single_run_has_no_band(runs: list[Run]) -> None:
    """Nor has a point a bar."""
    line, *others = plots(runs[:1], "curves")[0]["data"]
    assert (line["mode"], others) == ("lines", [])
    assert "error_x" in plots(runs, "pareto")[0]["data"][1]
    assert not {"error_x", "error_y"} & {*plots(runs[:1], "pareto")[0]["data"][1]}


def test_the_front_is_of_runs_whose_speeds_can_be_compared(runs: list[Run]) -> None:
    """The fastest shared cores, and so its mark is hollow and not on the front."""
    front, *marks = plots(runs, "pareto")[0]["data"]
    assert front["x"] == [101.0, 141.0, 181.0]
    assert [trace["marker"]["symbol"] for trace in marks] == [*["circle"] * 3, "circle-open"]


def test_machines_are_told_apart_where_speed_is_concerned(runs: list[Run]) -> None:
    """The accuracy of a run that two have made is drawn once."""
    other = [replace(run, environment={**run.environment, "host": "b"}, started="2027") for run in runs]
    points = [trace["name"] for trace in plots([*runs, *other], "pareto")[0]["data"] if "hovertemplate" in trace]
    fronts = [trace["x"] for trace in plots([*runs, *other], "pareto")[0]["data"] if trace["name"] == "front"]
    assert fronts == [[101.0, 141.0, 181.0]] * 2
    assert points[::4] == ["K1 S1 c0 on a 2 x a CPU", "K1 S1 c0 on b 2 x a CPU"]
    apart = [sum("hovertemplate" in trace for trace in panel["data"]) for panel in plots([*runs, *other], "curves")]
    assert apart == [4, 4, 8]
    assert plots([*runs, *other], "staleness") == plots(runs, "staleness")


@pytest.mark.parametrize("name", ["pareto", "locking", "curves", "staleness"])
def test_plotly_knows_every_word(name: str, runs: list[Run]) -> None:
    from plotly.graph_objects import Figure

    for panel in plots(runs, name):
        assert len(Figure(panel["data"], panel["layout"]).data) == len(panel["data"])
        assert json.loads(json.dumps(panel, allow_nan=False)) == panel


# ----------------------------------------------------------------------------------------------------------- the pages
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of two reports with its overview; the second finds the overview's script."""
    place = tmp_path_factory.mktemp("site")
    runs_dir = keep_records(place / "runs", *records())
    for name in ("first", "second"):
        words = ["report", f"runs_dir={runs_dir}", "--results", str(place / name)]
        assert main(words) == 0
        write_index(place)
    return place


def test_the_script_lies_once_in_a_collection(site: Path) -> None:
    assert (site / SCRIPT).read_text().startswith("/**\n* plotly.js")
    assert not (site / "second" / SCRIPT).exists()
    assert f'<script src="../{SCRIPT}">' in (site / "second" / "report.html").read_text()
    assert f'<script src="{SCRIPT}">' in (site / "index.html").read_text()


def test_a_clone_has_the_script_that_its_pages_were_made_with() -> None:
    """It draws them without a network, and without a command before."""
    assert (ROOT / "results" / SCRIPT).read_text() == plotly_script()


def test_a_page_can_be_one_file(site: Path, tmp_path: Path) -> None:
    words = ["report", f"runs_dir={site / 'runs'}", "--results", str(tmp_path / "alone"), "--inline"]
    assert main(words) == 0
    page = (tmp_path / "alone" / "report.html").read_text()
    assert "* plotly.js" in page
    assert "<script src" not in page
    assert not [*tmp_path.rglob(SCRIPT)]


def test_the_same_records_give_the_same_bytes(site: Path, tmp_path: Path) -> None:
    """Wherever they are reported to: there is no date of making, no name of a place and no random number."""
    shutil.copy(site / SCRIPT, tmp_path)
    assert main(["report", f"runs_dir={site / 'runs'}", "--results", str(tmp_path / "again")]) == 0
    names = sorted(path.name for path in (site / "second").iterdir())
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    for name in names:
        assert (site / "second" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_overview_leads_to_every_report(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert page.count('<a href="first/report.html">first</a>') == 1 + len(GRID)
    assert page.count(f'href="second/report.html#{records()[0]["config_hash"]}"') == 1
    assert 'href="../index.html"' in (site / "second" / "report.html").read_text()


# --------------------------------------------------------------------------------------------------------- in a browser
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
VIEWS = [(1400, "dark"), (400, "light"), *in_full((1400, "light"), (400, "dark"))]
TABLES = """
return [...document.querySelectorAll(".wide")].map(box => {
  const rows = [...box.querySelectorAll("tr")].map(row => [...row.cells].filter(cell => cell.offsetWidth));
  const rect = cell => cell.getBoundingClientRect();
  return {
    wider: box.scrollWidth - box.clientWidth,
    overlaps: rows.flatMap(row => row.slice(1).filter((cell, i) => rect(cell).left < rect(row[i]).right - 1)).length,
    clipped: rows.flat().filter(cell => cell.scrollWidth > cell.clientWidth + 1).length,
  };
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("there is no chromium with its chromedriver on the path")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = BROWSER
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-background-networking"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The driver is here: selenium is to look for none, and to tell nobody.
    quiet = {**os.environ, "SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
    driver = Chrome(options, Service(DRIVER, env=quiet))
    yield driver
    driver.quit()


def see(browser: Any, page: Path, width: int = 1400, scheme: str = "light") -> None:
    """Open a page in a window so wide, and wait for its pictures."""
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get("about:blank")
    browser.get(page.as_uri())
    drawn = "return [...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg .bglayer'))"
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(drawn))


def texts(browser: Any, sheet: str, column: str) -> list[str]:
    """The cells of a column in the rows that are left."""
    script = """
    const table = document.querySelector(`#${arguments[0]} table`);
    const place = [...table.tHead.rows[0].cells].findIndex(head => head.dataset.name === arguments[1]);
    return [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[place].textContent.trim());
    """
    return [str(text) for text in browser.execute_script(script, sheet, column)]


def chosen(browser: Any) -> list[str]:
    return sorted(
        browser.execute_script("return [...document.querySelectorAll('tr.chosen')].map(row => row.dataset.run)")
    )


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
@pytest.mark.parametrize("name", ["second/report.html", "index.html"])
def test_a_page_fits_and_has_no_error(name: str, width: int, scheme: str, browser: Any, site: Path) -> None:
    see(browser, site / name, width, scheme)
    assert browser.get_log("browser") == []
    wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert (browser.execute_script("return innerWidth"), browser.execute_script(wider)) == (width, 0)
    for table in browser.execute_script(TABLES):
        assert (table["overlaps"], table["clipped"]) == (0, 0)
        assert width < 1400 or table["wider"] <= 0
    colours = "const c = getComputedStyle(document.body).backgroundColor.match(/\\d+/g); return c.map(Number)"
    assert (sum(browser.execute_script(colours)) < 300) == (scheme == "dark")
    paper = browser.execute_script("return document.querySelector('.main-svg').style.background")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 300) == (scheme == "dark")


def test_a_table_is_sorted_both_ways(browser: Any, site: Path) -> None:
    see(browser, site / "second" / "report.html")
    head = browser.find_element("css selector", "#runs th[data-name='throughput/images_per_second'] button")
    numbers = [100 + 40 * place + seed for place, _ in enumerate(GRID) for seed in SEEDS]
    for order in (sorted(numbers), sorted(numbers, reverse=True)):
        head.click()
        assert [float(text) for text in texts(browser, "runs", "throughput/images_per_second")] == order


def test_a_table_is_filtered_by_words_and_by_columns(browser: Any, site: Path) -> None:
    see(browser, site / "second" / "report.html")
    field = browser.find_element("css selector", "#runs input[type=search]")
    field.send_keys("seed=1 K=2")
    assert texts(browser, "runs", "seed") == ["1", "1"]
    assert browser.find_element("css selector", "#runs output").text == "2 of 12 rows"
    field.clear()
    field.send_keys(records()[4]["config_hash"])
    assert texts(browser, "runs", "run") == [records()[4]["config_hash"]]
    # A link leads to a row that was filtered out.
    wanted = records()[0]["config_hash"]
    browser.execute_script("document.querySelector(`a[href='#${arguments[0]}']`).click()", wanted)
    assert chosen(browser) == [wanted]
    assert len(texts(browser, "runs", "run")) == len(records())


@pytest.mark.parametrize("width", [1400, 400])
def test_a_click_on_a_mark_leads_to_the_rows_of_its_runs(width: int, browser: Any, site: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    see(browser, site / "second" / "report.html", width)
    mark = browser.find_element("css selector", "#pareto .points path.point")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).pause(0.2).click().perform()
    WebDriverWait(browser, 20).until(chosen)
    groups = [sorted(record["config_hash"] for record in records()[start : start + 3]) for start in range(0, 12, 3)]
    assert chosen(browser) in groups
    box = browser.execute_script("return document.querySelector('tr.chosen').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= 900
    assert browser.get_log("browser") == []


def test_the_overviews_marks_lead_to_the_page_of_their_runs(browser: Any, site: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    see(browser, site / "index.html")
    mark = browser.find_element("css selector", "#gains .points path.point")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(mark).pause(0.2).click().perform()
    WebDriverWait(browser, 20).until(lambda driver: "/report.html#" in driver.current_url)
    assert browser.current_url.partition("#")[2] in {record["config_hash"] for record in records()}


def test_buttons_choose_what_curves_are_over(browser: Any, site: Path) -> None:
    see(browser, site / "second" / "report.html")
    title = "return document.querySelector('#curves .xtitle').textContent"
    for name in ("seconds", "epochs", "updates"):
        for button in browser.find_elements("css selector", "#curves button"):
            if button.text == f"over {name}":
                browser.execute_script("arguments[0].click()", button)
        assert browser.execute_script(title).startswith(name)
