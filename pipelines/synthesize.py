"""`audiosieve synthesize`: makes a labelled training set in Parquet from clean speech, noise and degradations."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from model.labels import LABEL_SCALES
from pipelines.common.argument_types import (
    fraction,
    names_of,
    number,
    number_range,
    positive_int,
    ranges,
    seed,
)
from pipelines.common.arguments import Dependent, Parser, check_effects, parse_with_beam
from pipelines.common.errors import command
from pipelines.common.output_lock import output_lock
from pipelines.common.runners import beam_options
from pipelines.experiments.material import add_material_options
from pipelines.experiments.synthesis import build, commit
from pipelines.experiments.synthesis_setup import SynthesizeOptions, check_empty, set_up
from transforms.synthesis.degradations.kinds import DEGRADATIONS, DegradationError, parse_degradations
from transforms.synthesis.labels.teachers import TEACHERS
from transforms.synthesis.speech_variation import VOICE_SPEED


@command("synthesize")
def run(argv: Sequence[str]) -> int:
    """Makes the set; the exit status is 1 if no clip could be made."""
    started = time.monotonic()
    options, beam_arguments = parse(argv)
    runner, pipeline_options = beam_options(beam_arguments)
    synthesis = set_up(options)
    with output_lock(synthesis.ledger.root) as lock:
        check_empty(synthesis.ledger)  # again, as another process may have finished in between
        synthesis.ledger.remove_debris()
        print(f"making {synthesis.clips} clips from {len(synthesis.materials)} recordings ...", file=sys.stderr)
        with beam.Pipeline(runner=runner, options=pipeline_options) as root:
            build(root, synthesis)
        record = commit(synthesis, options.as_record(), time.monotonic() - started, lock.check)
    print(_summary(record, synthesis.ledger.root))
    if not record["counts"]["clips"]:
        print(
            f"audiosieve synthesize: no clip could be made; {synthesis.ledger.root}/rejects has the reasons",
            file=sys.stderr,
        )
        return 1
    return 0


def _summary(record: dict[str, Any], output: str) -> str:
    counts, references = record["counts"], record["references"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in references["refused"].items())
    return (
        f"made {counts['clips']} clips, rejected {counts['rejects']} inputs or clips, in {record['timings']['total_s']:.0f} s; "
        f"refused {sum(references['refused'].values())} of {references['listed']} references"
        f"{reasons and f' ({reasons})'}; the set is in {output}"
    )


def parse(argv: Sequence[str]) -> tuple[SynthesizeOptions, tuple[str, ...]]:
    """Returns the options of the command and those for Beam."""
    parser = build_parser()
    options, beam_arguments = parse_with_beam(parser, argv, SynthesizeOptions)
    has_partial = options.partial_ratio > 0 or options.partial_fault_ratio > 0
    check_effects(
        parser,
        argv,
        options,
        Dependent(("max_faults", "partial_fault_ratio", "faults"), options.fault_ratio > 0, "--fault_ratio"),
        Dependent(("music_snr",), options.music_ratio > 0, "--music_ratio"),
        Dependent(("second_voice_snr",), options.second_voice_ratio > 0, "--second_voice_ratio"),
        Dependent(("partial_s",), has_partial, "--partial_ratio or --partial_fault_ratio"),
        Dependent(
            ("teacher_ratio",), bool(set(options.labels) & set(TEACHERS)), f"{' or '.join(TEACHERS)} in --labels"
        ),
    )
    return options, beam_arguments


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "synthesize",
        "Make a labelled training set from clean speech: add noise, music and voices at known SNRs, and other degradations.",
    )
    _add_material(parser)
    _add_noise(parser)
    _add_other_sounds(parser)
    _add_faults(parser)
    _add_variations(parser)
    add, further = parser.add_argument, parser.further.add_argument
    add(
        "--duration",
        type=number_range(at_least=0.25, because="PESQ needs clips of at least 0.25 s"),
        default="3:10",
        help="length of the clips in seconds, LOW:HIGH; shorter speech is used in full",
    )
    further(
        "--peak_dbfs",
        type=number_range(at_most=0, because="a peak over 0 dBFS cannot be stored"),
        default="-18:0",
        help="peak level of the clips in dBFS, LOW:HIGH",
    )
    add(
        "--labels",
        type=names_of((*LABEL_SCALES, *TEACHERS)),
        default="pesq-wb",
        help=f"labels of the clips, separated by commas: {', '.join(LABEL_SCALES)}; and ratings by published models: "
        f"{', '.join(TEACHERS)}",
    )
    further(
        "--teacher_ratio",
        type=fraction,
        default=1.0,
        help="share of the clips that the published models rate; they rate all unchanged recordings",
    )
    further(
        "--max_disagreement",
        type=number(at_least=0, infinite=True),
        default=0.3,
        help="largest difference between PESQ and the score of its frames; a clip with a larger one is rejected",
    )
    further("--keep_reference", action="store_true", help="store the clean reference of each clip too")
    add("--seed", type=seed, default=0, help="seed of the set; equal seed, material and options give equal clips")
    return parser


def _add_material(parser: Parser) -> None:
    add, further = parser.add_argument, parser.further.add_argument
    add_material_options(parser)
    add(
        "--rir",
        help="impulse responses of rooms for half of the `reverb` degradations: directory, glob or manifest CSV; all other "
        "rooms are simulated",
    )
    add("--music", help="music: directory, glob or manifest CSV (path, group, split, ...)")
    further(
        "--as_is",
        help="real recordings, whose flaws are unknown: directory, glob or manifest CSV; only the published models in "
        "`--labels` label them",
    )
    further(
        "--as_is_ratio", type=fraction, default=0.0, help="share of clips that are unchanged parts of these recordings"
    )
    add("-o", "--output", required=True, help="folder for the set")
    add("--clips", type=positive_int, required=True, help="number of clips")
    add(
        "--holdout",
        type=number(at_least=0, under=1),
        help="share of speakers and noise groups for the split `val`; by default the splits of the manifest, or a tenth",
    )
    further(
        "--min_dynamic_range_db",
        type=number(infinite=True),
        default=38.0,
        help="smallest dynamic range of usable speech in dB; speech with less is too noisy for a reference",
    )


def _add_noise(parser: Parser) -> None:
    add, further = parser.add_argument, parser.further.add_argument
    add(
        "--snr",
        type=ranges,
        default="-10:40",
        help="SNRs in dB: numbers and LOW:HIGH ranges separated by commas; one is drawn for each clip",
    )
    add("--clean_ratio", type=fraction, default=0.1, help="share of clips without noise")
    further(
        "--noises",
        type=number_range(at_least=1, whole=True),
        default="1:2",
        help="number of noises in a noisy clip, LOW:HIGH; the SNR is that of their sum",
    )
    further(
        "--partial_ratio",
        type=fraction,
        default=0.15,
        help="share of noises, of music and of second voices that cover only a part of the clip",
    )
    further(
        "--partial_s",
        type=number_range(at_least=0.02, because="shorter noise has no level"),
        default="0.5:3",
        help="length of such a part in seconds, LOW:HIGH; the power of the sound is measured over this part only",
    )
    further(
        "--noise_variation_ratio",
        type=fraction,
        default=0.0,
        help="share of varied noises: changed speed, reversal, equaliser, pulses, ringing",
    )


def _add_other_sounds(parser: Parser) -> None:
    further = parser.further.add_argument
    further(
        "--music_ratio", type=fraction, default=0.0, help="share of clips with music behind the speech; needs --music"
    )
    further("--music_snr", type=number_range(), default="-5:30", help="SNRs of the speech to the music in dB, LOW:HIGH")
    further(
        "--second_voice_ratio", type=fraction, default=0.0, help="share of clips with the voice of a second speaker"
    )
    further(
        "--second_voice_snr",
        type=number_range(),
        default="0:20",
        help="level of the speech over the second voice in dB, LOW:HIGH; both are measured while they speak",
    )
    further(
        "--no_speech_ratio",
        type=fraction,
        default=0.0,
        help="share of clips without speech: noise, music (with --music), near silence, tones or hum alone; they have no label",
    )


def _add_faults(parser: Parser) -> None:
    add, further = parser.add_argument, parser.further.add_argument
    add("--fault_ratio", type=fraction, default=0.0, help="share of clips with degradations, with or without noise")
    further(
        "--max_faults",
        type=positive_int,
        default=2,
        help="largest number of degradations in a clip; at least 1 is drawn",
    )
    further(
        "--partial_fault_ratio",
        type=fraction,
        default=0.0,
        help="share of degradations that cover only a part of the clip, of --partial_s; reverb and dropouts always cover all "
        "of it",
    )
    add(
        "--faults",
        type=_faults,
        default="all",
        help="kinds of degradations with their strength LOW:HIGH, separated by commas; kinds and default strengths: "
        + "; ".join(map(_fault_help, DEGRADATIONS)),
    )


def _add_variations(parser: Parser) -> None:
    further = parser.further.add_argument
    further(
        "--variation_ratio",
        type=fraction,
        default=0.0,
        help="share of clips with varied clean speech, in clip and reference: equaliser, microphone, small room, digital "
        "silence, high-quality coding",
    )
    further(
        "--speed_ratio",
        type=fraction,
        default=0.0,
        help="share of clips with slower or faster speech, pitch included, in clip and reference: "
        f"1/{VOICE_SPEED} to {VOICE_SPEED} times the speed",
    )
    further(
        "--expander_ratio",
        type=fraction,
        default=0.0,
        help="share of clips with an expander on the speech, in clip and reference: it makes soft parts softer, up to a gate "
        "that closes within words",
    )


def _faults(text: str) -> tuple[tuple[str, tuple[float, float]], ...]:
    """Parses kinds of degradations with their strength: "clipping=3:20,codec", or "all"."""
    try:
        return parse_degradations(text)
    except DegradationError as error:
        raise ArgumentTypeError(f"is {text!r}; {error}") from error


def _fault_help(name: str) -> str:
    kind = DEGRADATIONS[name]
    return f"{name}={kind.default[0]:g}:{kind.default[1]:g} ({kind.unit.replace('%', '%%')})" if kind.default else name
