"""Runs all variants of the published experiment, and collects their results in one table.

    python -m tests.benchmarks.published_experiment manifest.csv OUT --processes 2

Both noise splits have all four networks in eight repeats. The ablation has Quality-Net and LC_ATT with the other loss and
without the sigmoid in two repeats. A repeat has the same speech and seed in every variant. The same command continues a run
that was killed. `OUT/published_experiment.md` has the table of the finished repeats; each variant has a folder of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.evaluation.reproduction import (
    BASELINE,
    MEASURES,
    MISSING,
    PUBLISHED,
    TITLES,
    Difference,
    Spread,
    markdown_table,
)
from model.local_files import write_text
from pipelines import reproduce
from pipelines.experiments.reproduction_files import RESULTS, read_json

REPEATS, ABLATION_REPEATS = 8, 2
TABLE = "published_experiment.md"
# Results by network and repeat.
Results = Mapping[str, Mapping[int, Mapping[str, float | None]]]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A run of `audiosieve reproduce`.

    Attributes:
        name: name of its folder.
        repeats: number of repeats.
        networks: names of the networks.
        options: options that differ from the paper.
    """

    name: str
    repeats: int
    networks: tuple[str, ...]
    options: tuple[str, ...] = ()


VARIANTS = (
    Variant("paper", REPEATS, tuple(PUBLISHED)),
    Variant("disjoint", REPEATS, tuple(PUBLISHED), ("--noise_split", "disjoint")),
    Variant("linear", ABLATION_REPEATS, ("lc_att_linear",)),
    Variant("weighted", ABLATION_REPEATS, (BASELINE, "lc_att", "lc_att_linear"), ("--loss", "weighted")),
)
# Rows of the ablation: text, and the variant and the network of the baseline and of LC_ATT.
ABLATION = (
    ("unweighted, sigmoid, shared noise (paper)", ("paper", BASELINE), ("paper", "lc_att")),
    ("unweighted, no sigmoid, shared noise", ("paper", BASELINE), ("linear", "lc_att_linear")),
    ("weighted, sigmoid, shared noise", ("weighted", BASELINE), ("weighted", "lc_att")),
    ("weighted, no sigmoid, shared noise", ("weighted", BASELINE), ("weighted", "lc_att_linear")),
    ("unweighted, sigmoid, disjoint noise", ("disjoint", BASELINE), ("disjoint", "lc_att")),
)


def arguments_of(variant: Variant, output: Path, common: Sequence[str], repeats: int | None) -> list[str]:
    """Returns the arguments of `audiosieve reproduce` for a variant."""
    number = min(variant.repeats, repeats or variant.repeats)
    own = ["--output", str(output / variant.name), "--repeats", str(number), "--networks", ",".join(variant.networks)]
    return [*common, *own, *variant.options]


def read_results(folder: Path) -> Results:
    """Returns the values of all finished networks of a variant; none if it has not begun."""
    if not (folder / RESULTS).exists():
        return {}
    values: dict[str, dict[int, Mapping[str, float | None]]] = {}
    for repeat in read_json(folder / RESULTS)["repeats"]:
        for name, network in repeat["networks"].items():
            if "values" in network:
                values.setdefault(name, {})[repeat["repeat"]] = network["values"]
    return values


def collect(results: Mapping[str, Results]) -> str:
    """Returns the tables of both noise splits and of the ablation, as Markdown.

    Args:
        results: results by name of the variant.
    """
    lines = ["# The published experiment: both noise splits, and the ablation"]
    for name in ("paper", "disjoint"):
        noise = "one noise collection, as published" if name == "paper" else "disjoint noise"
        lines += ["", f"## With {noise}", "", *_table(results.get(name, {}))]
    lines += ["", "## Ablation: LCC in the same repeats", ""]
    rows = []
    for text, *sources in ABLATION:
        baseline, lc_att = (results.get(variant, {}).get(network, {}) for variant, network in sources)
        both = sorted(number for number in set(baseline) & set(lc_att) if number <= ABLATION_REPEATS)
        one, other = ([of[number]["lcc"] for number in both] for of in (baseline, lc_att))
        difference = Difference.of(other, one).spread.text("+")
        rows.append([text, str(len(both)), Spread.of(one).text(), Spread.of(other).text(), difference])
    header = ["loss, attention, noise", "repeats", TITLES[BASELINE], TITLES["lc_att"], "difference"]
    return "\n".join([*lines, *markdown_table(header, rows)]) + "\n"


def _table(results: Results) -> list[str]:
    """Returns a row for each network with its measures, the published ones, and the tests of LCC and F1."""
    rows = []
    for name, published in PUBLISHED.items():
        values = results.get(name, {})
        row = [TITLES[name], str(len(values))]
        for measure in MEASURES:
            spread = Spread.of([of_repeat.get(measure) for of_repeat in values.values()])
            row.append(f"{spread.text()} ({published[measure]:.3f})")
        for measure in ("lcc", "f1"):
            row.append(MISSING if name == BASELINE else _difference(results, name, measure).text())
        rows.append(row)
    titles = [f"{title} (published)" for title in MEASURES.values()]
    return markdown_table(["network", "repeats", *titles, "LCC - baseline", "F1 - baseline"], rows)


def _difference(results: Results, name: str, measure: str) -> Difference:
    baseline, values = results.get(BASELINE, {}), results.get(name, {})
    both = sorted(set(baseline) & set(values))
    return Difference.of(*([of[number].get(measure) for number in both] for of in (values, baseline)))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the variants in turn, and writes the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", help="manifest CSV of speech and noise")
    parser.add_argument("output", type=Path, help="folder for the results")
    parser.add_argument("--speech_where", default="corpus=librispeech", help="condition on the speech")
    parser.add_argument("--holdout", default="0.3", help="share of the speakers, and of disjoint noise, for the test")
    parser.add_argument("--processes", default="2", help="networks that are trained at the same time")
    parser.add_argument("--repeats", type=int, help="at most this number of repeats of each variant")
    parser.add_argument("--quick", action="store_true", help="test that everything works; the numbers mean little")
    options = parser.parse_args(argv)
    common = ["--speech", options.manifest, "--noise", options.manifest, "--speech_where", options.speech_where]
    common += ["--holdout", options.holdout, "--processes", options.processes, *(["--quick"] if options.quick else [])]
    for variant in VARIANTS:
        status = reproduce.run(arguments_of(variant, options.output, common, options.repeats))
        if status:
            return int(status)
        text = collect({one.name: read_results(options.output / one.name) for one in VARIANTS})
        write_text(options.output / TABLE, text)
    print((options.output / TABLE).read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
