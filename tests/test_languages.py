from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ragatouille_xm.errors import LanguageError
from ragatouille_xm.languages import ADAPTERS, LANGUAGES, AdapterTable, match, to_adapter, to_language

SMALL = AdapterTable(["en_XX", "fr_XX", "zh_CN", "de_DE"], "en_XX")


def test_there_are_81_adapters_in_the_stored_order() -> None:
    assert len(ADAPTERS) == len(set(ADAPTERS)) == len(LANGUAGES) == len(set(LANGUAGES)) == 81
    assert ADAPTERS[:4] == ("en_XX", "id_ID", "vi_VN", "ru_RU")
    assert ADAPTERS[-5:] == ("ku_TR", "so_SO", "my_MM", "or_IN", "sa_IN")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapter_to_language_and_back(adapter: str) -> None:
    language = to_language(adapter)
    assert to_adapter(language) == to_adapter(language, nearest=False) == adapter
    assert to_adapter(adapter) == to_adapter(adapter.lower().replace("_", "-")) == adapter


def test_canonical_languages() -> None:
    expected = {"fr_XX": "fr", "zh_CN": "zh", "zh_TW": "zh-TW", "no_XX": "no", "tl_XX": "tl", "he_IL": "he"}
    assert {adapter: to_language(adapter) for adapter in expected} == expected


@pytest.mark.parametrize(
    ("tag", "adapter"),
    [
        *[(tag, "no_XX") for tag in ("nb", "nn", "no", "nno_Latn", "nb-NO", "nor")],
        *[(tag, "zh_CN") for tag in ("zh", "ZH-cn", "zh-Hans", "zh-SG", "cmn", "chi", "wuu", "zh-cmn", "yue-Hans")],
        *[(tag, "zh_TW") for tag in ("zh-TW", "zh_Hant_HK", "zh-MO", "zho_Hant", "yue", "zh-yue", "lzh", "cmn-TW")],
        *[(tag, "sr_RS") for tag in ("sr", "sr-Latn-RS", "srp_Cyrl", "bs-Cyrl", "sh-Cyrl")],
        *[(tag, "hr_HR") for tag in ("hr", "bs", "bos", "sh", "cnr", "bs-Latn-BA")],
        ("iw", "he_IL"), ("in", "id_ID"), ("fil", "tl_XX"), ("mo", "ro_RO"), ("jp", "ja_XX"), ("prs", "fa_IR"),
        ("pt-BR", "pt_XX"), ("pt_PT", "pt_XX"), ("es-419", "es_XX"), ("en-US", "en_XX"), ("arz", "ar_AR"),
        ("kmr", "ku_TR"), ("azj_Latn", "az_AZ"), ("lvs", "lv_LV"), ("ory_Orya", "or_IN"), (" fr ", "fr_XX"),
        ("pt-Latn-BR-x-foo", "pt_XX"), ("de-CH-1996-u-co-phonebk", "de_DE"),
    ],
)  # fmt: skip
def test_tags_of_languages_with_an_adapter(tag: str, adapter: str) -> None:
    assert to_adapter(tag, nearest=False) == adapter


@pytest.mark.parametrize(
    ("tag", "adapter"),
    [
        ("lb", "de_DE"), ("ltz_Latn", "de_DE"), ("jw", "id_ID"), ("yi", "he_IL"), ("ug", "ar_AR"), ("as", "bn_IN"),
        ("zu", "sw_KE"), ("ckb", "fa_IR"), ("ckb_Arab", "fa_IR"), ("ku-Arab", "fa_IR"), ("kmr_Arab", "fa_IR"),
        ("uz-Cyrl", "kk_KZ"), ("pnb", "ur_PK"), ("sd", "ps_AF"),
    ],
)  # fmt: skip
def test_relatives_are_taken_only_when_asked_for(tag: str, adapter: str) -> None:
    assert to_adapter(tag) == adapter
    assert to_adapter(tag, nearest=False) is None


@pytest.mark.parametrize(
    "tag", ["", "und", "mul", "zxx", "mis", "unknown", "klingon", "tlh", "x-klingon", "?", "f", "日本語"]
)
def test_what_is_no_known_language_has_no_adapter(tag: str) -> None:
    assert to_adapter(tag) is None


def test_match_prefers_what_is_there() -> None:
    assert match("bs", ("hr", "bs")) == "bs"
    assert match("bs", ("hr", "sr")) == "hr"
    assert match("zh-Hant", ("zh", "zh-TW")) == "zh-TW"
    assert match("zh-Hant", ("zh",)) == "zh"
    assert match("zh", ("zh-TW",)) == "zh-TW"
    assert match("lb", ("de",)) == "de"
    assert match("lb", ("de",), nearest=False) is None
    assert match("fr", ()) is None


