"""Names of files that lie beside recordings but hold no sound."""

from __future__ import annotations

import re

from transforms.errors import Stage

# Hidden files, files of Windows, and suffixes of texts, annotations, pictures, documents, programs and checksums. The syntax is
# that of Python and of RE2, which DuckDB uses. Suffixes that may belong to sound, such as .bin, .raw and .zip, are left out.
_SUFFIXES = (
    "txt|md|rst|log|csv|tsv|jsonl?|ya?ml|toml|ini|cfg|xml|html?|css|js|py|sh|ipynb|lock|"
    "lab|textgrid|eaf|trn|phn|wrd|trs|stm|ctm|rttm|srt|vtt|tei|"
    "png|jpe?g|gif|bmp|tiff?|webp|svg|ico|heic|pdf|docx?|xlsx?|pptx?|odt|ods|rtf|tex|"
    "md5|sha1|sha256|sha512|par2|torrent|nfo|url|db|sqlite|bak|tmp"
)
OTHER_FILE = re.compile(
    rf"(?i)(?:^|[/#])(?:\.[^/]*|thumbs\.db|desktop\.ini|licen[cs]e|readme)$|\.(?:{_SUFFIXES})(?:\.gz)?$"
)
# SQL condition on a row of `rejects`: the input is an other file. A faulty row of a manifest is a recording.
IS_OTHER_FILE = f"(stage <> '{Stage.LIST}' AND regexp_matches(uri, '{OTHER_FILE.pattern}'))"
