"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import re

from docutils.nodes import SkipNode, math, math_block
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

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
autodoc_default_options = {"members": True}
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "restore_hub"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

# The order of the site; `index.md` itself stays readable on GitHub.
CONTENTS = {
    "Learn": ("tutorial", "plugin-tutorial", "concepts", "demo", "troubleshooting"),
    "How to": (
        "how-to/deploy",
        "how-to/raw",
        "how-to/verify",
        "how-to/evaluate",
        "how-to/training",
        "how-to/forecast",
        "how-to/solvers",
        "how-to/report",
        "how-to/tracking",
        "how-to/ports",
        "how-to/extend",
        "how-to/write-task",
        "how-to/write-solver",
        "how-to/solve-for-pictures",
    ),
    "Reference": (
        "reference/spec",
        "reference/spec-keys",
        "reference/components",
        "reference/commands",
        "reference/api",
        "reference/errors",
    ),
}
API = [f"api/{name}" for name in ("restore_hub", "contracts", "testing", "bilevel", "errors")]
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!how-to/|reference/|images/)[\w.-]+/[^)#]*|[A-Z]+(?:\.md)?)\)")
SECTION = re.compile(r"[A-Z][A-Za-z, ]*:$")


def add_contents(app: Sphinx, page: str, text: list[str]) -> None:
    """Add the tables of contents, hidden on the page and shown in the sidebar."""
    tables = CONTENTS if page == "index" else {"": API} if page == "reference/api" else {}
    for caption, pages in tables.items():
        lines = ("", "```{toctree}", ":hidden:", f":caption: {caption}" * bool(caption), "", *pages, "```", "")
        text[0] += "\n".join(lines)


def name_outside_files(app: Sphinx, page: str, text: list[str]) -> None:
    """Turn links to files outside of `docs/`, which GitHub can follow and the site can't, into their paths."""

    def path(link: re.Match[str]) -> str:
        return link[1] if link[1].strip("`") == link[2] else f"{link[1]} (`{link[2]}`)"

    text[0] = OUTSIDE.sub(path, text[0])


def as_plain_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let docstrings say |x| and a * b without markup, and keep the lines of formulas and examples as they are."""
    out: list[str] = []
    section = verbatim = False
    for line in lines:
        indented, after_blank = line.startswith("    "), not out or not out[-1].strip()
        before = next((other for other in reversed(out) if other.strip()), "")
        if line.startswith(">>>"):
            verbatim = True
        elif line.strip() and not indented and after_blank:
            verbatim = line.startswith(".. ")
        if line.strip() and not indented:
            section = bool(SECTION.match(line))
        if indented and after_blank and not section and not verbatim:
            out += [] if before.endswith("::") else ["::", ""]
            verbatim = True
        out.append(line if verbatim else _escape(line))
    lines[:] = out


def _escape(line: str) -> str:
    parts = line.split("`")  # every other part is code
    return "`".join(re.sub(r"([|*])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts))


def of_interest(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out what Python itself writes of each field of a named tuple: `None` leaves the rest to autodoc."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def named_arguments(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Show no signature where it names nothing, as of the contracts."""
    return ("", "") if signature == "(*args, **kwargs)" else None


def as_mathml(site: HTML5Translator, node: math | math_block) -> None:
    """Write a formula as MathML, which browsers know, so that the site loads no program to draw it."""
    formula = re.sub(r"\\[Bb]ig+(?![a-z])", "", node.astext())  # sizes of brackets, which MathML finds by itself
    site.body.append(tex2mathml(formula, as_block=isinstance(node, math_block)))
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Register what stands above."""
    app.connect("source-read", add_contents)
    app.connect("source-read", name_outside_files)
    app.add_html_math_renderer("mathml", (as_mathml, None), (as_mathml, None))
    app.connect("autodoc-skip-member", of_interest)
    app.connect("autodoc-process-signature", named_arguments)
    app.connect("autodoc-process-docstring", as_plain_text, priority=400)  # before napoleon
