"""Commands of `wav.scp` that only decode a file are that file; all others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.corpus.layouts.kaldi_commands import CommandError, Decoded, parse_command
from transforms.corpus.listing import ListingOptions
from transforms.corpus.sources import list_corpus, scan_corpus


@pytest.mark.parametrize(
    ("command", "decoded"),
    [
        ("flac -d -c a/b.flac", Decoded("a/b.flac")),
        ("flac -c -d -s a/b.flac", Decoded("a/b.flac")),
        ("flac -dcs a/b.flac", Decoded("a/b.flac")),
        ("flac --decode --stdout --silent --force a/b.flac", Decoded("a/b.flac")),
        ("flac -d -c -F -f --totally-silent a/b.flac", Decoded("a/b.flac")),
        ("/usr/bin/flac -c -d -s 'a dir/b c.flac' 2>/dev/null", Decoded("a dir/b c.flac")),
        ('flac -c -d -s "it\'s.flac" 2> /dev/null ', Decoded("it's.flac")),
        ("flac -d -c -- -b.flac", Decoded("-b.flac")),
        ("sph2pipe a.sph", Decoded("a.sph")),
        ("sph2pipe -f wav a.sph", Decoded("a.sph")),
        ("../../tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 1 a.sph", Decoded("a.sph", 0)),
        ("sph2pipe -f wav -p -c 2 a.sph", Decoded("a.sph", 1)),
        ("sph2pipe -fwav -c2 -p a.sph", Decoded("a.sph", 1)),
        ("sox a.mp3 -t wav -", Decoded("a.mp3")),
        ("sox -t mp3 a.mp3 -t wav -", Decoded("a.mp3")),
        ("sox -q -V1 --no-dither a.flac --type wav -", Decoded("a.flac")),
        ("sox a.flac -t wav - remix 2", Decoded("a.flac", 1)),
        ("cat a.wav", Decoded("a.wav")),
    ],
)
def test_a_command_that_only_decodes(command, decoded):
    assert parse_command(command) == decoded


@pytest.mark.parametrize(
    "command",
    [
        # Not a decoder, or not to the standard output.
        *("", "lame --decode a.mp3 -", "wav-copy x.ark:1 -", "flac -c a.wav", "flac -d a.flac", "flac -d -c", "cat"),
        *("flac -d -c a.flac b.flac", "sph2pipe a.sph b.wav", "sox a.flac b.wav", "cat a.wav b.wav", "cat -A a.wav"),
        *("flac -d -c -", "sox - -t wav -", "sox -t wav - -t wav -", "sox a.flac -", "sox -t wav -"),
        # Other samples.
        *("flac -d -c --skip=100 a.flac", "flac -d -c --until=5 a.flac", "flac -d -c --skip 5 a.flac"),
        *("flac -d -c -o x a.flac", "flac -d -c --force-raw-format --endian=little --sign=signed a.flac"),
        *("sph2pipe -t 1:2 a.sph", "sph2pipe -s 0:100 a.sph", "sph2pipe -u a.sph", "sph2pipe -a a.sph"),
        *("sph2pipe -f raw a.sph", "sph2pipe -c 3 a.sph", "sph2pipe -h x a.sph"),
        *("sox a.flac -r 8000 -t wav -", "sox a.flac -t wav -r 16000 -", "sox a.flac -t wav -r16k -"),
        *(
            "sox a.flac -c 1 -t wav -",
            "sox a.flac -b 8 -t wav -",
            "sox -v 0.5 a.flac -t wav -",
            "sox -t raw a -t wav -",
        ),
        *("sox a.flac -t wav - trim 0 5", "sox a.flac -t wav - rate 8000", "sox a.flac -t wav - channels 1"),
        *("sox a.flac -t wav - remix 1,2", "sox a.flac -t wav - remix 1 2", "sox a.flac -t wav - remix 0"),
        *("sox a.flac -t wav - remix 1 trim 0 1", "sox --norm a.flac -t wav -", "sox -G a.flac -t wav -"),
        *("sox -m a.flac b.flac -t wav -", "sox a.flac -e mu-law -t wav -", "sox a.flac -t raw -", "sox a.flac -n"),
        *("sox a.flac b.flac -t wav -", "sox a.flac -t wav - : trim 0 1", "sox a.flac -t"),
        # A shell.
        *("flac -d -c a.flac | sox - -r 8000 -t wav -", "flac -d -c $X/a.flac", "flac -d -c `ls`", "cat a.wav; rm b"),
        *(
            "flac -d -c a.flac > b",
            "cat < a.wav",
            "cat a.wav && true",
            "flac -d -c *.flac",
            "cat ~/a.wav",
            "cat {a,b}.wav",
        ),
        *("(cat a.wav)", "cat 'a.wav", "flac -d -c a.flac 2>log", "cat a.wav &"),
    ],
)
def test_a_command_that_may_change_the_audio_is_refused(command):
    with pytest.raises(CommandError, match="list that file"):
        parse_command(command)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.flac", "b.sph", "c d.mp3"):
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "wav.scp").write_text(
        "a flac -c -d -s a.flac |\nb sph2pipe -f wav -p -c 2 b.sph |\nc sox 'c d.mp3' -t wav - |\n"
    )
    return tmp_path


def test_commands_are_read_as_their_files_with_the_channel(data):
    assert [(ref.utterance_id, Path(ref.uri).name, ref.channel, ref.size_bytes) for ref in list_corpus(str(data))] == [
        ("a", "a.flac", None, 5),
        ("b", "b.sph", 1, 5),
        ("c", "c d.mp3", None, 5),
    ]


def test_a_segment_of_a_command_has_its_channel(data):
    (data / "segments").write_text("u1 b 0 1\nu2 b 0 1 0\nu3 b 0 1 1\nu4 a 0 1 1\n")
    corpus = scan_corpus(str(data), ListingOptions(is_strict=False))
    assert [(ref.utterance_id, ref.channel) for ref in corpus.refs if not ref.fault] == [
        ("u1", 1),
        ("u2", 1),
        ("u4", 1),
    ]
    assert (
        "the segment has the channel 1; the command of its recording selects only one" in corpus.faulty[0].fault.detail
    )


def test_a_command_of_lhotse_is_read_as_its_file(data):
    source = {"type": "command", "channels": [0], "source": "sph2pipe -f wav -p -c 2 b.sph |"}
    (data / "recordings.jsonl").write_text(
        f'{{"id": "r", "sources": [{source}], "sampling_rate": 8000}}'.replace("'", '"')
    )
    (ref,) = list_corpus(str(data / "recordings.jsonl"))
    assert (Path(ref.uri).name, ref.channel) == ("b.sph", 1)
