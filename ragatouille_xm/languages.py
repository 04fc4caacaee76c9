"""Language codes and their adapters.

A *language* is a BCP-47 code (``fr``, ``zh-TW``), an *adapter* a name in a checkpoint's ``config.json`` (``fr_XX``,
``zh_TW``). The tables hold the 81 adapters of ColBERT-XM; `AdapterTable` describes one checkpoint, which may have
fewer, others, or none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

from .errors import LanguageError

logger = logging.getLogger(__name__)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADAPTERS: tuple[str, ...] = _words(
    "en_XX id_ID vi_VN ru_RU fa_IR sv_SE ja_XX fr_XX de_DE ro_RO ko_KR hu_HU es_XX fi_FI uk_UA da_DK pt_XX no_XX th_TH "
    "pl_PL bg_BG nl_XX zh_CN he_IL el_GR it_IT sk_SK hr_HR tr_TR ar_AR cs_CZ lt_LT hi_IN zh_TW ca_ES ms_MY sl_SI lv_LV "
    "ta_IN bn_IN et_EE az_AZ sq_AL sr_RS kk_KZ ka_GE tl_XX ur_PK is_IS hy_AM ml_IN mk_MK be_BY la_VA te_IN eu_ES gl_ES "
    "mn_MN kn_IN ne_NP sw_KE si_LK mr_IN af_ZA gu_IN cy_GB eo_EO km_KH ky_KG uz_UZ ps_AF pa_IN ga_IE ha_NG am_ET lo_LA "
    "ku_TR so_SO my_MM or_IN sa_IN"
)
"""ColBERT-XM's adapters, in the order of the checkpoint."""

_LANGUAGE = {adapter: "zh-TW" if adapter == "zh_TW" else adapter.split("_")[0] for adapter in ADAPTERS}
_ADAPTER = {language: adapter for adapter, language in _LANGUAGE.items()}

LANGUAGES: tuple[str, ...] = tuple(_ADAPTER)
"""The languages of `ADAPTERS`, in the same order."""