class TestAdapterTable:
    def test_languages_follow_the_checkpoint(self) -> None:
        assert SMALL.languages == ("en", "fr", "zh", "de")
        assert [SMALL.adapter_for(language) for language in SMALL.languages] == list(SMALL.adapters)

    def test_the_full_table_resolves_every_adapter_and_language(self) -> None:
        table = AdapterTable(ADAPTERS, "en_XX")
        assert [table.resolve(adapter) for adapter in ADAPTERS] == list(table.languages) == list(LANGUAGES)
        assert [table.resolve(language) for language in LANGUAGES] == list(LANGUAGES)

    @pytest.mark.parametrize("tag", ["klingon", "", "  ", "xx", "french", "x-fr", "12", "fr fr", "e"])
    def test_what_is_no_language_is_refused_with_a_way_out(self, tag: str) -> None:
        with pytest.raises(LanguageError) as caught:
            SMALL.resolve(tag)
        assert repr(tag) in str(caught.value)
        assert "'pt-BR'" in str(caught.value)
        assert "'fr_XX'" in str(caught.value)

    @pytest.mark.parametrize(
        ("tag", "language", "adapter"),
        [
            ("lb", "de", "de_DE"),
            ("yo", "en", "en_XX"),
            ("tlh", "en", "en_XX"),
            ("sw", "en", "en_XX"),
            ("zh-TW", "zh", "zh_CN"),
        ],
    )
    def test_a_language_without_adapter_warns_once(
        self, tag: str, language: str, adapter: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        table = AdapterTable(SMALL.adapters, "en_XX")
        with caplog.at_level(logging.WARNING):
            assert [table.resolve(tag) for _ in range(3)] == [language] * 3
            assert table.adapter_for(tag) == adapter
        (record,) = caplog.records
        assert record.name.startswith("ragatouille_xm")
        assert adapter in record.getMessage()

    def test_each_language_without_adapter_has_its_own_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        table = AdapterTable(SMALL.adapters, "en_XX")
        for tag in ("lb", "yo", "lb-LU", "YO"):
            table.resolve(tag)
        assert len(caplog.records) == 2

    def test_a_warning_is_single_across_threads(self, caplog: pytest.LogCaptureFixture) -> None:
        table = AdapterTable(SMALL.adapters, "en_XX")
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(table.resolve, ["yo"] * 200)) == {"en"}
        assert len(caplog.records) == 1

    def test_languages_with_an_adapter_do_not_warn(self, caplog: pytest.LogCaptureFixture) -> None:
        assert [SMALL.resolve(tag) for tag in ("fr-CA", "zh-Hans", "DE", "eng", "en_XX")] == [
            "fr",
            "zh",
            "de",
            "en",
            "en",
        ]
        assert not caplog.records

    def test_adapters_beyond_the_81_go_by_their_language_subtag(self, caplog: pytest.LogCaptureFixture) -> None:
        table = AdapterTable(["en_XX", "sd_PK", "jv_ID", "bs_BA", "ps_AF"], "en_XX")
        assert table.languages == ("en", "sd", "jv", "bs", "ps")
        assert [table.resolve(tag) for tag in ("sd", "snd_Arab", "jw", "sd_PK", "bos")] == [
            "sd",
            "sd",
            "jv",
            "sd",
            "bs",
        ]
        assert table.adapter_for("sd") == "sd_PK"
        assert not caplog.records

    def test_two_adapters_of_one_language_keep_apart(self) -> None:
        table = AdapterTable(["ur_PK", "ur_XX"], "ur_PK")
        assert table.languages == ("ur", "ur-XX")
        assert [table.adapter_for(language) for language in table.languages] == ["ur_PK", "ur_XX"]
        assert [table.resolve(tag) for tag in ("ur", "ur_XX", "ur-XX")] == ["ur", "ur-XX", "ur-XX"]

    def test_without_adapters_every_language_is_kept_and_encoded_alike(self, caplog: pytest.LogCaptureFixture) -> None:
        table = AdapterTable((), None)
        assert table.languages == ()
        assert [table.resolve(tag) for tag in ("fr-CA", "yo", "zh_TW", "nb")] == ["fr", "yo", "zh-TW", "no"]
        assert table.adapter_for("fr") is None
        with pytest.raises(LanguageError):
            table.resolve("klingon")
        assert not caplog.records

    @pytest.mark.parametrize("tag", [None, 5, ["fr"]])
    def test_what_is_no_string_is_no_language(self, tag: Any) -> None:
        with pytest.raises(LanguageError, match="is not a language. Give a BCP-47 code"):
            SMALL.resolve(tag)

    def test_the_default_must_be_one_of_the_adapters(self) -> None:
        with pytest.raises(LanguageError, match="xx_XX"):
            AdapterTable(["en_XX"], "xx_XX")


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en_US.UTF-8", "en"), ("de_DE@euro", "de"), ("sr_RS@latin", "sr"), ("sr_RS.UTF-8@latin", "sr"),
        ("ca_ES.utf8@valencia", "ca"), ("uz_UZ@cyrillic", "kk"), ("zh_TW.Big5", "zh-TW"), ("pt_BR.ISO-8859-1", "pt"),
        ("sr-Latn", "sr"), ("hi-Latn", "hi"),
    ],
)  # fmt: skip
def test_names_of_locales_are_tags(tag: str, language: str) -> None:
    assert AdapterTable(ADAPTERS, "en_XX").resolve(tag) == language


@pytest.mark.parametrize("tag", ["C", "C.UTF-8", "POSIX", ".UTF-8", "@latin", ""])
def test_a_locale_without_a_language_is_refused(tag: str) -> None:
    with pytest.raises(LanguageError, match="is not a language"):
        AdapterTable(ADAPTERS, "en_XX").resolve(tag)
