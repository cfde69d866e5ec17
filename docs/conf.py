"""Sphinx configuration of the documentation."""

from skeleton_transformers import __version__


project = "skeleton_transformers"
author = "The skeleton_transformers authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "skeleton_transformers"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Docstrings are Markdown in the manner of transformers: single backticks are code.
default_role = "code"
suppress_warnings = ["myst.xref_missing", "ref.python"]
napoleon_use_ivar = True  # fields documented once, in the docstring of their class


def fences_to_directives(app, what, name, obj, options, lines):
    """Examples in docstrings stand between Markdown fences, which reStructuredText does not know."""
    converted, inside = [], False
    for line in lines:
        fence = line.lstrip().startswith("```")
        if fence and not inside:
            converted += ["", f".. code-block:: {line.strip().removeprefix('```') or 'text'}", ""]
        elif not fence:
            converted.append(f"   {line}" if inside else line)
        inside ^= fence
    lines[:] = [*converted, ""]


def setup(app):
    app.connect("autodoc-process-docstring", fences_to_directives)
