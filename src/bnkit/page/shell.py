"""The shell that every page stands in: `templates/shell.html`, filled by a page's own template.

A page's template extends `shell.html` and fills its blocks: `title`, `kicker`, `header` and `main`
(`skip` and `footer` have defaults). Macros for numbers lie in `parts.html`. `base.css`,
`colours.css` (the palette as variables --arm-0 … and classes colour-0 …, for both themes and print)
and `theme.js` (the theme's select, and the event "themechange" on `document`) are always there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from bnkit._files import write_atomically
from bnkit.errors import StoreError
from bnkit.page.embed import json_for_script, script_hash
from bnkit.page.palette import ARM_COLOURS, BACKGROUNDS

TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    folder: Path,
    template: str,
    *,
    sections: Sequence[tuple[str, str]] = (),
    style: str = "",
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    **context: Any,
) -> str:
    """Return a page as text that UTF-8 can write: halves of surrogate pairs become "?".

    Everything that the templates show is escaped; `style` and `scripts` are ours and are not.

    Args:
        folder: where the page's own templates lie; shared ones are found beside them.
        template: the page's template, which extends `shell.html`.
        sections: id and title of the sections that the page's navigation names.
        style: CSS after the shared one.
        scripts: JavaScript, run in this order after the shared `theme.js`.
        data: id → what the scripts read with JSON.parse(document.getElementById(id).textContent).
        context: what the template shows.
    """
    run = [(TEMPLATES / "theme.js").read_text(encoding="utf-8"), *scripts]
    text = (
        _environment(folder)
        .get_template(template)
        .render(
            sections=sections,
            base_style=(TEMPLATES / "base.css").read_text(encoding="utf-8"),
            style=style,
            colours=ARM_COLOURS,
            backgrounds=BACKGROUNDS,
            embedded={name: json_for_script(content) for name, content in (data or {}).items()},
            scripts=run,
            script_hashes=" ".join(script_hash(script) for script in run),
            **context,
        )
    )
    return text.encode("utf-8", errors="replace").decode("utf-8")


def render_fragment(folder: Path, template: str, **context: Any) -> str:
    """Return a piece of HTML without a shell, for a notebook's cell; all that it shows is escaped.

    Args:
        folder: where the template lies; shared ones are found beside it.
        template: its name.
        context: what it shows.
    """
    text = _environment(folder).get_template(template).render(**context)
    return text.encode("utf-8", errors="replace").decode("utf-8")


def write_page(page: str, path: Path, *, what: str = "page") -> Path:
    """Write a page; a reader of `path` never sees half of it.

    Args:
        page: its text.
        path: the HTML file; its folder is made if it is missing.
        what: what the page is, for the error message.

    Returns:
        `path`.

    Raises:
        StoreError: the file cannot be written; what stood there is untouched.
    """
    if path.is_dir():
        raise StoreError(
            f"cannot write the {what} to {path}, which is a folder",
            required="the path of a file",
            remedy="Name a file in it, such as page.html",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise StoreError(
            f"cannot write the {what} to {path} ({error.strerror or error})",
            required="the path of a file in a writable folder",
            remedy="Choose another path",
        ) from error
    return path


@cache
def _environment(folder: Path) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
