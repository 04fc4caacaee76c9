"""The search page, in headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from server.conftest import Listen

from ragatouille_xm import RAGPretrainedModel

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

MARKUP = "<img src=x onerror=\"document.title='hacked'\"> <b>bold</b> & <script>document.title='hacked'</script>"
ASTRAL = "😀😀 The museum shows old maps."


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    """Return a page that fails the test if it asks another site for anything, or its script fails."""
    opened = browser.new_page(locale="en-GB")
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: "127.0.0.1" in request.url or faults.append(request.url))
    opened.on("console", lambda message: "Content Security" in message.text and faults.append(message.text))
    yield opened
    opened.close()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


def ask(page: playwright.Page, query: str) -> None:
    page.fill("#query", query)
    page.press("#query", "Enter")
    playwright.expect(page.locator("#status")).not_to_have_text("Searching…")


def documents(page: playwright.Page) -> list[str]:
    return page.locator("#results > li .document").all_text_contents()


def test_searching(page: playwright.Page, listen: Listen, rag: RAGPretrainedModel):
    page.goto(listen())
    ask(page, "Bibliothek am Abend")
    expected = rag.search("Bibliothek am Abend", explain=True)
    assert documents(page) == [result["document_id"] for result in expected]
    assert page.locator("#status").text_content().startswith("3 results in ")
    first = page.locator("#results > li").first
    assert first.locator("mark").all_text_contents() == [span.text for span in expected[0]["evidence"].highlights]
    assert first.locator(".relevance").text_content() == f"{round(100 * expected[0]['relevance'])} %"
    assert first.locator(".metadata").text_content() == f"year{expected[0]['document_metadata']['year']}"
    assert page.title() == "Bibliothek am Abend – Search"


def test_an_address_leads_to_the_same_results(page: playwright.Page, listen: Listen, browser: playwright.Browser):
    page.goto(listen())
    ask(page, "gare")
    page.locator("#filters summary").click()
    page.select_option("#fields select[name='passage.language']", '"de"')
    playwright.expect(page.locator("#results > li")).to_have_count(1)
    assert documents(page) == ["library"]
    other = browser.new_page()
    other.goto(page.url)
    playwright.expect(other.locator("#results > li")).to_have_count(1)
    assert other.input_value("#query") == "gare"
    other.close()
    page.go_back()
    playwright.expect(page.locator("#results > li")).to_have_count(3)


def test_a_filter_of_numbers(page: playwright.Page, listen: Listen, rag: RAGPretrainedModel):
    rag.add_to_index([f"Text {i}." for i in range(30)], new_document_metadatas=[{"size": i} for i in range(30)])
    page.goto(listen())
    ask(page, "text")
    page.locator("#filters summary").click()
    page.get_by_label("size from").fill("27")
    page.get_by_label("size from").press("Enter")
    playwright.expect(page.locator("#results > li")).to_have_count(3)


def test_documents_are_text_and_never_markup(page: playwright.Page, listen: Listen, rag: RAGPretrainedModel):
    rag.add_to_index([MARKUP], ["<i>id</i>"], [{"<u>key</u>": "<s>value</s>"}], languages="en")
    page.goto(listen())
    ask(page, "<b>bold</b>")
    found = page.locator("#results > li", has_text="onerror")
    assert found.locator(".text").text_content() == MARKUP
    assert found.locator(".document").text_content() == "<i>id</i>"
    assert found.locator("img, b, script, i, u, s").count() == 0
    assert page.title() == "<b>bold</b> – Search"


def test_highlights_count_characters_as_python_does(page: playwright.Page, listen: Listen, rag: RAGPretrainedModel):
    rag.add_to_index([ASTRAL], ["faces"], languages="en")
    page.goto(listen())
    ask(page, "old maps museum")
    [expected] = [r for r in rag.search("old maps museum", explain=True) if r["document_id"] == "faces"]
    marked = page.locator("#results > li", has_text="😀").locator("mark").all_text_contents()
    assert marked == [span.text for span in expected["evidence"].highlights]
    assert marked


@pytest.mark.parametrize(("text", "direction"), [("أين محطة القطار؟", "rtl"), ("图书馆在哪里？", "ltr")])
def test_other_scripts(page: playwright.Page, listen: Listen, rag: RAGPretrainedModel, text: str, direction: str):
    rag.add_to_index([text], ["other"], languages="en")
    page.goto(listen())
    ask(page, text)
    found = page.locator("#results > li", has_text=text[:3]).locator(".text")
    assert found.text_content() == text
    assert found.evaluate("(each) => getComputedStyle(each).direction") == direction


def test_neighbours(page: playwright.Page, listen: Listen, rag: RAGPretrainedModel):
    long = " ".join(f"This is sentence number {i} of a long document about many things." for i in range(60))
    rag.add_to_index([long], ["long"], languages="en")
    passages = [passage["content"] for passage in rag.get_passages("long")]
    assert len(passages) > 1
    page.goto(listen())
    ask(page, "sentence number of a long document")
    found = page.locator("#results > li", has_text=passages[0]).first
    found.get_by_role("button", name="Show neighbours").click()
    playwright.expect(found.locator(".text")).to_contain_text(passages[1])


def test_the_keyboard_is_enough(page: playwright.Page, listen: Listen):
    page.goto(listen())
    page.keyboard.type("gare")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results > li")).to_have_count(3)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.result')[1]")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"


def test_an_error_is_shown_as_the_service_says_it(page: playwright.Page, listen: Listen):
    page.goto(listen(max_k=5))
    ask(page, "gare")
    playwright.expect(page.locator("#status")).to_have_class("error")
    assert page.locator("#status").text_content() == "k=10 is more than this service returns: 5."


def test_a_key_is_asked_for(page: playwright.Page, listen: Listen):
    page.goto(listen(read_keys=("secret",)))
    playwright.expect(page.locator("#key-form")).to_be_visible()
    page.fill("#key", "secret")
    page.locator("#key-form button").click()
    playwright.expect(page.locator("#key-form")).to_be_hidden()
    ask(page, "gare")
    playwright.expect(page.locator("#results > li")).to_have_count(3)
