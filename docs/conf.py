"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import restore_hub

project = "restore_hub"
author = "the authors of restore_hub"
release = restore_hub.__version__
copyright = "Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
default_role = "code"  # docstrings write `name` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures on the page stay short; docstrings say what each argument is
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = False

html_theme = "furo"
html_title = "restore_hub"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!how-to/|reference/|images/)[\w.-]+/[^)#]*|[A-Z]+(?:\.md)?)\)")
SECTION = re.compile(r"[A-Z][A-Za-z, ]*:$")


def name_outside_files(app: Sphinx, page: str, text: list[str]) -> None:
    """Turn links to files outside of `docs/`, which GitHub can follow and the site can't, into their paths."""

    def path(link: re.Match[str]) -> str:
        return link[1] if link[1].strip("`") == link[2] else f"{link[1]} (`{link[2]}`)"

    text[0] = OUTSIDE.sub(path, text[0])


def as_plain_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let docstrings say |x| and a * b without markup, and keep the lines of an indented formula."""
    out: list[str] = []
    section = formula = False
    for line in lines:
        indented, after_blank = line.startswith("    "), not out or not out[-1].strip()
        if line.strip() and not indented:
            section, formula = bool(SECTION.match(line)), False
        if indented and after_blank and not section and not formula:
            out += ["::", ""]
            formula = True
        out.append(line if formula else _escape(line))
    lines[:] = out


def _escape(line: str) -> str:
    parts = line.split("`")  # every other part is code
    return "`".join(re.sub(r"([|*])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts))


def setup(app: Sphinx) -> None:
    """Register the two hooks."""
    app.connect("source-read", name_outside_files)
    app.connect("autodoc-process-docstring", as_plain_text, priority=400)  # before napoleon
