from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragatouille_xm.errors import InputError, LanguageError
from ragatouille_xm.languages import LANGUAGES
from ragatouille_xm.text.detect import (
    CallableDetector,
    LangdetectDetector,
    LanguageDetector,
    Py3LangIdDetector,
    detect_languages,
    make_detector,
)
from ragatouille_xm.text.mixed import readings
from ragatouille_xm.text.scripts import written_in
from ragatouille_xm.types import Detection

SENTENCES = {
    "af": "Die biblioteek in ons dorp is elke oggend oop en jy kan daar boeke leen.",
    "am": "ቤተ መጻሕፍቱ በየቀኑ ጠዋት ይከፈታል።",
    "ar": "تفتح المكتبة أبوابها كل صباح ويمكن للجميع استعارة الكتب.",
    "az": "Kitabxana hər səhər açılır və hər kəs oradan kitab götürə bilər.",
    "be": "Бібліятэка адчыняецца кожную раніцу, і ўсе могуць узяць там кнігі.",
    "bg": "Библиотеката отваря всяка сутрин и всеки може да вземе книги от нея.",
    "bn": "গ্রন্থাগারটি প্রতিদিন সকালে খোলে।",
    "ca": "La biblioteca obre cada matí i tothom hi pot agafar llibres en préstec.",
    "cs": "Knihovna se otevírá každé ráno a každý si tam může půjčit knihy.",
    "cy": "Mae'r llyfrgell yn agor bob bore ac mae pawb yn gallu benthyg llyfrau yno.",
    "da": "Biblioteket åbner hver morgen, og alle kan låne bøger der uden at betale noget.",
    "de": "Die Bibliothek öffnet jeden Morgen, und alle können dort Bücher ausleihen.",
    "el": "Η βιβλιοθήκη ανοίγει κάθε πρωί.",
    "en": "The library opens every morning and everybody can borrow books there.",
    "eo": "La biblioteko malfermiĝas ĉiumatene kaj ĉiuj povas prunti librojn tie.",
    "es": "La biblioteca abre todas las mañanas y cualquiera puede llevarse libros.",
    "et": "Raamatukogu avatakse igal hommikul ja kõik saavad sealt raamatuid laenutada.",
    "eu": "Liburutegia goizero irekitzen da eta edonork har ditzake liburuak maileguan.",
    "fa": "کتابخانه هر روز صبح باز می‌شود و همه می‌توانند کتاب امانت بگیرند.",
    "fi": "Kirjasto avataan joka aamu ja kaikki voivat lainata sieltä kirjoja.",
    "fr": "La bibliothèque ouvre tous les matins et chacun peut y emprunter des livres.",
    "ga": "Osclaíonn an leabharlann gach maidin agus is féidir le gach duine leabhair a fháil ar iasacht.",
    "gl": "A biblioteca abre todas as mañás e calquera pode levar libros en préstamo.",
    "gu": "પુસ્તકાલય દરરોજ સવારે ખુલે છે.",
    "ha": "Ana buɗe ɗakin karatu kowace safiya kuma kowa zai iya aron littattafai.",
    "he": "הספרייה נפתחת בכל בוקר.",
    "hi": "पुस्तकालय हर सुबह खुलता है और सब लोग वहाँ से किताबें ले सकते हैं।",
    "hr": "Knjižnica se otvara svako jutro i svatko može posuditi knjige, što je vrlo lijepo.",
    "hu": "A könyvtár minden reggel kinyit, és bárki kölcsönözhet könyveket.",
    "hy": "Գրադարանը բացվում է ամեն առավոտ։",
    "id": "Perpustakaan buka setiap pagi dan semua orang bisa meminjam buku karena gratis.",
    "is": "Bókasafnið opnar á hverjum morgni og allir geta fengið lánaðar bækur þar.",
    "it": "La biblioteca apre ogni mattina e tutti possono prendere in prestito i libri.",
    "ja": "図書館は毎朝開きます。",
    "ka": "ბიბლიოთეკა ყოველ დილით იხსნება.",
    "kk": "Кітапхана күн сайын таңертең ашылады, ол жерден бәрі кітап ала алады.",
    "km": "បណ្ណាល័យបើករាល់ព្រឹក។",
    "kn": "ಗ್ರಂಥಾಲಯವು ಪ್ರತಿದಿನ ಬೆಳಿಗ್ಗೆ ತೆರೆಯುತ್ತದೆ.",
    "ko": "도서관은 매일 아침에 문을 엽니다.",
    "ku": "Pirtûkxane her sibe vedibe û her kes dikare pirtûkan ji wir bistîne.",
    "ky": "Китепкана ар күнү эртең менен ачылат, баары ал жерден китеп ала алышат.",
    "la": "Bibliotheca quoque mane aperitur et omnes libros ibi mutuari possunt.",
    "lo": "ຫໍສະໝຸດເປີດທຸກເຊົ້າ.",
    "lt": "Biblioteka atidaroma kiekvieną rytą ir visi gali ten pasiskolinti knygų.",
    "lv": "Bibliotēka tiek atvērta katru rītu, un visi tur var aizņemties grāmatas.",
    "mk": "Библиотеката се отвора секое утро и секој може да позајми книги од неа.",
    "ml": "ഗ്രന്ഥശാല എല്ലാ ദിവസവും രാവിലെ തുറക്കും.",
    "mn": "Номын сан өглөө бүр нээгддэг бөгөөд хүн бүр тэндээс ном авч болно.",
    "mr": "ग्रंथालय दररोज सकाळी उघडते आणि सर्वांना तेथून पुस्तके घेता येतात.",
    "my": "စာကြည့်တိုက်သည် မနက်တိုင်း ဖွင့်သည်။",
    "ne": "पुस्तकालय हरेक बिहान खुल्छ र सबैले त्यहाँबाट किताब लिन सक्छन्।",
    "nl": "De bibliotheek gaat elke ochtend open en iedereen kan er boeken lenen.",
    "no": "Biblioteket åpner hver morgen, og alle kan låne bøker der uten å betale noe.",
    "or": "ପୁସ୍ତକାଳୟ ପ୍ରତିଦିନ ସକାଳେ ଖୋଲେ।",
    "pa": "ਲਾਇਬ੍ਰੇਰੀ ਹਰ ਸਵੇਰ ਖੁੱਲ੍ਹਦੀ ਹੈ।",
    "pl": "Biblioteka otwiera się każdego ranka i każdy może tam wypożyczyć książki.",
    "ps": "کتابتون هر سهار خلاصیږي او ټول خلک کولای شي کتابونه ترې واخلي.",
    "pt": "A biblioteca abre todas as manhãs e qualquer pessoa pode levar livros emprestados.",
    "ro": "Biblioteca se deschide în fiecare dimineață și oricine poate împrumuta cărți.",
    "ru": "Библиотека открывается каждое утро, и все могут взять там книги.",
    "sa": "पुस्तकालयः प्रतिदिनं प्रातः उद्घाट्यते तत्र सर्वे पुस्तकानि स्वीकर्तुं शक्नुवन्ति।",
    "si": "පුස්තකාලය සෑම උදෑසනකම විවෘත වේ.",
    "sk": "Knižnica sa otvára každé ráno a každý si tam môže požičať knihy.",
    "sl": "Knjižnica se odpre vsako jutro in vsakdo si lahko tam izposodi knjige.",
    "so": "Maktabaddu waxay furan tahay subax kasta, qof walbana buugaag ayuu ka amaahan karaa.",
    "sq": "Biblioteka hapet çdo mëngjes dhe të gjithë mund të marrin libra atje.",
    "sr": "Библиотека се отвара свако јутро и свако може да позајми књиге.",
    "sv": "Biblioteket öppnar varje morgon och alla får låna böcker där utan att betala något.",
    "sw": "Maktaba hufunguliwa kila asubuhi na kila mtu anaweza kuazima vitabu huko.",
    "ta": "நூலகம் தினமும் காலையில் திறக்கும்.",
    "te": "గ్రంథాలయం ప్రతిరోజూ ఉదయం తెరుచుకుంటుంది.",
    "th": "ห้องสมุดเปิดทุกเช้า",
    "tl": "Bukas ang aklatan tuwing umaga at maaaring humiram ng mga libro ang lahat.",
    "tr": "Kütüphane her sabah açılır ve herkes oradan kitap ödünç alabilir.",
    "uk": "Бібліотека відчиняється щоранку, і всі можуть узяти там книжки.",
    "ur": "کتب خانہ ہر صبح کھلتا ہے اور سب لوگ وہاں سے کتابیں لے سکتے ہیں۔",
    "uz": "Kutubxona har kuni ertalab ochiladi va hamma u yerdan kitob olishi mumkin.",
    "vi": "Thư viện mở cửa mỗi buổi sáng và mọi người có thể mượn sách ở đó.",
    "zh": "图书馆每天早上开门，谁都可以借书。",
    "zh-TW": "圖書館每天早上開門，誰都可以借書。",
}

