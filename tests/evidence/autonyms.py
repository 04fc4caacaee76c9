"""What each language of the adapters calls itself: words in every script that they write."""

from __future__ import annotations

AUTONYMS = {
    "en": "English", "id": "bahasa Indonesia", "vi": "tiếng Việt", "ru": "русский язык", "fa": "زبان فارسی",
    "sv": "svenska språket", "ja": "日本語の言葉", "fr": "français", "de": "deutsche Sprache für Bücher",
    "ro": "limba română", "ko": "한국어 말씀", "hu": "magyar nyelv", "es": "español", "fi": "suomen kieli",
    "uk": "українська мова", "da": "dansk på øen", "pt": "língua portuguesa", "no": "norsk språk",
    "th": "ภาษาไทย", "pl": "język polski", "bg": "български език", "nl": "Nederlands", "zh": "简体中文",
    "he": "עִבְרִית", "el": "ελληνική γλώσσα", "it": "lingua italiana", "sk": "slovenčina",
    "hr": "hrvatski jezik", "tr": "Türkçe", "ar": "اللُّغَة العربيّة", "cs": "český jazyk",
    "lt": "lietuvių kalba", "hi": "हिन्दी", "zh-TW": "繁體中文", "ca": "llengua intel·ligent",
    "ms": "bahasa Melayu", "sl": "slovenščina", "lv": "latviešu valoda", "ta": "தமிழ்", "bn": "বাংলা ভাষা",
    "et": "eesti keel", "az": "Azərbaycan dili", "sq": "gjuha shqipe", "sr": "српски језик", "kk": "қазақ тілі",
    "ka": "ქართული ენა", "tl": "wikang Tagalog", "ur": "اُردُو زبان", "is": "íslenska", "hy": "հայերեն լեզու",
    "ml": "മലയാളം", "mk": "македонски јазик", "be": "беларуская мова", "la": "lingua Latīna", "te": "తెలుగు",
    "eu": "euskara", "gl": "lingua galega", "mn": "монгол хэл", "kn": "ಕನ್ನಡ", "ne": "नेपाली भाषा",
    "sw": "Kiswahili", "si": "සිංහල", "mr": "मराठी", "af": "Afrikaans", "gu": "ગુજરાતી",
    "cy": "yr iaith Gymraeg", "eo": "ĉiuj ĝuas Esperanton", "km": "ភាសាខ្មែរ", "ky": "кыргыз тили",
    "uz": "oʻzbek tili", "ps": "پښتو ژبه", "pa": "ਪੰਜਾਬੀ", "ga": "an Ghaeilge", "ha": "harshen Hausa",
    "am": "አማርኛ", "lo": "ພາສາລາວ", "ku": "zimanê kurdî", "so": "af Soomaali", "my": "မြန်မာဘာသာ",
    "or": "ଓଡ଼ିଆ ଭାଷା", "sa": "संस्कृतम्",
}  # fmt: skip