_ISO_639_1 = _words(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik in io is it iu iw "
    "ja ji jv jw ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mo mr ms mt "
    "my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm "
    "sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)


def _invert(table: dict[str, str]) -> dict[str, str]:
    return {code: target for target, codes in table.items() for code in _words(codes)}


# Other codes of a language: ISO 639-2 and -3, deprecated codes, the members of a macrolanguage.
_ALIAS = _invert(
    {
        "af": "afr", "am": "amh", "ar": "ara arb arz ary apc ajp acm ars aeb arq acq afb", "az": "aze azj", "be": "bel",
        "bg": "bul", "bn": "ben", "bs": "bos", "ca": "cat", "cs": "ces cze", "cy": "cym wel", "da": "dan",
        "de": "deu ger", "el": "ell gre", "en": "eng", "eo": "epo", "es": "spa", "et": "est ekk", "eu": "eus baq",
        "fa": "fas per pes prs dari", "fi": "fin", "fr": "fra fre", "ga": "gle", "gl": "glg", "gu": "guj", "ha": "hau",
        "he": "iw heb hbo", "hi": "hin", "hr": "hrv", "hu": "hun", "hy": "hye arm hyw", "id": "in ind", "is": "isl ice",
        "it": "ita", "ja": "jpn jp", "ka": "kat geo", "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor",
        "ku": "kur kmr", "ky": "kir", "la": "lat", "lo": "lao", "lt": "lit", "lv": "lav lvs", "mk": "mkd mac",
        "ml": "mal", "mn": "mon khk", "mr": "mar", "ms": "msa may zsm zlm", "my": "mya bur", "ne": "nep npi",
        "nl": "nld dut vls", "no": "nb nn nob nno nor", "or": "ori ory", "pa": "pan", "pl": "pol", "pt": "por",
        "ps": "pus pbt pbu pst", "ro": "mo ron rum mol", "ru": "rus", "sa": "san", "sh": "hbs", "si": "sin",
        "sk": "slk slo", "sl": "slv", "so": "som", "sq": "sqi alb als aln", "sr": "srp", "sv": "swe", "sw": "swa swh",
        "ta": "tam", "te": "tel", "th": "tha", "tl": "fil tgl", "tr": "tur", "uk": "ukr", "ur": "urd", "uz": "uzb uzn",
        "vi": "vie", "zh": "zho chi cmn",
        # without an adapter in ColBERT-XM
        "ab": "abk", "an": "arg", "as": "asm", "av": "ava", "ay": "aym", "ba": "bak", "br": "bre", "ce": "che",
        "co": "cos", "cv": "chv", "fo": "fao", "fy": "fry", "gd": "gla", "gn": "grn gug", "gv": "glv", "ht": "hat",
        "ia": "ina", "io": "ido", "jv": "jw jav", "kw": "cor", "lb": "ltz", "lg": "lug", "li": "lim", "ln": "lin",
        "mg": "mlg plt", "mt": "mlt", "ny": "nya", "oc": "oci", "om": "orm gaz", "os": "oss", "qu": "que", "rm": "roh",
        "rn": "run", "rw": "kin", "sc": "srd", "sd": "snd", "se": "sme", "sn": "sna", "st": "sot", "su": "sun",
        "tg": "tgk", "ti": "tir", "tk": "tuk", "tn": "tsn", "ts": "tso", "tt": "tat", "ug": "uig", "vo": "vol",
        "wa": "wln", "xh": "xho", "yi": "ji yid ydd", "zu": "zul",
    }
)  # fmt: skip

# Varieties written like another language.
_VARIETY = {
    **_invert({"hr": "bs sh cnr", "zh": "wuu gan hsn", "zh-TW": "yue nan hak lzh"}),
    **{f"{language}-cyrl": "sr" for language in ("bs", "sh", "cnr")},
}

# Languages in a script that their adapter never saw: the nearest by script.
_OTHER_SCRIPT = {
    "ku-arab": "fa", "az-arab": "fa", "az-cyrl": "kk", "uz-cyrl": "kk", "uz-arab": "ps", "pa-arab": "ur",
    "ms-arab": "ar", "kk-arab": "ar", "kk-latn": "tr", "ha-arab": "ar",
}  # fmt: skip

# Languages without an adapter: the nearest relative. A linguistic guess, in line with the detector's choices.
_RELATIVE = _invert(
    {
        "am": "ti", "ar": "ug", "bn": "as", "ca": "oc", "cy": "br kw", "de": "lb gsw bar ksh pfl", "el": "grc",
        "eo": "io vo ia", "es": "ast an ext lad gn qu ay", "et": "vro", "fa": "ckb sdh azb", "fi": "se krl vep",
        "fr": "wa ht frp gcf gcr", "ga": "gd gv", "he": "yi", "hi": "mai bho awa mag hne doi",
        "id": "jv su min ace bug ban bjn", "is": "fo", "it": "co scn vec lij fur lmo pms nap sc rm mt",
        "kk": "tt ba kaa", "ky": "tg", "lv": "ltg", "mr": "gom kok", "nl": "fy li nds zea", "pl": "csb szl hsb dsb",
        "ps": "sd uzs", "ru": "cv sah os ab ce av", "so": "om", "sw": "zu xh rw rn ln lg ny sn st tn ts nso kik",
        "tl": "ceb ilo war pam bcl hil pag mg", "tr": "crh tk gag", "uk": "rue", "ur": "pnb",
    }
)  # fmt: skip


_LOCALE_SCRIPT = {"latin": "latn", "cyrillic": "cyrl", "arabic": "arab", "devanagari": "deva"}


class _Tag(NamedTuple):
    """A parsed language tag, in lower case, with aliases of the language resolved."""

    language: str
    script: str
    region: str


@lru_cache(maxsize=1024)
def _parse(tag: str) -> _Tag | None:
    """Parse a tag, or the name of a locale (``sr_RS.UTF-8@latin``); return None if it is malformed."""
    locale, _, modifier = tag.strip().lower().partition("@")
    parts = locale.partition(".")[0].replace("_", "-").split("-")
    if not all(re.fullmatch("[a-z0-9]{1,8}", part) for part in parts) or not re.fullmatch("[a-z]{2,8}", parts[0]):
        return None
    end = next((i for i, part in enumerate(parts) if len(part) == 1), len(parts))  # extensions and private use follow
    subtags = parts[1:end]
    language = _ALIAS.get(parts[0], parts[0])
    if language == "zh" and subtags and re.fullmatch("[a-z]{3}", subtags[0]):  # zh-yue is the older form of yue
        language = _ALIAS.get(subtags[0], subtags[0])
    script = next((part for part in subtags if re.fullmatch("[a-z]{4}", part)), "")
    region = next((part for part in subtags if re.fullmatch("[a-z]{2}", part)), "")
    return _Tag(language, script or _LOCALE_SCRIPT.get(modifier, ""), region)


def _language_of(tag: str, nearest: bool) -> str | None:
    """Return the language, among `LANGUAGES`, that a tag means."""
    parsed = _parse(tag)
    if parsed is None:
        return None
    language, script, region = parsed
    scripted = f"{language}-{script}"
    if scripted in _OTHER_SCRIPT:
        return _OTHER_SCRIPT[scripted] if nearest else None
    language = _VARIETY.get(scripted) or _VARIETY.get(language, language)
    if language in ("zh", "zh-TW"):
        if script in ("hans", "hant"):
            return "zh" if script == "hans" else "zh-TW"
        return "zh-TW" if region in ("tw", "hk", "mo") else language
    if language in _ADAPTER:
        return language
    return _RELATIVE.get(language) if nearest else None


def to_adapter(tag: str, *, nearest: bool = True) -> str | None:
    """Return the adapter, among `ADAPTERS`, for a language tag.

    Parameters
    ----------
    tag : str
        Any BCP-47 tag, detector code, adapter name or name of a locale, in upper or lower case, with ``-`` or ``_``.
    nearest : bool
        Use the nearest relative for a language without an adapter, or in another script.

    Returns
    -------
    str or None
        None for ``und`` and anything else without an adapter.

    Examples
    --------
    >>> to_adapter("pt-BR"), to_adapter("zh-Hant-HK"), to_adapter("nb"), to_adapter("srp_Cyrl")
    ('pt_XX', 'zh_TW', 'no_XX', 'sr_RS')
    >>> to_adapter("en_US.UTF-8"), to_adapter("sr_RS@latin")
    ('en_XX', 'sr_RS')
    >>> to_adapter("lb"), to_adapter("lb", nearest=False), to_adapter("und")
    ('de_DE', None, None)
    """
    language = _language_of(tag, nearest)
    return None if language is None else _ADAPTER[language]


def to_language(adapter: str) -> str:
    """Return the language code of an adapter.

    Examples
    --------
    >>> to_language("fr_XX"), to_language("zh_CN"), to_language("zh_TW"), to_language("sd_PK")
    ('fr', 'zh', 'zh-TW', 'sd')
    """
    return _LANGUAGE.get(adapter) or adapter.replace("-", "_").split("_")[0].lower()


def match(tag: str, languages: Collection[str], *, nearest: bool = True) -> str | None:
    """Return the one of `languages` that a tag means, or, with `nearest`, its nearest relative among them.

    Examples
    --------
    >>> match("nn-NO", ["fr", "no"]), match("zh-TW", ["fr", "zh"]), match("zh-TW", ["fr", "zh"], nearest=False)
    ('no', 'zh', None)
    """
    parsed = _parse(tag)
    if parsed is None:
        return None
    if parsed.language in languages and parsed.language not in _ADAPTER:
        return parsed.language
    own = _language_of(tag, nearest=False)
    if own in languages:
        return own
    if not nearest:
        return None
    relative = _language_of(tag, nearest=True)
    if relative in languages:
        return relative
    other_chinese = {"zh": "zh-TW", "zh-TW": "zh"}.get(relative or "")
    return other_chinese if other_chinese in languages else None


class AdapterTable:
    """The languages and adapters of one checkpoint. Thread-safe.

    Parameters
    ----------
    adapters : sequence of str
        As in ``config.json``; none for a checkpoint without language adapters.
    default : str or None
        The adapter for text of unknown language; one of `adapters`.

    Attributes
    ----------
    adapters : tuple of str
    languages : tuple of str
        The language code of each adapter, in the same order. Passages are stored with these codes.
    default : str or None

    Examples
    --------
    >>> table = AdapterTable(["en_XX", "fr_XX", "zh_TW"], "en_XX")
    >>> table.languages
    ('en', 'fr', 'zh-TW')
    >>> table.resolve("fr-CA"), table.adapter_for("zh-TW")
    ('fr', 'zh_TW')
    """

    def __init__(self, adapters: Sequence[str], default: str | None) -> None:
        self.adapters = tuple(adapters)
        self.default = default
        if self.adapters and default not in self.adapters:
            raise LanguageError(
                f"The default adapter {default!r} is not one of the checkpoint's: {_preview(adapters)}."
            )
        self._by_language: dict[str, str] = {}
        for adapter in self.adapters:
            language = to_language(adapter)
            self._by_language[language if language not in self._by_language else adapter.replace("_", "-")] = adapter
        self.languages = tuple(self._by_language)
        self._language = {adapter: language for language, adapter in self._by_language.items()}
        self._warned: set[str] = set()
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"AdapterTable({len(self.adapters)} adapters, default={self.default!r})"

    def resolve(self, tag: str) -> str:
        """Return the language code for a tag given by a user.

        A language without an adapter is replaced by its nearest relative that has one, or the default, with one warning
        per language. A checkpoint without adapters keeps every language.

        Parameters
        ----------
        tag : str
            Any BCP-47 tag, ISO 639 code or adapter name.

        Raises
        ------
        LanguageError
            If the tag is not a language.
        """
        if not isinstance(tag, str):
            raise self._unknown(tag)
        if tag in self._language:
            return self._language[tag]
        if tag in self._by_language:
            return tag
        own = match(tag, self.languages or LANGUAGES, nearest=False)
        if own is not None:
            return own
        parsed = _parse(tag)
        if parsed is None or not (parsed.language in _ISO_639_1 or len(parsed.language) == 3):
            raise self._unknown(tag)
        if self.default is None:
            return parsed.language
        relative = match(tag, self.languages)
        language = relative or self._language[self.default]
        self._warn_once("-".join(filter(None, parsed[:2])), language, "nearest relative" if relative else "default")
        return language

    def _unknown(self, tag: object) -> LanguageError:
        return LanguageError(
            f"{tag!r} is not a language. Give a BCP-47 code ('fr', 'pt-BR', 'zh-Hant') or one of the checkpoint's "
            f"adapters ({_preview(self.adapters or ADAPTERS)})."
        )

    def _warn_once(self, unknown: str, language: str, kind: str) -> None:
        with self._lock:
            if unknown in self._warned:
                return
            self._warned.add(unknown)
        logger.warning(
            "No adapter for language %r in the checkpoint: using its %s, %s.",
            unknown,
            kind,
            self._by_language[language],
        )

    def adapter_for(self, language: str) -> str | None:
        """Return the adapter that encodes a language, or None in a checkpoint without adapters.

        A language that is not in `languages` is resolved first.
        """
        if not self.adapters:
            return None
        return self._by_language.get(language) or self._by_language[self.resolve(language)]


def _preview(names: Sequence[str], n: int = 4) -> str:
    more = f", … {len(names) - n} more" if len(names) > n else ""
    return ", ".join(repr(name) for name in names[:n]) + more