LETTERLESS = ["", " ", "\n\t\x00\x1b", "\ud800", "🙂🙂", "١٢٣", "12:30", "---", "\u200f\ufeff", "https://a.b/c", "@@@"]
HOSTILE = [*LETTERLESS, "a\udfffb", "\udbff字", "\x00é\u0301"]
DETECTORS: list[Callable[[], LanguageDetector]] = [
    Py3LangIdDetector,
    LangdetectDetector,
    lambda: CallableDetector(lambda text: "fr"),
    lambda: CallableDetector(lambda text: None),
]


@pytest.fixture(scope="module")
def detector() -> Py3LangIdDetector:
    return Py3LangIdDetector()


def languages(found: list[Detection]) -> list[str]:
    return [each.language for each in found]


def test_a_sentence_of_each_language(detector: Py3LangIdDetector) -> None:
    found = languages(detector.detect(list(SENTENCES.values())))
    assert dict(zip(SENTENCES, found, strict=True)) == {language: language for language in SENTENCES}


def test_detection_answers_only_candidates(detector: Py3LangIdDetector) -> None:
    candidates = ["fi", "ru", "zh"]
    assert set(languages(detector.detect(list(SENTENCES.values()), candidates))) <= set(candidates)
    norwegian = SENTENCES["no"]
    assert languages(detector.detect([norwegian], ["da", "en"])) == ["da"]
    assert languages(detector.detect([norwegian], ["da", "en", "no"])) == ["no"]


