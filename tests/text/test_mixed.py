from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragatouille_xm.text.detect import Py3LangIdDetector
from ragatouille_xm.text.mixed import readings
from ragatouille_xm.text.scripts import letters_of

QUOTING = {  # sentences that quote a word, or name something, in another script
    "Explain 改善 please": "en",
    "Was heißt 改善 genau?": "de",
    "Who was Достоевский?": "en",
    "Qui était Достоевский ?": "fr",
    "Was bedeutet das Wort Перестройка eigentlich?": "de",
    "What does привет мир mean in English?": "en",
    "How do you say «Я тебя люблю» politely?": "en",
    "How do you say Я тебя люблю": "en",
    "¿Qué significa la palabra 侘寂 en japonés?": "es",
    "The Greek word λόγος means reason": "en",
    "What is the difference between は and が?": "en",
    "how to pay with 微信 in Europe": "en",
    "β-carotene in the diet of children": "en",
    "Who was А. С. Пушкин?": "en",
    "Cosa vuol dire 侘寂 ?": "it",
    "How do I say 감사합니다 in English?": "en",
    "Meaning of नमस्ते": "en",
    "¿Qué significa la palabra שלום en hebreo?": "es",
    "Что такое Python?": "ru",
    "Как переводится слово Schadenfreude?": "ru",
    "Schadenfreude 是什么意思": "zh",
    "NullPointerException в Java": "ru",
    "Docker не запускается": "ru",
    "Как установить Visual Studio Code на Windows 11": "ru",
    "Что значит выражение “machine learning”?": "ru",
    "Python 怎么安装": "zh",
    "使用Python安装numpy的方法": "zh",
    "Python을 배우고 싶어요": "ko",
    "「改善」とは何ですか": "ja",
    "Η λέξη computer": "el",
    "Python में list क्या है": "hi",
    "كيف أستخدم Python مع pandas DataFrame": "ar",
}
WITH_ERRORS = {  # an error message in Latin letters does not change the sentence around it
    "Ошибка ImportError: cannot import name 'x' from 'torch' при запуске скрипта": "ru",
    "Почему падает с ошибкой: RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB": "ru",
    "Помогите, не работает: UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff": "ru",
    "При запуске получаю Permission denied (publickey), что делать?": "ru",
    "Грешка ImportError: cannot import name 'x' from 'torch' при покретању скрипте": "sr",
    "Помилка ModuleNotFoundError: No module named 'requests' під час запуску програми": "uk",
    "Error: Cannot find module 'express' 怎么解决": "zh",
    "TypeError: 'NoneType' object is not subscriptable 해결 방법": "ko",
    "Σφάλμα ValueError: could not convert string to float κατά την εκτέλεση": "el",
}


@pytest.fixture(scope="module")
def detector() -> Py3LangIdDetector:
    return Py3LangIdDetector()


@pytest.mark.parametrize(("text", "language"), [*QUOTING.items(), *WITH_ERRORS.items()])
def test_a_mixed_sentence_is_in_the_language_of_its_running_words(
    detector: Py3LangIdDetector, text: str, language: str
) -> None:
    assert detector.detect([text])[0].language == language


@pytest.mark.parametrize(
    ("text", "alone", "other"),
    [
        ("Define καθαρσις", "en", "el"),
        ("Windows запуск", "en", "ru"),
        ("Translate 谢谢", "zh", "en"),
        ("import torch не работает в Docker", "en", "ru"),
    ],
)
def test_two_words_in_two_scripts_are_left_to_the_collection(
    detector: Py3LangIdDetector, text: str, alone: str, other: str
) -> None:
    [found] = detector.detect([text])
    assert found.language == alone
    assert found.confidence < 0.9
    assert [each.language for each in detector.detect([text], None, {other: 100})] == [other]
    assert [each.language for each in detector.detect([text], None, {alone: 100})] == [alone]


def test_the_model_sees_only_the_words_of_the_script() -> None:
    (found,) = readings("Ошибка ImportError: cannot import при запуске")
    assert found.text == "Ошибка при запуске"


@pytest.mark.parametrize("text", ['"привет" "hello"', "ImportError 'тест'", "α", "x = функция(y)", "«да» «yes»"])
def test_only_quotations_and_code_still_have_a_script(text: str) -> None:
    assert readings(text)


@given(st.text(st.sampled_from("aZ1 .'\"«»改善かなпривтελ각ก"), max_size=40))
def test_any_text_has_at_most_two_readings_of_its_own_scripts(text: str) -> None:
    found = readings(text)
    letters = letters_of(text)
    assert bool(found) == bool(letters)
    assert len({reading.script for reading in found}) == len(found) <= 2
    assert {reading.script for reading in found} <= set(letters)
    assert all(set(letters_of(reading.text)) & {reading.script, "Hani"} for reading in found)
