"""The page of `polychrome rate` in headless Chromium: answered by keyboard, closed and gone on with, saved."""

import json

from polychrome.commands.rate import page, page_data
from polychrome.commands.ratings import read_ratings
from polychrome.evaluation.evaluate import Answered
from tests.reporting.page.test_browser import browser  # noqa: F401 - a fixture

HOSTILE = "<img src=x onerror=alert(1)></script>"


def test_keys_answer_go_back_and_save_and_a_page_that_was_closed_goes_on(browser, tmp_path):  # noqa: F811
    both = [[Answered(f"t{i}", f"post {i}", "h", (f"{m} {HOSTILE}", f"{m} b"), (True,) * 2, 1.0) for i in range(4)]
            for m in "ab"]  # fmt: skip
    data = page_data(["baseline/seed-1", "polychromic/seed-1"], both, 0, 2, 0)
    file = tmp_path / "rate.html"
    file.write_text(page(data), encoding="utf-8")
    context = browser.new_context(accept_downloads=True)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(file.as_uri())
    first = data["posts"][0]
    assert tab.text_content("#post") == first["post"]
    assert [tab.locator(f"#{side} li").all_text_contents() for side in ("left", "right")] == [
        first["left"],
        first["right"],
    ]
    assert "seed-1" not in tab.inner_text("body")  # blind
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowRight"):  # the second answer is taken back
        tab.keyboard.press(key)
    tab.close()
    tab = context.new_page()
    tab.goto(file.as_uri())
    assert tab.text_content("#count").startswith("Post 3 of 4, 2 answered")
    tab.keyboard.press("ArrowDown")
    tab.click("text=right is better")
    assert "All 4 posts are answered" in tab.text_content("#count")
    with tab.expect_download() as download:
        tab.keyboard.press("s")
    download.value.save_as(tmp_path / "saved.json")
    context.close()
    saved = json.loads((tmp_path / "saved.json").read_text())
    said = ["left", "right", "tie", "right"]
    assert saved["answers"] == {one["id"]: answer for one, answer in zip(data["posts"], said, strict=True)}
    assert read_ratings([str(tmp_path / "saved.json")]) == [saved]
    assert complaints == []