def test_empty_candidates_are_no_restriction(detector: Py3LangIdDetector) -> None:
    assert languages(detector.detect([SENTENCES["pl"]], ())) == ["pl"]


def test_the_languages_of_a_detector_bound_its_answers() -> None:
    detector = Py3LangIdDetector(languages=["en", "pl"])
    assert set(languages(detector.detect(list(SENTENCES.values())))) == {"en", "pl"}
    assert languages(detector.detect([SENTENCES["cs"]], ["cs", "pl"])) == ["pl"]
    assert languages(detector.detect([SENTENCES["pl"]], ["fr"])) == ["pl"]


def test_languages_beyond_the_81_can_be_candidates(detector: Py3LangIdDetector) -> None:
    breton = "Digor e vez al levraoueg bep mintin ha gallout a ra an holl amprestañ levrioù."
    assert languages(detector.detect([breton], ["fr", "br", "cy"])) == ["br"]
    assert languages(detector.detect([SENTENCES["ur"]], ["en", "sd"])) == ["sd"]


class TestScripts:
    def test_names_in_latin_letters_do_not_outvote_the_script(self, detector: Py3LangIdDetector) -> None:
        texts = ["Что такое Microsoft?", "Photoshop 地图", "Photoshop 가격", "YouTube คืออะไร", "東京でiPhone"]
        assert languages(detector.detect(texts)) == ["ru", "zh", "ko", "th", "ja"]

    @pytest.mark.parametrize(
        ("text", "script"),
        [
            ("", None), ("12 🙂", None), ("abc", "Latn"), ("Straße", "Latn"), ("Жизнь", "Cyrl"), ("東京タワー", "Kana"),
            ("東京", "Hani"), ("ｶﾀｶﾅ", "Kana"), ("서울 Seoul", "Hang"), ("שלום abc", "Hebr"), ("𠮷", "Hani"),
            ("\ufeffok", "Latn"), ("奧黛麗・赫本", "Hani"),
        ],
    )  # fmt: skip
    def test_the_script_of_a_text(self, text: str, script: str | None) -> None:
        assert [reading.script for reading in readings(text)][:1] == ([script] if script else [])

    def test_each_language_is_written_somewhere_and_only_serbian_and_japanese_twice(self) -> None:
        scripts = ["Hang", "Kana", "Hani", "Thai", "Laoo", "Khmr", "Mymr", "Geor", "Armn", "Grek", "Hebr", "Ethi"]
        scripts += [
            "Beng",
            "Gujr",
            "Guru",
            "Taml",
            "Telu",
            "Knda",
            "Mlym",
            "Sinh",
            "Orya",
            "Deva",
            "Cyrl",
            "Arab",
            "Latn",
        ]
        written = [language for script in scripts for language in written_in(script, LANGUAGES)]
        assert set(written) == set(LANGUAGES)
        assert sorted(language for language in set(written) if written.count(language) > 1) == ["ja", "sr"]

    def test_the_only_candidate_of_the_script_is_taken(self, detector: Py3LangIdDetector) -> None:
        assert detector.detect(["Albert Einstein"], ["ru", "de"]) == [Detection("de", 1.0)]
        assert detector.detect(["Да"], ["ru", "de"]) == [Detection("ru", 1.0)]

    def test_a_script_that_no_candidate_has_falls_back(self, detector: Py3LangIdDetector) -> None:
        assert detector.detect([SENTENCES["ko"]], ["fr", "en"], counts={"fr": 1}) == [Detection("fr", 0.0)]
        assert detector.detect([SENTENCES["ko"]], ["fr", "en"]) == [Detection("en", 0.0)]
        assert detector.detect([SENTENCES["ko"]], ["fr", "de"]) == [Detection("fr", 0.0)]


