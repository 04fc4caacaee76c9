"""Record what RAGatouille answers: the form of every result, and what happens where it goes wrong. See README.md.

python make_behaviour.py
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from golden import amend, versions
from langchain_core.documents import Document
from ragatouille import RAGPretrainedModel
from texts import DOCUMENTS
from tiny import build_tiny_xmod

TEXTS = [*DOCUMENTS[:9], *DOCUMENTS[13:16]]
IDS = [f"doc-{i}" for i in range(len(TEXTS))]
METADATA = [{"place": i, "tags": ["a", "b"]} if i % 2 else {} for i in range(len(TEXTS))]
NEW = "A new text about bread."
LONG = " ".join(f"Sentence {i} tells of the river and the garden." for i in range(12))
WORDS = re.compile("[A-Z][a-z]+ .*|WARNING|k value")  # RAGatouille's sentences among colbert-ai's log
QUERY, QUERIES = "The library opens", ["The library opens", "Le livre est ici", "bread"]


def shown(value: Any) -> Any:
    """Return `value` as JSON; scores are rounded, for they are not the point here."""
    if isinstance(value, dict):
        return {key: shown(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(v) for v in value]
    if isinstance(value, Document):
        return {"Document": {"page_content": value.page_content, "metadata": shown(value.metadata)}}
    if isinstance(value, float):
        return round(value, 3)
    return value if isinstance(value, (str, int, bool, type(None))) else f"<{type(value).__name__}>"


def types(value: Any) -> Any:
    """Return the types of one result's values, in the order of its keys."""
    if isinstance(value, list) and value:
        return types(value[0])
    return {k: type(v).__name__ for k, v in value.items()} if isinstance(value, dict) else type(value).__name__


