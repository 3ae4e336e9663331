"""The page in a real browser, headless Chromium: opened from disk, read with pointer, keyboard, phone and by night.

Without a Chromium these tests are skipped and say so; with POLYCHROME_BROWSER=required in the environment they fail.
scripts/chromium.sh installs Debian's.
"""

import importlib.util
import os
import re
import shutil

import pytest

from polychrome.files import read_json
from polychrome.reporting.names import model_name
from tests.reporting.page.tree import FOREIGN, HOSTILE, MODELS, POSTS

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
COMPARED = ["baseline", "polychromic", "grpo_from_baseline", "grpo_from_polychromic"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    executable, has_playwright = shutil.which("chromium"), importlib.util.find_spec("playwright")
    if executable is None or has_playwright is None:
        absent = "chromium on the path" if executable is None else "python package playwright"
        told = f"no {absent}: run scripts/chromium.sh, and install the environment's [dev] packages"
        (pytest.fail if os.environ.get("POLYCHROME_BROWSER") == "required" else pytest.skip)(told)
    from playwright.sync_api import sync_playwright

    home = tmp_path_factory.mktemp("chromium")  # its profile is a fresh one, and so is what it thinks is home
    with sync_playwright() as playwright:
        environment = os.environ | {"HOME": str(home)}
        yield (launched := playwright.chromium.launch(executable_path=executable, args=FLAGS, env=environment))
        launched.close()


@pytest.fixture
def opened(browser, page):
    """Opens the page from disk. What it asked for and complained of is looked at when the test is over."""
    asked, complaints = [], []

    def open_page(**settings):
        tab = browser.new_page(**(DESKTOP | settings))
        tab.set_default_timeout(20_000)
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(page.as_uri())
        return tab

    yield open_page
    for context in browser.contexts:
        context.close()
    assert set(asked) == {page.as_uri()}
    assert complaints == []


def sets(tab):
    """Model -> its replies as they stand on the page, without what is said for the ear alone."""
    text = """replies => replies.map((reply) => [...reply.childNodes].filter((node) => !node.matches?.(".unseen, em"))
        .map((node) => node.textContent).join(""))"""
    found = tab.locator("#spread .set").all()
    return {one.get_attribute("aria-label"): one.locator(".reply").evaluate_all(text) for one in found}


def count(tab):
    """(post, of how many, replies to it, of how many) as the page counts them."""
    return tuple(int(number.replace(",", "")) for number in re.findall(r"[\d,]+", tab.text_content("#count")))


def scores(tab):
    """What the tip says, as name -> value."""
    assert tab.is_visible("#tip")
    return dict(zip(*(tab.locator(f"#tip {of}").all_text_contents() for of in ("dt", "dd:not(.limit)")), strict=True))


def test_it_opens_with_a_post_the_human_answer_and_four_models_side_by_side_and_markup_is_read_not_run(opened):
    tab = opened()
    assert list(sets(tab)) == [model_name(model) for model in COMPARED]
    assert {len(replies) for replies in sets(tab).values()} == {10}
    assert "moved to a new city" in tab.text_content("#spread .said")
    assert "it gets easier" in tab.text_content("#spread .exchange .reply")
    assert len({one.bounding_box()["y"] for one in tab.locator("#spread .set").all()}) == 1
    assert count(tab) == (1, POSTS, 40, 40 * POSTS)
    assert sets(tab)["baseline"][0] == HOSTILE  # which would change the title, were it run
    assert tab.locator("#spread img").count() == 0
    assert tab.title() == "Polychrome: what was measured"
    tab.fill("#filter-text", "<b>BOLD</b>")
    assert tab.locator("#spread mark").first.text_content() == "<b>bold</b>"


def test_words_filter_posts_and_replies_and_are_marked(opened):
    tab = opened()
    tab.fill("#filter-text", "RIVER")
    assert {"river" in reply for replies in sets(tab).values() for reply in replies} == {True}
    assert set(tab.locator("#spread mark").all_text_contents()) == {"river"}
    tab.fill("#filter-text", "octopuses")  # in a post: every reply to it stays
    assert count(tab)[2] == 40
    tab.fill("#filter-text", "no such words")
    assert tab.text_content("#count") == "No reply fits."
    assert tab.is_disabled("#next")


def test_replies_are_filtered_by_model_pass_failure_and_seed(opened):
    tab = opened()
    every = count(tab)[3]
    tab.select_option("#filter-pass", "1")
    passing = count(tab)[3]
    assert tab.locator("#spread .set .reply.miss").count() == 0
    tab.select_option("#filter-pass", "0")
    assert count(tab)[3] == every - passing
    tab.select_option("#filter-pass", "")
    tab.select_option("#filter-failure", "copied")
    assert {"copied" in text for text in tab.locator("#spread .set .reply em").all_text_contents()} == {True}
    tab.select_option("#filter-failure", "")
    first = sets(tab)
    tab.select_option("#filter-seed", label="456")
    assert sets(tab) != first
    tab.get_by_role("checkbox", name="zero-shot", exact=True).check()
    tab.get_by_role("checkbox", name="polychromic", exact=True).uncheck()
    assert list(sets(tab)) == [model_name(model) for model in ("zero_shot", *COMPARED) if model != "polychromic"]


def test_replies_and_posts_are_sorted_by_their_scores(opened):
    tab = opened()
    drawn = sets(tab)["baseline"]

    def engagements():
        found = []
        for reply in tab.locator("#spread .set").first.locator(".reply").all():
            reply.hover()
            found.append(float(scores(tab)["engagement"]))
        return found

    tab.select_option("#sort-replies", "engagement")
    best = engagements()
    assert best == sorted(best, reverse=True)
    assert sorted(sets(tab)["baseline"]) == sorted(drawn)
    tab.select_option("#sort-replies", "engagement-up")
    assert engagements() == sorted(best)
    tab.select_option("#sort-replies", "length")
    lengths = [len(reply) for reply in sets(tab)["baseline"]]
    assert lengths == sorted(lengths, reverse=True)

    def passes(order):
        tab.select_option("#sort-posts", order)
        for left in reversed(range(POSTS)):
            yield sum(int(text.split()[0]) for text in tab.locator("#spread h4 small").all_text_contents())
            if left:
                tab.click("#next")

    most = list(passes("most"))
    assert most == sorted(most, reverse=True)
    assert most[0] > most[-1]
    assert list(passes("fewest")) == sorted(most)


def test_a_reply_whose_relevance_is_not_defined_says_so_and_stands_last_of_those_sorted_by_it(opened):
    tab = opened()
    for order in ("relevance", "relevance-up"):
        tab.select_option("#sort-replies", order)
        tab.click("#next")
        last = tab.locator("#spread .set").first.locator(".reply").last
        assert FOREIGN in last.text_content()
        last.hover()
        assert scores(tab)["relevance"] == "not defined for this language"


def test_scores_and_numbers_show_under_the_pointer_and_a_model_comes_forward(opened, run):
    tab = opened()
    assert tab.is_hidden("#tip")
    reply = tab.locator("#spread .set .reply").nth(3)
    reply.hover()
    found = scores(tab)
    assert found.keys() >= {"engagement", "relevance", "well-formed"}
    assert re.fullmatch(r"-?\d\.\d{3}", found["engagement"])
    assert ("passes" in found) == ("pass" in reply.get_attribute("class").split())
    needed = read_json(run / "results/judge.json")["engagement_threshold"]
    assert f"{needed:.3f}" in tab.text_content("#tip")
    tab.mouse.move(5, 5)
    assert tab.is_hidden("#tip")
    chart = tab.locator("#figure-pass .chart.wide")
    chart.locator('[data-words^="baseline: Pass@10"]').hover(force=True)
    found = read_json(run / "results/comparison.json")["models"]["baseline"]["pass_at_10"]
    assert f"baseline: Pass@10 {found['mean']:.3f}, {found['low']:.3f} to" in tab.text_content("#tip")
    assert "following" in chart.get_attribute("class")


def test_the_whole_page_can_be_read_by_keyboard(opened):
    tab = opened()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the answers"
    assert tab.locator(".skip").bounding_box()["y"] >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"

    tab.focus("#next")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Tab")  # one tab stop for all the replies
    here = "document.activeElement.closest('.set')?.getAttribute('aria-label') ?? 'human'"
    assert tab.evaluate(here) == "human"
    assert scores(tab)["engagement"]
    assert tab.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(here) == "baseline"
    for _ in range(3):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(here) == "polychromic"
    row = "[...document.activeElement.closest('ol').children].indexOf(document.activeElement.closest('li'))"
    assert tab.evaluate(row) == 3
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#tip")
    tab.keyboard.press("PageDown")
    assert count(tab)[0] == 2
    assert tab.evaluate("document.activeElement.className").startswith("reply")
    tab.keyboard.press("End")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('#replies')") is None


def test_a_model_is_followed_through_every_drawing_by_keyboard(opened):
    tab = opened()
    key = tab.locator('#pass [data-follow="polychromic"]')
    key.focus()
    tab.keyboard.press("Space")
    assert key.get_attribute("aria-pressed") == "true"
    assert tab.locator('#training [data-follow="polychromic"]').get_attribute("aria-pressed") == "true"

    def opacity(model):
        line = tab.locator(f'#figure-pass .wide [data-model="{model}"]').first
        return line.evaluate("element => Number(getComputedStyle(element).opacity)")

    tab.wait_for_timeout(300)
    assert opacity("baseline") < 0.2
    assert opacity("polychromic") == 1
    tab.keyboard.press("Space")
    tab.wait_for_timeout(300)
    assert opacity("baseline") == 1


_OVER = """() => [...document.querySelectorAll("main *, header *")].filter((element) => {
  const box = element.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !element.closest(".scroll, .unseen, .skip, svg");
}).map((element) => element.outerHTML.slice(0, 90))"""


@pytest.mark.parametrize("width", [320, 375, 600, 800, 1000, 1180])
def test_nothing_is_wider_than_the_window_even_when_all_is_unfolded(opened, width):
    tab = opened(**(PHONE | {"viewport": {"width": width, "height": 812}}))
    tab.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(_OVER) == []


def test_a_phone_has_drawings_of_its_own_with_letters_to_be_read_and_sets_below_each_other(opened):
    tab = opened(**PHONE)
    assert tab.locator("#figure-pass .chart.narrow").is_visible()
    assert tab.locator("#figure-pass .chart.wide").is_hidden()
    height = "texts => Math.min(...texts.map((text) => text.getBoundingClientRect().height))"
    assert tab.locator(".chart.narrow text").evaluate_all(height) >= 9
    assert len({one.bounding_box()["x"] for one in tab.locator("#spread .set").all()}) == 1
    tab.locator("#spread .set .reply").nth(2).tap()
    assert scores(tab)["engagement"]
    assert tab.locator("#next").bounding_box()["height"] >= 44


def test_at_night_paper_is_dark_words_are_light_and_models_can_be_told_apart_but_it_prints_on_white(opened):
    tab = opened(color_scheme="dark")

    def lightness(element, what):
        colour = tab.evaluate(f"getComputedStyle(document.querySelector('{element}')).{what}")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 765

    assert lightness("body", "backgroundColor") < 0.15
    assert lightness("h1", "color") > 0.8
    assert lightness("#figure-pass .wide text", "fill") > 0.5
    mark = "getComputedStyle(document.documentElement).getPropertyValue('--mark-{}')"
    assert len({tab.evaluate(mark.format(i)) for i in range(len(MODELS) + 1)}) == len(MODELS) + 1
    tab.emulate_media(media="print")
    assert lightness("body", "backgroundColor") == 1
    assert tab.locator(".filters").is_hidden()  # what is only for a screen
    assert tab.locator(".key").first.is_hidden()
    assert len(tab.pdf()) > 50_000


def test_who_wants_no_motion_gets_none_and_without_script_all_but_the_replies_is_there(opened, run):
    tab = opened(reduced_motion="reduce")
    assert tab.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert tab.evaluate("getComputedStyle(document.querySelector('.chart [data-model]')).transitionDuration") == "0s"
    tab = opened(java_script_enabled=False)
    assert tab.locator("#figure-pass .chart.wide").is_visible()
    criteria = read_json(run / "results/success_criteria.json")["criteria"]
    assert tab.locator("#criteria li").count() == len(criteria)
    assert tab.locator("#reader").is_hidden()
    assert "needs JavaScript" in tab.locator("#replies noscript").inner_text()
