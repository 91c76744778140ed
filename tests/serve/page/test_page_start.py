"""The start of the page when things go wrong or change meanwhile: failed requests, jobs that move on, logging out."""

import re

import pytest
from browsing import WITHOUT_BROWSER
from serving import QUICK

pytestmark = pytest.mark.skipif(WITHOUT_BROWSER, reason="no Chromium is installed (Debian: apt install chromium)")

LIST = re.compile(r"/v1/jobs$")


def listed(name: str, state: str, progress: float = 1.0, thumbnail: bool = False) -> dict[str, object]:
    """A job as the server lists it."""
    known = {"id": name, "state": state, "progress": progress, "thumbnail": thumbnail, "model": "tiny", "views": None}
    return {**known, "stage": "predicting", "position": None, "error": None, "example": None, "created": 1.8e9}


def test_the_form_comes_to_life_after_a_failure(make_visit, site, pictures):
    with make_visit(site.address, faults=("status of 503",)) as visit:
        page = visit.page
        page.route("**/v1/formats", lambda route: route.fulfill(status=503, body='{"error": "not now"}'), times=1)
        visit.open()
        page.locator("#message.error").wait_for()
        assert visit.text("#message-text") == "not now"
        page.set_input_files("#picker", pictures[:1])
        page.evaluate("location.hash = '#/'")
        page.locator("#formats input").first.wait_for()
        page.locator("#files li").first.wait_for()  # was chosen before
        page.set_input_files("#picker", pictures[1:3])
        assert page.locator("#files li").count() == 3
        page.get_by_role("button", name=f"Remove {pictures[1].name}").click()
        assert visit.text("#send") == "Reconstruct from 2 files"
        for box in page.locator("#formats input").all():
            box.uncheck()
        page.click("#send")
        page.get_by_text("Choose at least one kind of file").wait_for()


def test_logging_out_says_that_the_server_is_gone(make_visit, site):
    with make_visit(site.address, faults=("ERR_FAILED",)) as visit:
        page = visit.page
        page.route("**/v1/session", lambda route: route.fulfill(json={"token_needed": True, "owner": "anna"}), times=1)
        visit.open()
        page.locator("#leave").wait_for()
        page.route("**/v1/session", lambda route: route.abort())
        page.click("#leave")
        page.locator("#message.error").wait_for()
        assert "does not answer" in visit.text("#message-text")


def test_the_gallery_changes_in_place(visit):
    page, seen = visit.page, []
    lists = [
        [listed("b", "running", 0.25), listed("a", "done", thumbnail=True)],
        [listed("c", "queued", 0.0), listed("b", "running", 0.5), listed("a", "done", thumbnail=True)],
        [listed("c", "done"), listed("a", "done", thumbnail=True)],
    ]

    def answer(route):
        seen.append(None)
        route.fulfill(json={"jobs": lists[min(len(seen), len(lists)) - 1]})

    page.route(LIST, answer)
    page.route("**/thumb.jpg", lambda route: route.fulfill(body=b"", content_type="image/jpeg"))
    visit.open()
    page.get_by_text("25 %").wait_for()
    page.focus("#gallery a[href$='/b']")
    page.evaluate("window.first = document.querySelector('#gallery img')")
    page.get_by_text("50 %").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#/jobs/b"
    assert page.evaluate("window.first === document.querySelector('#gallery img')")
    links = page.locator("#gallery a")
    assert [link.get_attribute("href") for link in links.all()] == ["#/jobs/c", "#/jobs/b", "#/jobs/a"]
    assert page.locator("#gallery button:visible").count() == 1
    page.locator("#gallery a[href$='/b']").wait_for(state="detached")
    # Its neighbour has the focus now, not the top of the page.
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#/jobs/a"
    assert page.locator("#gallery button:visible").count() == 2


def test_a_gallery_that_was_left_asks_no_more(visit, result):
    page, asked = visit.page, visit.hold(LIST)
    visit.open()
    page.locator("#formats input").first.wait_for()
    page.evaluate(f"location.hash = '#/jobs/{result}'")
    page.locator("#strip button").first.wait_for()
    [late] = asked
    late.fulfill(json={"jobs": [listed("b", "running", 0.25)]})
    page.wait_for_timeout(3500)  # the gallery would ask again after 3 s
    assert len(asked) == 1
    assert page.locator("#gallery li").count() == 0


def test_the_gallery_asks_before_it_deletes(visit, site, pictures):
    page = visit.page
    job = site.client.wait(site.client.submit(pictures[:1], QUICK)["id"])["id"]
    visit.open()
    card = page.locator("#gallery li", has=page.locator(f"a[href$='{job}']"))
    page.once("dialog", lambda dialog: dialog.dismiss())
    card.get_by_role("button").click()
    assert card.count() == 1
    page.once("dialog", lambda dialog: dialog.accept())
    card.get_by_role("button").press("Enter")
    card.wait_for(state="detached")
    assert page.evaluate("document.activeElement.closest('#gallery') !== null")
    assert job not in [known["id"] for known in site.client.jobs()]
