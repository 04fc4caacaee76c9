"""What a collection is written in tells what its short texts are."""

from __future__ import annotations

from collections import Counter

import pytest

from ragatouille_xm.languages import LANGUAGES
from ragatouille_xm.text.collection import BATCH, CollectionLanguages
from ragatouille_xm.text.detect import Py3LangIdDetector, detect_languages
from ragatouille_xm.text.detector import Detector
from ragatouille_xm.types import Detection

SHOPS = {
    "pt": [
        "Bolsa de Couro Feminina", "Tênis de Corrida Masculino", "Camisa Polo", "Cinto", "Relógio Digital", "Mochila",
        "Óculos de Sol", "Carteira", "Sandália Rasteira", "Vestido Longo Floral", "Calça Jeans", "Meias Esportivas",
        "Boné", "Jaqueta Corta-Vento", "Brinco Dourado", "Colar de Prata", "Chinelo", "Saia Plissada", "Blusa Regata",
        "Luva de Inverno",
    ],
    "id": [
        "Tas Kulit Wanita", "Sepatu Lari Pria", "Kemeja Batik", "Jam Tangan", "Celana Panjang", "Kaos Polos", "Topi",
        "Dompet", "Sandal Jepit", "Baju Anak", "Jaket Hujan", "Kerudung Segi Empat", "Kacamata Hitam", "Rok Panjang",
        "Ikat Pinggang", "Kaus Kaki",
    ],
    "de": [
        "Warenkorb", "Anmelden", "Kasse", "Mein Konto", "Versandkosten", "Rückgabe", "Bestellung verfolgen",
        "Gutschein einlösen", "Impressum", "Datenschutz", "Lieferzeit", "Zahlungsarten", "Newsletter abonnieren",
        "Filter zurücksetzen", "Größe wählen", "In den Warenkorb", "Ausverkauft", "Weiter einkaufen", "Merkzettel",
    ],
    "da": ["Kurv", "Log ind", "Min konto", "Fragt", "Returnering", "Betaling", "Nyheder", "Herre", "Dame", "Børn"],
    "sk": ["Košík", "Prihlásiť sa", "Doprava", "Reklamácie", "Obchodné podmienky", "Novinky", "Pánske", "Dámske"],
}  # fmt: skip
GALICIAN = "A biblioteca abre todas as mañás e calquera pode levar libros en préstamo para ler na casa."


@pytest.fixture(scope="module")
def detector() -> Py3LangIdDetector:
    return Py3LangIdDetector()


def of(detector: Detector, counts: dict[str, int] | None = None) -> CollectionLanguages:
    return CollectionLanguages(detector, LANGUAGES, counts)


def languages(found: list[Detection]) -> list[str]:
    return [each.language for each in found]


FOREIGN = {"Camisa Polo", "Kaos Polos"}  # look so much like Galician that they may stay it


@pytest.mark.parametrize("language", SHOPS)
def test_the_titles_of_a_shop_are_in_one_language(detector: Py3LangIdDetector, language: str) -> None:
    found = zip(SHOPS[language], languages(of(detector).detect(SHOPS[language])), strict=True)
    assert {title for title, its in found if its != language} <= FOREIGN


@pytest.mark.parametrize("language", SHOPS)
def test_a_title_that_is_added_profits_from_what_the_index_holds(detector: Py3LangIdDetector, language: str) -> None:
    alone = languages(detector.detect(SHOPS[language]))
    added = [of(detector, {language: 100}).detect([title])[0].language for title in SHOPS[language]]
    assert added.count(language) > alone.count(language)
    assert {title for title, its in zip(SHOPS[language], added, strict=True) if its != language} <= FOREIGN


def test_languages_that_are_given_tell_those_that_are_not(detector: Py3LangIdDetector) -> None:
    titles = SHOPS["pt"]
    found = of(detector).detect(titles, ["gl" if i % 2 else None for i in range(len(titles))])
    assert [each for i, each in enumerate(found) if i % 2] == [Detection("gl", 1.0)] * (len(titles) // 2)
    assert Counter(languages(found))["gl"] > len(titles) // 2  # some titles are as good Galician


def test_clear_evidence_wins_over_any_collection(detector: Py3LangIdDetector) -> None:
    others = [GALICIAN, "Der Warenkorb ist leer.", "図書館は毎朝開きます。", "Где находится библиотека?"]
    assert languages(of(detector, {"pt": 1_000_000}).detect(others)) == ["gl", "de", "ja", "ru"]
    assert languages(of(detector).detect([*SHOPS["pt"] * 10, *others]))[-4:] == ["gl", "de", "ja", "ru"]


def test_the_order_within_a_batch_does_not_matter(detector: Py3LangIdDetector) -> None:
    titles = [title for some in SHOPS.values() for title in some]
    forward = dict(zip(titles, languages(of(detector).detect(titles)), strict=True))
    backward = dict(zip(titles[::-1], languages(of(detector).detect(titles[::-1])), strict=True))
    assert forward == backward


def test_later_batches_know_the_earlier_ones_and_calls_can_be_cut_anywhere(detector: Py3LangIdDetector) -> None:
    titles = [title for title in SHOPS["pt"] if title not in FOREIGN]
    texts = (titles * (BATCH // len(titles) + 1))[:BATCH]
    collection, at_once = of(detector), of(detector)
    found = [*collection.detect(texts), *collection.detect(["Mochila"])]
    assert found == at_once.detect([*texts, "Mochila"])
    assert languages(found) == ["pt"] * (BATCH + 1)
    assert at_once.decided == collection.decided == {"pt": BATCH + 1}
    assert languages(of(detector).detect(["Mochila"])) != ["pt"]


def test_the_summary_counts_what_was_decided_and_what_is_uncertain(detector: Py3LangIdDetector) -> None:
    collection = of(detector)
    sentences = ["Der Warenkorb ist noch leer.", "Wo finde ich meine Bestellung?"]
    collection.detect(["Warenkorb", *sentences, "Où est la gare ?", "12:30", "PS5"], ["de", *[None] * 5])
    assert collection.summary() == "de 5, fr 1, uncertain 2"
    assert of(detector).summary() == ""


def test_texts_by_themselves_do_not_depend_on_each_other(detector: Py3LangIdDetector) -> None:
    titles = SHOPS["pt"]
    assert detector.detect(titles) == [detector.detect([title])[0] for title in titles]


def test_detect_languages_takes_texts_together() -> None:
    assert {found.adapter for found in detect_languages(SHOPS["de"], together=True)} == {"de_DE"}
