"""HTML, notebooks, PDF and Word files as text: never as markup or base64."""

from __future__ import annotations

import base64
import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

from ragatouille_xm.cli.files.options import Format
from ragatouille_xm.errors import MissingExtraError

from .reading import read, reader, refusal, write

PICTURE = base64.b64encode(bytes(range(256)) * 9).decode()
PAGE = f"""<!DOCTYPE html>
<html><head><title>La  bibliothèque</title><style>p {{color: red}}</style><script>alert("x")</script></head>
<body><h1>Où ?</h1><p>Au <b>bord</b>&nbsp;de la ri<i>viè</i>re. 図<b>書</b>館</p><p>Entrée&nbsp;: 2&nbsp;€</p>
<ul><li>lundi</li><li>mardi</li></ul><table><tr><td>9 h</td><td>18 h</td></tr></table>
<img src="data:image/png;base64,{PICTURE}" alt=""><svg><text>icon</text></svg><!-- comment --><noscript>no</noscript>
<template>hidden</template></body></html>"""
EXTRAS = {Format.HTML: "inscriptis", Format.PDF: "pypdf", Format.DOCX: "docx"}


def pdf(*lines: str) -> bytes:
    """Return a PDF file with a line of text a page."""
    pages = len(lines)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {pages} /Kids [{' '.join(f'{4 + 2 * i} 0 R' for i in range(pages))}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, line in enumerate(lines):
        stream = f"BT /F1 12 Tf 72 720 Td ({line}) Tj ET" if line else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream.encode('cp1252'))} >>\nstream\n{stream}\nendstream")
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def docx() -> bytes:
    module = pytest.importorskip("docx")
    document = module.Document()
    document.add_heading("Öffnungszeiten")
    document.add_paragraph("Das Museum ist ").add_run("montags").bold = True
    table = document.add_table(2, 2)
    for i, cell in enumerate(c for row in table.rows for c in row.cells):
        cell.text = f"Zelle {i}"
    table.rows[0].cells[0].merge(table.rows[0].cells[1])
    document.add_paragraph("Ende.")
    document.save(file := io.BytesIO())
    return file.getvalue()


def notebook(**changes: object) -> str:
    cells = [
        {"cell_type": "markdown", "source": ["# Trains\n", f"![map](data:image/png;base64,{PICTURE})"],
         "attachments": {"a.png": {"image/png": PICTURE}}},
        {"cell_type": "code", "source": "plot(trains)", "outputs": [{"data": {"image/png": PICTURE}}]},
        {"cell_type": "raw", "source": "\\latex"},
        {"cell_type": "code", "source": [], "outputs": []},
    ]  # fmt: skip
    return json.dumps({"cells": cells, "nbformat": 4, **changes})


# HTML


@pytest.mark.parametrize("name", ["page.html", "page.htm", "PAGE.HTML", "page.xhtml", "page", "page.txt", "page.php"])
def test_a_page_is_its_text_whatever_its_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("inscriptis")
    [document] = read(write(tmp_path / name, PAGE), base=tmp_path)
    assert document.document_id == name
    lines = [" ".join(line.split()) for line in document.text.splitlines() if line.strip()]
    assert lines == [
        "La bibliothèque", "Où ?", "Au bord de la rivière. 図書館", "Entrée : 2 €", "* lundi", "* mardi", "9 h 18 h",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("iso-8859-1", "cp1252"), ("Shift_JIS", "shift_jis"), ("gb2312", "gb18030"), ("utf-8", "utf-8"), ("x", "utf-8")],
)
def test_a_page_may_declare_its_encoding(tmp_path: Path, declared: str, encoding: str) -> None:
    pytest.importorskip("inscriptis")
    text = {"cp1252": "café – €", "utf-8": "café"}.get(encoding, "図書")
    for meta in (f'<meta charset="{declared}">', f'<meta content="text/html; charset={declared}" http-equiv=x>'):
        file = write(tmp_path / "t.html", f"<html><head>{meta}</head><body>{text}</body>".encode(encoding))
        assert read(file)[0].text == text
    assert read(file, encoding=encoding)[0].text == text


def test_odd_pages(tmp_path: Path) -> None:
    pytest.importorskip("inscriptis")
    declared = '<?xml version="1.0" encoding="utf-8"?>\n<!-- a --><!DOCTYPE html><html><body>é</body></html>'
    for content, expected in {declared: "é", "<p>un<p>deux": "un\n\ndeux", "just text": "just text"}.items():
        assert read(write(tmp_path / "t.html", content))[0].text == expected
    assert read(write(tmp_path / "t.txt", declared))[0].text == "é"
    for content in ("", "<html></html>", "<script>x</script>"):
        assert "There is no text in" in refusal(write(tmp_path / "t.html", content))
    assert read(write(tmp_path / "deep.html", "<div>" * 600 + "x"))[0].text.strip() == "x"


# notebooks


def test_a_notebook_is_the_sources_of_its_cells(tmp_path: Path) -> None:
    assert read(write(tmp_path / "t.ipynb", notebook()))[0].text == "# Trains\n![map]()\n\nplot(trains)"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"worksheets": []}', '{"cells": [1]}', '{"cells": 7}'])
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str) -> None:
    assert "t.ipynb' is not a Jupyter notebook of format 4." in refusal(write(tmp_path / "t.ipynb", content))


