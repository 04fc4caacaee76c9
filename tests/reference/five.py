"""Five documents in five languages, for a tiny checkpoint: each finds itself."""

from __future__ import annotations

TEXTS = [
    "The library opens in the morning and the book is in the garden.",
    "La bibliothèque est au bord de la rivière, et le livre est dans le jardin.",
    "图书馆在北京市，今天有水和火，明年有雨雪。",
    "Das Buch ist in der Bibliothek und das Brot ist im Garten am Fluss.",
    "図書館は東京にあります。今日の天気は雨です。",
]
IDS = ["en", "fr", "zh", "de", "ja"]
METADATAS = [{"year": 2018 + i, "source": f"{IDS[i]}.txt"} for i in range(5)]