class Recorder:
    def __init__(self) -> None:
        self.steps: dict[str, Any] = {}

    def __call__(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call, and keep the answer, its types and the end of what was printed; or the error."""
        printed = StringIO()
        step: dict[str, Any] = {}
        result = None
        try:
            with redirect_stdout(printed):
                result = function(*args, **kwargs)
            step["returned"] = shown(result)
            if isinstance(result, list) and result:
                step["types"] = types(result)
        except Exception as error:
            step = {"raised": type(error).__name__, "message": str(error)[:300]}
        lines = [line.strip() for line in printed.getvalue().splitlines()]
        lines = [line for line in lines if WORDS.match(line)]
        if result is None and lines:
            step["printed"] = lines[-2:]
        self.steps[name] = step
        print(name, str(step)[:300], file=sys.stderr)
        return result


def ids(rag: Any, query: str, k: int = 3) -> list[str]:
    return [result["document_id"] for result in rag.search(query, k=k)]


def contents(rag: Any, k: int) -> dict[str, str]:
    return {result["document_id"]: result["content"] for result in rag.search(QUERY, k=k)}


def searches(record: Recorder, rag: Any) -> None:
    record("search", rag.search, QUERY, k=3)
    record("search, three queries", rag.search, QUERIES, k=2)
    record("search, a list of one query", rag.search, [QUERY], k=2)
    record("search, an empty list", rag.search, [], k=2)
    record("search, empty query", rag.search, "", k=2)
    record("search, zero_index_ranks", rag.search, QUERY, k=3, zero_index_ranks=True)
    record("search, k=1", rag.search, QUERY, k=1)
    record("search, k=0", rag.search, QUERY, k=0)
    record("search, k beyond the documents", lambda: len(contents(rag, 100)))
    record("search, default k", lambda: len(rag.search(QUERY)))
    record("search, force_fast", rag.search, QUERY, k=1, force_fast=True)
    record("search, doc_ids", rag.search, QUERY, k=3, doc_ids=["doc-7", "doc-2"])
    record("search, doc_ids with a list of queries", rag.search, QUERIES[:2], k=2, doc_ids=["doc-7"])
    record("search, unknown doc_ids", rag.search, QUERY, k=2, doc_ids=["nobody"])
    record("search, empty doc_ids", rag.search, QUERY, k=2, doc_ids=[])
    record("search, the same index by name", rag.search, QUERY, index_name="first", k=1)
    record("search, an unknown argument", rag.search, QUERY, k=1, top_k=3)


def indexing(record: Recorder, checkpoint: str, root: str) -> None:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    record("search before index", rag.search, QUERY)
    record("index, too few ids", rag.index, TEXTS, document_ids=IDS[:2], index_name="bad")
    record("index, duplicate ids", rag.index, TEXTS[:2], document_ids=["a", "a"], index_name="bad")
    record("index, an empty id", rag.index, TEXTS[:2], document_ids=["a", " "], index_name="bad")
    record("index, integer ids", rag.index, TEXTS[:2], document_ids=[1, 2], index_name="bad")
    record("index, too few metadatas", rag.index, TEXTS, document_metadatas=[{}], index_name="bad")
    record("index", rag.index, TEXTS, document_ids=IDS, document_metadatas=METADATA, index_name="first")
    searches(record, rag)
    record("as_langchain_retriever", rag.as_langchain_retriever, k=2)
    record("as_langchain_retriever, invoke", lambda: rag.as_langchain_retriever(k=2).invoke(QUERY))
    compressor = rag.as_langchain_document_compressor(k=2)
    documents = [Document(page_content=text, metadata={"place": i}) for i, text in enumerate(TEXTS[:4])]
    record("as_langchain_document_compressor", compressor.compress_documents, documents, QUERY)
    reopened = record("from_index", RAGPretrainedModel.from_index, f"{root}/colbert/indexes/first", verbose=0)
    record("from_index, search", reopened.search, QUERY, k=2)
    record("from_index, no such index", RAGPretrainedModel.from_index, f"{root}/colbert/indexes/none", verbose=0)
    record("add_to_index", rag.add_to_index, [NEW], ["new-0"], [{"place": 99}])
    record("add_to_index, then search", ids, rag, NEW)
    again = RAGPretrainedModel.from_index(f"{root}/colbert/indexes/first", verbose=0)
    record("add_to_index, reopen, search", ids, again, NEW)
    record("add_to_index, an id that is there", again.add_to_index, ["Another text."], ["doc-0"])


def deleting(record: Recorder, checkpoint: str, root: str) -> None:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    record("index, no metadata", rag.index, TEXTS, document_ids=IDS, index_name="second")
    record("search, no metadata", rag.search, QUERY, k=1)
    record("index, overwrite_index=False", rag.index, TEXTS, IDS, index_name="second", overwrite_index=False)
    record("index, another", rag.index, ["Other text.", *TEXTS[:3]], index_name="other")
    record("search, the index before by name", rag.search, QUERY, index_name="second", k=2)
    path = f"{root}/colbert/indexes/second"
    opened = RAGPretrainedModel.from_index(path, verbose=0)
    record("search, before deleting", contents, opened, 6)
    record("delete_from_index", opened.delete_from_index, ["doc-1"])
    record("delete_from_index, then search", contents, opened, 6)
    record("delete_from_index, then search for all", contents, opened, 11)
    after = RAGPretrainedModel.from_index(path, verbose=0)
    record("delete_from_index, reopen, search", contents, after, 6)
    record("delete_from_index, an unknown id", after.delete_from_index, ["nobody"])


def deleting_a_string(record: Recorder, checkpoint: str, root: str) -> None:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    record("index", rag.index, TEXTS, document_ids=IDS, index_name="third")
    rag = RAGPretrainedModel.from_index(f"{root}/colbert/indexes/third", verbose=0)
    record("delete_from_index, a string", rag.delete_from_index, "doc-10")
    record("delete_from_index, a string: what is left", lambda: list(rag.model.pid_docid_map.values()))


def splitting(record: Recorder, checkpoint: str, root: str) -> None:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    texts, ids = [LONG, *TEXTS[:6]], ["long", *IDS[:6]]
    record("index, split", rag.index, texts, ids, index_name="third", max_document_length=40)
    record("index, split: passages", lambda: list(rag.model.pid_docid_map.values()))
    record("search, split", rag.search, "Sentence 4 tells of the river", k=3)
    record("index, not split", rag.index, texts, ids, index_name="fourth", split_documents=False)
    record("index, not split: passages", lambda: list(rag.model.pid_docid_map.values()))
    record("index, own splitter", rag.index, texts, ids, index_name="fifth", document_splitter_fn=two_halves)
    record("index, own splitter: passages", lambda: list(rag.model.pid_docid_map.values()))
    record("index, preprocessing", rag.index, texts, ids, index_name="sixth", preprocessing_fn=shouted)
    record("index, preprocessing: passages", lambda: rag.model.collection[-2:])
    record("index, no name", rag.index, texts, ids)
    record("index, no document", rag.index, [], index_name="seventh")
    record("index, document ids made up", rag.index, texts, index_name="eighth")
    record("index, document ids made up: an id", lambda: len(rag.model.pid_docid_map[0]))


def two_halves(documents: list[str], document_ids: list[str], chunk_size: int = 256) -> list[dict[str, str]]:
    """Split as RAGatouille calls a splitter."""
    pairs = zip(document_ids, documents, strict=True)
    return [{"document_id": i, "content": part} for i, d in pairs for part in (d[: len(d) // 2], d[len(d) // 2 :])]


def shouted(documents: list[dict[str, str]], document_ids: list[str]) -> list[dict[str, str]]:
    """Preprocess as RAGatouille calls a preprocessor: after the splitter, with what it returned."""
    return [{**passage, "content": passage["content"].upper()} for passage in documents]


def in_memory(record: Recorder, checkpoint: str, root: str) -> None:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    record("rerank", rag.rerank, QUERY, TEXTS[:5], k=3)
    record("rerank, three queries", rag.rerank, QUERIES, TEXTS[:5], k=2)
    record("rerank, a list of one query", rag.rerank, [QUERY], TEXTS[:5], k=2)
    record("rerank, zero_index_ranks", rag.rerank, QUERY, TEXTS[:5], k=3, zero_index_ranks=True)
    record("rerank, k beyond the documents", rag.rerank, QUERY, TEXTS[:3])
    record("rerank, the same text twice", rag.rerank, QUERY, [TEXTS[0], TEXTS[1], TEXTS[0]], k=3)
    record("rerank, no document", rag.rerank, QUERY, [], k=0)
    record("search_encoded_docs before encode", rag.search_encoded_docs, QUERY)
    record("encode", rag.encode, TEXTS[:4], verbose=False)
    record("search_encoded_docs", rag.search_encoded_docs, QUERY, k=3)
    record("search_encoded_docs, three queries", rag.search_encoded_docs, QUERIES, k=2)
    record("search_encoded_docs, k beyond the documents", rag.search_encoded_docs, QUERY)
    record("encode, a second time", rag.encode, TEXTS[4:6], verbose=False)
    late = [{"a": 1}, {"a": 2}]
    record("encode, a third time, with metadata", rag.encode, TEXTS[6:8], document_metadatas=late, verbose=False)
    record("search_encoded_docs, after that", rag.search_encoded_docs, QUERY, k=3)
    record("clear_encoded_docs", rag.clear_encoded_docs, force=True)
    record("search_encoded_docs after clear", rag.search_encoded_docs, QUERY, k=1)
    record("clear_encoded_docs, a second time", rag.clear_encoded_docs, force=True)


def with_metadata(record: Recorder, checkpoint: str, root: str) -> None:
    rag = RAGPretrainedModel.from_pretrained(checkpoint, index_root=root, verbose=0)
    metadata = [{"place": i} for i in range(4)]
    record("encode, with metadata", rag.encode, TEXTS[:4], document_metadatas=metadata, verbose=False)
    record("search_encoded_docs, with metadata", rag.search_encoded_docs, QUERY, k=2)
    record("search_encoded_docs, with metadata, three queries", rag.search_encoded_docs, QUERIES, k=2)
    record("encode, a second time, none after metadata", rag.encode, TEXTS[4:6], verbose=False)
    more = metadata[:2]
    record("encode, with metadata, a second time", rag.encode, TEXTS[4:6], document_metadatas=more, verbose=False)
    record("search_encoded_docs, all", rag.search_encoded_docs, QUERY, k=6)


def main() -> None:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        # Published checkpoints carry colbert-ai's whole configuration. Without these two keys, RAGatouille writes an
        # index to one folder and looks for it in another.
        where = {"root": "experiments", "experiment": "default"}
        checkpoint = str(build_tiny_xmod(Path(temporary) / "tiny", metadata=where))
        for part in (in_memory, with_metadata, indexing, deleting, deleting_a_string, splitting):
            record = Recorder()
            part(record, checkpoint, f"{temporary}/indexes")
            found[part.__name__] = json.loads(json.dumps(record.steps).replace(temporary, "ROOT"))
    made_by = versions("ragatouille", "colbert-ai", "transformers", "torch", "langchain", "langchain-core")
    amend("ragatouille_behaviour.json", made_by=made_by, **found)


if __name__ == "__main__":
    main()
