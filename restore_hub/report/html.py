"""HTML as a tree, so that every tag is closed and every text escaped, and pages that need no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from xml.etree import ElementTree

Node = ElementTree.Element
Child = Node | str | None


def element(tag: str, attributes: dict[str, str] | None = None, *children: Child) -> Node:
    """Return `<tag>` with its attributes and children, leaving out children that are `None`.

    Texts are escaped when the page is written.
    """
    node = ElementTree.Element(tag, attributes or {})
    last: Node | None = None
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            if last is None:
                node.text = (node.text or "") + child
            else:
                last.tail = (last.tail or "") + child
        else:
            node.append(child)
            last = child
    return node


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], kind: str = "") -> Node:
    """Return a table in a box that scrolls by itself; the first cell of each row is its heading.

    Args:
        head: titles of the columns.
        rows: cells.
        kind: `numbers` aligns all columns but the first to the right; `compact` has low rows.
    """
    titles = element("tr", {}, *(element("th", {"scope": "col"}, title) for title in head))
    body = [
        element("tr", {}, element("th", {"scope": "row"}, row[0]), *(element("td", {}, cell) for cell in row[1:]))
        for row in rows
    ]
    inner = element("table", {"class": kind} if kind else {}, element("thead", {}, titles), element("tbody", {}, *body))
    return element(
        "div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": head[0] or "table"}, inner
    )


def section(title: str, *children: Child) -> Node:
    """Return a section that the page's list of contents links to."""
    return element("section", {"id": anchor(title)}, element("h2", {}, title), *children)


def note(text: str) -> Node:
    """Return a paragraph in small print."""
    return element("p", {"class": "note"}, text)


def anchor(title: str) -> str:
    """Return the id of a section."""
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def page(title: str, head: Sequence[Child], sections: Sequence[Node]) -> bytes:
    """Return a whole page in UTF-8, with its style and script inside and a policy that forbids anything else.

    Args:
        title: of the document.
        head: goes above the list of contents.
        sections: made by `section`.
    """
    style, script = (files("restore_hub.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    links = [
        element("a", {"href": f"#{part.attrib['id']}"}, part[0].text or "")
        for part in sections
        if part.tag == "section"
    ]
    document = element(
        "html",
        {"lang": "en"},
        element(
            "head",
            {},
            element("meta", {"charset": "utf-8"}),
            element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
            element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            element("meta", {"name": "color-scheme", "content": "light dark"}),
            element("title", {}, title),
            element("style", {}, style),
        ),
        element(
            "body",
            {},
            element("header", {}, *head, element("nav", {"aria-label": "Contents"}, *links)),
            element("main", {}, *sections),
            element("script", {}, script),
        ),
    )
    text = ElementTree.tostring(document, encoding="unicode", method="html")
    return ("<!DOCTYPE html>\n" + text + "\n").encode("utf-8", "replace")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
