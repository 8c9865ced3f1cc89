"""Utterances that a format of manifests cannot list are refused."""

from __future__ import annotations

import pytest

from tests.support.kept_lists import list_all, of_channel
from tests.support.outputs import scored
from transforms.curation.manifest_formats import FORMATS, refusal

SPAN = scored("s", 4.0, start_s=1.0)
LEFT_CHANNEL = of_channel(scored("l", 4.0), 2, 0)


@pytest.mark.parametrize(
    ("item", "format", "message"),
    [
        (SPAN, "paths", "cannot list spans of a recording"),
        (SPAN, "webdataset", "can only list recordings in tar archives"),
        (LEFT_CHANNEL, "paths", "cannot select one channel"),
        (scored("a\nb", 4.0), "paths", "cannot hold a path with a line break"),
        (scored("a ", 4.0), "paths", "begins or ends with a blank"),
        (scored("a b", 4.0), "kaldi", "an id or speaker with white space"),
        (scored("a", 4.0, uri="/data/cat x |"), "kaldi", "as a command"),
        (scored("a", 4.0, uri="/data/feats.ark:12"), "kaldi", "an offset in an archive"),
        (scored("a\tb", 4.0), "tsv", "cannot hold a tab or a line break"),
        (scored("a", 4.0), "webdataset", "can only list recordings in tar archives"),
        (scored("p", 4.0, uri="/data/x.parquet#1"), "webdataset", "can only list recordings in tar archives"),
        *[
            (scored("t", 4.0, uri="/data/x.tar#1.wav"), format, "cannot point into an archive")
            for format in FORMATS
            if format != "webdataset"
        ],
    ],
)
def test_a_format_refuses_what_it_cannot_list(tmp_path, item, format, message):
    kept = list_all(tmp_path / "out", [item, scored("zz", 4.0)], has_spans=item is SPAN)
    reason = refusal(kept, format)
    assert message in reason
    assert reason.startswith(format)
    assert f"for example {item.utterance.ref.utterance_id!r}" in reason


def test_kaldi_refuses_a_speaker_with_a_blank(tmp_path):
    items = [scored("a", 4.0, columns={"speaker": "x y"}), scored("b", 4.0, columns={"speaker": "z"})]
    kept = list_all(tmp_path / "out", items, ["speaker"])
    message = refusal(kept, "kaldi")
    assert "an id or speaker with white space; this concerns 1 of the kept utterances, for example 'a'" in message


def test_plain_recordings_fit_every_format_of_files(tmp_path):
    kept = list_all(tmp_path / "out", [scored("a.wav", 4.0)])
    assert [name for name in FORMATS if refusal(kept, name) is None] == [
        name for name in FORMATS if name != "webdataset"
    ]