class TestHan:
    def test_simplified_and_traditional(self, detector: Py3LangIdDetector) -> None:
        assert languages(detector.detect(["东京图书馆", "東京圖書館", "說書", "说书"])) == [
            "zh",
            "zh-TW",
            "zh-TW",
            "zh",
        ]

    def test_characters_of_both_take_the_hint_or_simplified(self, detector: Py3LangIdDetector) -> None:
        for hint, expected in ((None, "zh"), ("zh-TW", "zh-TW"), ("zh", "zh"), ("fr", "zh")):
            assert languages(detector.detect(["中文大字"], counts={hint: 1} if hint else None)) == [expected]

    def test_the_one_chinese_candidate_serves_both(self, detector: Py3LangIdDetector) -> None:
        texts = [SENTENCES["zh"], SENTENCES["zh-TW"]]
        assert languages(detector.detect(texts, ["zh", "en"])) == ["zh", "zh"]
        assert languages(detector.detect(texts, ["zh-TW", "en", "ja"])) == ["zh-TW", "zh-TW"]

    def test_kanji_used_in_japan_alone(self, detector: Py3LangIdDetector) -> None:
        assert languages(detector.detect(["渋谷駅", "込"])) == ["ja", "ja"]

    def test_other_kanji_are_japanese_if_the_hint_says_so_and_nothing_speaks_against_it(
        self, detector: Py3LangIdDetector
    ) -> None:
        assert languages(detector.detect(["東京", "东京"], ["zh", "ja"], counts={"ja": 1})) == ["ja", "zh"]
        assert languages(detector.detect(["東京", "东京"], ["zh", "ja"], counts={"zh": 1})) == ["zh", "zh"]

    def test_kanji_are_japanese_without_chinese_among_the_candidates(self, detector: Py3LangIdDetector) -> None:
        assert languages(detector.detect(["東京", "东京"], ["en", "ja"])) == ["ja", "ja"]

    def test_a_little_kana_among_latin_letters_does_not_decide(self, detector: Py3LangIdDetector) -> None:
        assert languages(detector.detect([SENTENCES["en"] + " の"])) == ["en"]


