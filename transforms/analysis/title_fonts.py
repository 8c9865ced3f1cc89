"""Finds fonts of this machine for letters of a title that Matplotlib's own font lacks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

# Matplotlib brings this font. It has Latin, Greek, Cyrillic and Arabic letters, among others.
OWN_FONT = "DejaVu Sans"
BOX = "\u25a1"


@dataclasses.dataclass(frozen=True)
class FontChoice:
    """The fonts for a text.

    Attributes:
        families: names of the fonts; a letter is drawn in the first font that has it.
        missing: letters that no font has, each once, in their order.
    """

    families: Sequence[str]
    missing: str

    def drawable(self, text: str) -> str:
        """Returns the text with a box for each letter that no font has."""
        return text.translate({ord(letter): BOX for letter in self.missing})

    @property
    def hint(self) -> str:
        """Advice for the user if letters are missing; otherwise empty."""
        if not self.missing:
            return ""
        return (
            f"no font of this machine has {self.missing!r}, so the title shows boxes; install a font for this script, such as "
            "one of the Noto fonts"
        )


def choose_fonts(text: str, files: Sequence[str] | None = None) -> FontChoice:
    """Chooses fonts for a text, as few as possible. Fonts are only searched if Matplotlib's own font lacks a letter.

    Args:
        text: the text.
        files: paths of fonts to choose from; by default those that are installed on this machine.
    """
    own = FT2Font(font_manager.findfont(OWN_FONT))
    missing = dict.fromkeys(letter for letter in text if not letter.isspace() and not _has(own, letter))
    families = [OWN_FONT]
    fonts = _open(font_manager.findSystemFonts() if missing and files is None else files or []) if missing else []
    while missing and fonts:
        best = max(fonts, key=lambda font: (sum(_has(font, letter) for letter in missing), *_preference(font)))
        found = [letter for letter in missing if _has(best, letter)]
        if not found:
            break
        families.append(_register(best))
        for letter in found:
            del missing[letter]
    return FontChoice(families, "".join(missing))


def _open(files: Sequence[str]) -> list[FT2Font]:
    """Opens fonts, in the order of their paths. Damaged fonts and pictures of letters, which cannot be drawn, are left out."""
    fonts = []
    for path in sorted(files):
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError, ValueError):
            continue
        if font.scalable:
            fonts.append(font)
    return fonts


def _has(font: FT2Font, letter: str) -> bool:
    return font.get_char_index(ord(letter)) != 0


def _preference(font: FT2Font) -> tuple[bool, bool]:
    """Returns a key that is larger for upright regular fonts, and for those without serifs."""
    return font.style_name in ("Regular", "Book", "Medium"), "sans" in font.family_name.lower()


def _register(font: FT2Font) -> str:
    """Makes a font known to Matplotlib, and returns the name of its family."""
    path = os.fsdecode(font.fname)
    if not any(entry.fname == path for entry in font_manager.fontManager.ttflist):
        font_manager.fontManager.addfont(path)
    (entry, *_) = [entry for entry in font_manager.fontManager.ttflist if entry.fname == path]
    return entry.name
