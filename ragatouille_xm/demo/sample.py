"""The bundled collection: ten subjects in fifteen languages, and queries for them.

Eight subjects are the same in every language; the other two, a river and a dish, differ by country, so the only answer
to a query may be in another language. The texts were written for this package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class SampleDocument:
    """A short encyclopaedic text.

    Attributes
    ----------
    id : str
        ``"<language>-<topic>"``.
    language : str
        Of `title` and `text`: ar de en es fr id it ja ko pl pt ru tr vi zh.
    topic : str
        bees, bicycle, dish, lighthouse, octopus, printing, river, tea, tides or volcano.
    title : str
    text : str
        Two to four sentences.
    """

    id: str
    language: str
    topic: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class SampleQuery:
    """A query and the document that answers it best.

    Attributes
    ----------
    text : str
    language : str
        Of `text`; one query in four is answered in another.
    document_id : str
    """

    text: str
    language: str
    document_id: str


@cache
def demo_sample() -> tuple[SampleDocument, ...]:
    """Return the collection's 150 documents, by language.

    Examples
    --------
    >>> len(demo_sample()), demo_sample()[10].title
    (150, 'Der Schwänzeltanz der Bienen')
    """
    return tuple(SampleDocument(**fields) for fields in _read("sample.jsonl"))


@cache
def demo_queries() -> tuple[SampleQuery, ...]:
    """Return 60 queries, four in each language.

    Examples
    --------
    >>> demo_queries()[7]
    SampleQuery(text='polnische Teigtaschen mit Kartoffeln und Quark', language='de', document_id='pl-dish')
    """
    return tuple(SampleQuery(**fields) for fields in _read("queries.jsonl"))


def _read(name: str) -> list[dict[str, Any]]:
    lines = (files(__package__) / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