class TestFallback:
    @pytest.mark.parametrize("text", [*LETTERLESS, "1234567890 " * 100])
    def test_text_without_letters(self, detector: Py3LangIdDetector, text: str) -> None:
        assert detector.detect([text]) == [Detection("en", 0.0)]
        assert detector.detect([text], counts={"th": 1}) == [Detection("th", 0.0)]
        assert detector.detect([text], ["fi", "ru"]) == [Detection("fi", 0.0)]
        assert detector.detect([text], {"ru", "fi"}) == [Detection("fi", 0.0)]  # a set has no order of its own
        assert detector.detect([text], ["fi", "ru"], counts={"th": 1}) == [Detection("fi", 0.0)]

    @pytest.mark.parametrize("text", ["RTX 4090", "Python", "USB", "x", "Paris"])
    def test_names_and_codes_take_the_hint_if_it_has_their_script(self, detector: Py3LangIdDetector, text: str) -> None:
        assert detector.detect([text]) == [Detection("en", 0.0)]
        assert detector.detect([text], counts={"fr": 1}) == [Detection("fr", 0.0)]
        assert detector.detect([text], counts={"ru": 1}) == [Detection("en", 0.0)]
        assert detector.detect([text], ["ru", "de", "fr"], counts={"ru": 1}) == [Detection("de", 0.0)]

    def test_what_is_likelier_in_no_language_takes_the_hint(self, detector: Py3LangIdDetector) -> None:
        for candidates in (["de", "fr"], ["en", "de", "fr", "es", "it", "pl", "cs", "hu"]):
            assert detector.detect(["GTCAGTCA"], candidates, counts={"fr": 1}) == [Detection("fr", 0.0)]

    def test_the_scripts_most_used_language(self, detector: Py3LangIdDetector) -> None:
        assert detector.detect(["ст"], counts={"fr": 1}) == [Detection("ru", 0.0)]
        assert detector.detect(["ст"], counts={"uk": 1}) == [Detection("uk", 0.0)]
        assert detector.detect(["ст"], ["en", "uk", "bg", "sr"])[0].language in ("uk", "bg", "sr")

    def test_the_detectors_own_fallback_comes_after_the_hint(self) -> None:
        detector = Py3LangIdDetector(fallback="de")
        assert languages(detector.detect(["123", "RTX"])) == ["de", "de"]
        assert languages(detector.detect(["123", "RTX"], counts={"fr": 1})) == ["fr", "fr"]
        assert languages(detector.detect(["123"], ["fr", "es"])) == ["fr"]

    def test_addresses_are_not_read(self, detector: Py3LangIdDetector) -> None:
        address = "https://example.org/the/library/opens/every/morning/and/everybody/can/borrow/books"
        text = f"{address} {SENTENCES['pl']} someone.with.a.name@mail.example.org"
        assert languages(detector.detect([text, "请看" + address, address], counts={"fi": 1})) == ["pl", "zh", "fi"]

    def test_a_long_head_without_letters_is_skipped(self, detector: Py3LangIdDetector) -> None:
        assert languages(detector.detect(["1 2 3 | " * 500 + SENTENCES["hu"]])) == ["hu"]


@pytest.mark.parametrize("make", DETECTORS)
class TestEveryDetector:
    def test_hostile_text_never_raises(self, make: Callable[[], LanguageDetector]) -> None:
        texts = [*HOSTILE, "x" * 1_000_000, "@" * 1_000_000, "a@" * 500_000, "www." * 250_000, " " * 1_000_000]
        found = make().detect(texts, ["de", "fr"], counts={"nonsense": 1})
        assert len(found) == len(texts)
        assert set(languages(found)) <= {"de", "fr"}
        assert all(0 <= each.confidence <= 1 for each in found)

    def test_the_same_from_many_threads(self, make: Callable[[], LanguageDetector]) -> None:
        detector = make()
        rng = random.Random(0)
        jobs = []
        for _ in range(40):
            texts = rng.sample([*SENTENCES.values(), *HOSTILE], 4)
            jobs.append((texts, rng.choice([None, ["de", "fr", "ru"], ["zh", "ja"], LANGUAGES[:20], LANGUAGES[10:40]])))
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda job: detector.detect(*job), jobs))
        assert found == [make().detect(*job) for job in jobs]

    def test_no_texts(self, make: Callable[[], LanguageDetector]) -> None:
        assert make().detect([]) == []

    @settings(max_examples=60)
    @given(text=st.text(max_size=80), candidates=st.sets(st.sampled_from(LANGUAGES), max_size=5))
    def test_any_text(self, make: Callable[[], LanguageDetector], text: str, candidates: set[str]) -> None:
        (found,) = make().detect([text], candidates, counts={"fr": 1})
        assert found.language in (candidates or LANGUAGES)
        assert 0 <= found.confidence <= 1


class TestLangdetect:
    def test_it_knows_common_languages(self) -> None:
        known = ["de", "en", "es", "fi", "fr", "ja", "ko", "pl", "ru", "th", "tr", "zh"]
        found = LangdetectDetector().detect([SENTENCES[language] for language in known])
        assert languages(found) == known
        assert all(each.confidence > 0.5 for each in found)

    def test_text_in_a_language_that_it_does_not_know_falls_back(self) -> None:
        assert LangdetectDetector().detect([SENTENCES["ka"]]) == [Detection("ka", 0.0)]
        assert LangdetectDetector().detect([SENTENCES["ka"]], ["fr", "am"], counts={"fr": 1}) == [Detection("fr", 0.0)]
        assert LangdetectDetector().detect([SENTENCES["ga"]], ["am", "ga"]) == [Detection("ga", 0.0)]

    def test_it_answers_only_candidates(self) -> None:
        assert languages(LangdetectDetector().detect([SENTENCES["no"]], ["da", "fi"])) == ["da"]

    def test_the_packages_own_state_is_left_alone(self) -> None:
        from langdetect import detector_factory

        detector_factory.DetectorFactory.seed = None
        LangdetectDetector().detect(["ein Satz"])
        assert detector_factory.DetectorFactory.seed is None


