"""The index: what it refuses, and that nothing is lost then."""

from __future__ import annotations

import asyncio
import copy
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from llama_index.core import Document, StorageContext
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.retrievers.ragatouille_xm import RagatouilleXMIndex

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError

from .conftest import in_folder, long_document, texts


def test_what_cannot_be_stored_leaves_everything_as_it_was(
    index: RagatouilleXMIndex, empty: RAGPretrainedModel, tmp_path: Path
) -> None:
    bad = [TextNode(id_="ok", text="Bread."), TextNode(id_="bad", text="River.", metadata={"path": {1, 2}})]
    with pytest.raises(ValueError, match="Metadata 'path' has a value that cannot be stored: a set"):
        index.insert_nodes(bad)
    with pytest.raises(ValueError, match="Metadata 'path'"):
        asyncio.run(index.ainsert_nodes(bad))
    assert not index.docstore.document_exists("ok")
    assert "ok" not in in_folder(index)

    index.insert_nodes([TextNode(id_="ok", text="Before.")])
    with pytest.raises(ValueError, match="Metadata 'path'"):
        index.insert_nodes(bad)
    assert index.docstore.get_document("ok").text == "Before."

    context = StorageContext.from_defaults()
    with pytest.raises(ValueError, match="Metadata 'path'"):
        RagatouilleXMIndex(bad, model=empty, index_name="never", storage_context=context)
    assert not context.docstore.docs
    assert not empty.catalog.path("never").exists()


def test_a_refused_insertion_leaves_the_document_store_as_it_was(index: RagatouilleXMIndex) -> None:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
    nodes = [TextNode(id_=each, text=f"Bread {each}.", relationships=source) for each in ("c", "a", "b")]
    index.insert_nodes(nodes)
    index.docstore.set_document_hash("doc", "its hash")
    before = copy.deepcopy(index.docstore.to_dict())
    bad = TextNode(id_="bad", text="River.", metadata={"day": timedelta(1)}, relationships=source)
    for change in (
        lambda: index.insert_nodes([*nodes[:2], bad]),
        lambda: index.insert_nodes([TextNode(id_=each, text="New.") for each in "cab"] + [bad]),
        lambda: asyncio.run(index.ainsert_nodes([nodes[0], bad])),
    ):
        with pytest.raises(InputError, match="Metadata 'day'"):
            change()
        assert index.docstore.to_dict() == before
        assert index.ref_doc_info["doc"].node_ids == ["c", "a", "b"]


def test_a_refused_update_loses_nothing(index: RagatouilleXMIndex) -> None:
    before, stored = texts(index), copy.deepcopy(index.docstore.to_dict())
    bad = Document(text="Das Brot.", id_="de", metadata={"day": timedelta(1)})
    with pytest.raises(InputError, match="Metadata 'day'"):
        index.update_ref_doc(bad)
    with pytest.raises(InputError, match="Metadata 'day'"):
        asyncio.run(index.aupdate_ref_doc(bad))
    too_long = Document(text="Das Brot.", id_="de", metadata={"long": "x " * 3000})  # the splitter refuses it
    with pytest.raises(ValueError, match="Metadata length"):
        index.update_ref_doc(too_long)
    assert (texts(index), index.docstore.to_dict()) == (before, stored)

    changed = [Document(text="Le pain.", id_="fr"), bad, Document(text="Bread.", id_="en")]
    for refresh in (index.refresh_ref_docs, lambda documents: asyncio.run(index.arefresh_ref_docs(documents))):
        with pytest.raises(InputError, match="Metadata 'day'"):
            refresh(changed)
        assert texts(index) == before | {"fr": "Le pain."}
    assert index.refresh_ref_docs([changed[0], changed[2]]) == [False, True]


def test_an_update_replaces_nodes_metadata_and_hash(empty: RAGPretrainedModel) -> None:
    by_document = [TokenTextSplitter(chunk_size=64, chunk_overlap=0, id_func=lambda i, document: f"{document.id_}-{i}")]
    index = RagatouilleXMIndex.from_documents([long_document("a", 30)], model=empty, transformations=by_document)
    many = len(in_folder(index))
    short = Document(text="Only this.", id_="a", metadata={"year": 2026})
    index.update_ref_doc(short)
    assert many > 3
    assert in_folder(index) == set(index.index_struct.nodes_dict) == set(index.docstore.docs) == {"a-0"}
    assert index.ref_doc_info["a"].metadata == {"year": 2026}
    assert index.refresh_ref_docs([short]) == [False]
    index.update_ref_doc(Document(text="Never seen before.", id_="b"))
    assert set(index.ref_doc_info) == {"a", "b"}


def test_what_the_document_store_refuses_builds_no_folder(empty: RAGPretrainedModel) -> None:
    with pytest.raises(ValueError, match="obj is not serializable"):
        RagatouilleXMIndex([IndexNode(text="Link.", index_id="i", obj=object())], model=empty, index_name="never")
    assert not empty.catalog.path("never").exists()


def test_unusable_parameters(empty: RAGPretrainedModel, index: RagatouilleXMIndex) -> None:
    with pytest.raises(ValueError, match="model is a str"):
        RagatouilleXMIndex([], model="colbert")
    with pytest.raises(ValueError, match="cannot be a folder's name"):
        RagatouilleXMIndex([], model=empty, index_name="a/b")
    with pytest.raises(ValueError, match=r"RagatouilleXMIndex has no options \['embed_model'\]"):
        RagatouilleXMIndex([], model=empty, embed_model="default")
    with pytest.raises(ValueError, match="similarity_top_k=0"):
        index.as_retriever(similarity_top_k=0)
    with pytest.raises(ValueError, match="node_ids has 7: give a list of strings"):
        index.delete_nodes(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="A query is blank"):
        index.as_retriever().retrieve(" ")
    with pytest.raises(ValueError, match="its id is the name of its folder"):
        index.set_index_id("other")
    shutil.rmtree(empty.catalog.path("news"))
    with pytest.raises(ValueError, match="indexes.*news"):
        index.as_retriever().retrieve("book")