# PDF and Word


@pytest.mark.parametrize("name", ["t.pdf", "t", "t.txt"])
def test_a_pdf_is_the_text_of_its_pages(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pypdf")
    file = write(tmp_path / name, pdf("La bibliothèque", "", "est ouverte."))
    assert read(file, base=tmp_path)[0].document_id == name
    assert read(file)[0].text == "La bibliothèque\n\nest ouverte."


def test_a_scan_has_no_text(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    write(tmp_path / "scan.pdf", pdf("", ""))
    write(tmp_path / "good.txt", "good")
    files = reader(tmp_path)
    assert [d.text for d in files] == ["good"]
    assert files.skipped.named == {"without text": [f"'{tmp_path}/scan.pdf' has no text."]}


def test_a_word_document_is_its_paragraphs_and_tables(tmp_path: Path) -> None:
    text = read(write(tmp_path / "t.docx", docx()))[0].text
    assert text == "Öffnungszeiten\nDas Museum ist montags\nZelle 0 Zelle 1\nZelle 2\tZelle 3\nEnde."


def test_files_that_are_damaged_are_skipped_by_name(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    with zipfile.ZipFile(tmp_path / "other.docx", "w") as archive:
        archive.writestr("x", "x")
    write(tmp_path / "half.docx", docx()[:500])
    write(tmp_path / "half.pdf", pdf("text")[:60])
    write(tmp_path / "no.pdf", "no")
    write(tmp_path / "good.txt", "good")
    files = reader(tmp_path)
    assert [d.text for d in files] == ["good"]
    assert files.skipped.counts == {"damaged": 4}
    named = " ".join(files.skipped.named["damaged"])
    for name in ("other.docx' cannot be read as a Word document (", "half.docx'", "half.pdf' cannot be read as PDF ("):
        assert name in named


def test_standard_input_may_be_any_of_these(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypdf")
    contents = {Format.PDF: pdf("text"), Format.DOCX: docx(), Format.HTML: PAGE.encode(), None: PAGE.encode()}
    for given, content in contents.items():
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert len(read("-", format=given)) == 1


# markup that is not read


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("t.rtf", "{\\rtf1 text}", "RTF"),
        ("t.svg", "<svg></svg>", "SVG"),
        ("t.xml", "<a>text</a>", "XML"),
        ("t.eml", "Subject: x", "an e-mail"),
        ("t.mhtml", "From: x", "MHTML"),
        ("t", "{\\rtf1 text}", "RTF"),
        ("t.doc", "{\\rtf1 text}", "RTF"),
        ("t.kml", '<?xml version="1.0"?><kml/>', "XML"),
        ("t.txt", "<svg xmlns='x'></svg>", "XML"),
        ("t.txt", "%!PS-Adobe-3.0\n", "PostScript"),
        ("t.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n", "a key or a certificate"),
        ("t.txt", f"From: a\nSubject: b\n c\nMIME-Version: 1.0\n\n{PICTURE}", "an e-mail"),
    ],
)
def test_other_markup_is_refused_and_skipped(tmp_path: Path, name: str, content: str, kind: str) -> None:
    file = write(tmp_path / name, content)
    assert f"{name}' is {kind}, not text. Convert it to text or HTML first." in refusal(file)
    write(tmp_path / "good.txt" if name != "good.txt" else tmp_path / "a.txt", "good")
    files = reader(tmp_path)
    assert [d.text for d in files] == ["good"]
    assert files.skipped.counts == {"markup": 1}
    if not name.endswith(("rtf", "svg", "xml", "eml", "mhtml")):
        assert read(file, format=Format.TEXT)[0].text == content, "the user's word goes first"


def test_text_about_markup_is_text(tmp_path: Path) -> None:
    for content in ("The tag <html> begins a page.", "# <svg>", "MIME-Version: what?", "<p align=center>x</p>\n# y"):
        assert read(write(tmp_path / "t.md", content))[0].text == content


def test_pictures_within_text_are_left_out(tmp_path: Path) -> None:
    uri = f"data:image/svg+xml;charset=utf-8;base64,{PICTURE}"
    file = write(tmp_path / "t.md", f"Before ![x]({uri}) after, base64, data:")
    assert read(file)[0].text == "Before ![x]() after, base64, data:"


# the extra


@pytest.mark.parametrize("format", EXTRAS)
def test_without_the_extra_files_are_skipped_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Format
) -> None:
    content = {Format.HTML: PAGE.encode(), Format.PDF: pdf("x"), Format.DOCX: b"PK\3\4"}[format]
    file = write(tmp_path / f"t.{format}", content)
    write(tmp_path / "good.txt", "good")
    monkeypatch.setitem(sys.modules, EXTRAS[format], None)
    with pytest.raises(MissingExtraError, match=r't\.\w+\': reading .* pip install "ragatouille-xm\[files\]"'):
        read(file)
    with pytest.raises(MissingExtraError):
        read(tmp_path, strict=True)
    files = reader(tmp_path)
    assert [d.text for d in files] == ["good"]
    assert files.skipped.counts == {"without its extra": 1}
    assert 'pip install "ragatouille-xm[files]"' in files.skipped.named["without its extra"][0]
