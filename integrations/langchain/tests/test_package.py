"""The public names."""

from __future__ import annotations

import langchain_ragatouille_xm as package


def test_public_names() -> None:
    assert package.__all__ == [
        "RagatouilleXMCompressor",
        "RagatouilleXMRetriever",
        "RagatouilleXMTranslator",
        "RagatouilleXMVectorStore",
    ]
    assert {getattr(package, name).__name__ for name in package.__all__} == set(package.__all__)