class TestCallable:
    def test_tags_in_any_spelling(self, caplog: pytest.LogCaptureFixture) -> None:
        answers = {"a": "pt_BR", "b": ("nb", 0.7), "c": "zho_Hant", "d": "lb"}
        found = CallableDetector(answers.__getitem__).detect(list(answers))
        assert found == [Detection("pt", 1.0), Detection("no", 0.7), Detection("zh-TW", 1.0), Detection("de", 1.0)]
        assert not caplog.records

    @pytest.mark.parametrize("answer", ["klingon", 7, ("de", "very"), ("de",), ["fr"], {"lang": "fr"}])
    def test_an_answer_that_is_no_language_falls_back_with_a_warning(
        self, answer: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        found = CallableDetector(lambda text: answer).detect(["один", "two"], ["ru", "de"], counts={"de": 1})
        assert found == [Detection("ru", 0.0), Detection("de", 0.0)]
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "2 of 2" in record.getMessage()

    def test_an_error_falls_back_with_a_warning_that_names_it(self, caplog: pytest.LogCaptureFixture) -> None:
        def fn(text: str) -> str:
            if text == "bad":
                raise RuntimeError("no model")
            return "fi"

        assert languages(CallableDetector(fn).detect(["good", "bad", "good"], counts={"sv": 1})) == ["fi", "sv", "fi"]
        assert "1 of 3" in caplog.text
        assert "no model" in caplog.text

    @pytest.mark.parametrize("answer", [None, "", "und", "sw", (None, 0.0)])
    def test_not_knowing_or_an_absent_language_falls_back_in_silence(
        self, answer: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert CallableDetector(lambda text: answer).detect(["mot"], ["en", "fr"], {"fr": 1}) == [Detection("fr", 0.0)]
        assert not caplog.records

    def test_it_sees_the_whole_text(self) -> None:
        seen: list[str] = []
        CallableDetector(lambda text: seen.append(text) or "fr").detect(["x" * 5000])  # type: ignore[func-returns-value]
        assert seen == ["x" * 5000]


class TestMakeDetector:
    def test_names_functions_and_detectors(self, detector: Py3LangIdDetector) -> None:
        assert isinstance(make_detector("py3langid"), Py3LangIdDetector)
        assert isinstance(make_detector("langdetect"), LangdetectDetector)
        assert isinstance(make_detector(lambda text: "fr"), CallableDetector)
        assert make_detector(detector) is detector

    @pytest.mark.parametrize("spec", ["fasttext", "", None, 3, Py3LangIdDetector])
    def test_anything_else_is_refused_with_the_names(self, spec: object) -> None:
        with pytest.raises(InputError, match="py3langid.*langdetect"):
            make_detector(spec)  # type: ignore[arg-type]

    def test_languages_are_handed_on(self) -> None:
        for spec in ("py3langid", "langdetect", lambda text: "sw"):
            assert set(languages(make_detector(spec, ["fi", "et"]).detect([*SENTENCES.values()][:9]))) <= {"fi", "et"}


def test_detect_languages_takes_one_text_or_many_and_any_tag() -> None:
    assert languages(detect_languages(SENTENCES["nl"])) == ["nl"]
    assert languages(detect_languages([SENTENCES["nl"], SENTENCES["zh"]], ["af_ZA", "zh-Hant"])) == ["af", "zh-TW"]
    with pytest.raises(LanguageError):
        detect_languages("mot", ["klingon"])
    assert languages(detect_languages("mot", "fr")) == ["fr"]
    for wrong in (None, ["mot", None], 5):
        with pytest.raises(InputError, match="texts has (None|5): give a list of strings"):
            detect_languages(wrong)  # type: ignore[arg-type]


def test_importing_loads_neither_torch_nor_a_detector() -> None:
    code = (
        "import sys, ragatouille_xm.languages, ragatouille_xm.text.detect, ragatouille_xm.text.chunk\n"
        "print(sorted({'torch', 'transformers', 'py3langid', 'langdetect'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
