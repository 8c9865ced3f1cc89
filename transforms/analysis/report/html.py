"""Builds HTML in which every text is escaped unless it is marked as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

_VOID_ELEMENTS = ("img", "input")
# Control characters other than line breaks and tabs, surrogates, and characters that change the direction of text. They
# could disguise a name, so the page shows their code points.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")

_TAG = re.compile("<[^>]*>")


class Html(str):
    """A text that is already HTML. `escape` and `element` escape every other text."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Returns HTML that shows the text; `Html` is returned unchanged."""
    if isinstance(text, Html):
        return text
    visible = _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return Html(html.escape(visible, quote=True))


def element(tag: str, *children: str, **attributes: str | bool) -> Html:
    """Returns an element.

    Args:
        tag: name of the element.
        children: content in order; texts are escaped.
        attributes: values by name; True for an attribute without a value, False for none. Underscores in names become
            hyphens, and a trailing underscore is removed (`class_`).
    """
    written = ""
    for name, value in attributes.items():
        if value is not False:
            name = name.rstrip("_").replace("_", "-")
            written += f" {name}" if value is True else f' {name}="{escape(str(value))}"'
    inside = "".join(map(escape, children))
    return Html(f"<{tag}{written}>" + ("" if tag in _VOID_ELEMENTS else f"{inside}</{tag}>"))


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    text_columns: Sequence[int] = (),
    **attributes: str,
) -> Html:
    """Returns a table in an element that scrolls if the table is wider than the window, also with the keyboard.

    In a narrow window, the style sheet stacks the cells of a row, with the titles of their columns (`data-title`).

    Args:
        caption: title of the table.
        head: titles of the columns.
        rows: cells of each row; the first is the row's header.
        text_columns: numbers of the columns of text. The others are aligned as numbers.
        attributes: attributes of the outer element.
    """
    classes = ["text" if n in text_columns else False for n in range(len(head))]
    columns = [element("th", title, scope="col", class_=kind) for title, kind in zip(head, classes, strict=True)]
    body = []
    for first, *rest in rows:
        cells = [
            element("td", cell, class_=kind, data_title=_text(title))
            for title, cell, kind in zip(head[1:], rest, classes[1:], strict=True)
        ]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    content = element(
        "table", element("caption", caption), element("thead", element("tr", *columns)), element("tbody", *body)
    )
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption, **attributes)


def _text(title: str) -> str:
    return html.unescape(_TAG.sub("", title)).strip() if isinstance(title, Html) else title


def select(name: str, titles: Sequence[str], selected: int) -> Html:
    """Returns a drop-down list. The value of an option is the index of its title."""
    options = [element("option", title, value=str(n), selected=n == selected) for n, title in enumerate(titles)]
    return element("select", *options, id=name, autocomplete="off")


def definitions(values: Sequence[tuple[str, str]]) -> Html:
    """Returns a list of terms with their values."""
    return element("dl", *(element("div", element("dt", term), element("dd", value)) for term, value in values))
