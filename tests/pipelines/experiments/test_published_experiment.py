"""The script that runs all variants of the published experiment names existing networks and options, and pairs repeats."""

from __future__ import annotations

from pathlib import Path

from model.evaluation.reproduction import BASELINE, MEASURES, PUBLISHED
from pipelines.experiments.reproduction_files import RESULTS, write_json
from pipelines.reproduce import parse
from tests.benchmarks.published_experiment import ABLATION, VARIANTS, arguments_of, collect, read_results


def test_the_arguments_of_every_variant_are_valid() -> None:
    networks = {}
    for variant in VARIANTS:
        options = parse(arguments_of(variant, Path("out"), ["--speech", "s", "--noise", "n"], None))
        networks[variant.name] = options.networks
        assert options.repeats == variant.repeats
        assert options.output == f"out/{variant.name}"
    assert networks["paper"] == networks["disjoint"] == tuple(PUBLISHED)
    for _, *sources in ABLATION:
        assert all(network in networks[variant] for variant, network in sources)
    assert parse(arguments_of(VARIANTS[0], Path("out"), ["--speech", "s", "--noise", "n"], 1)).repeats == 1


def values(lcc: float) -> dict[str, float]:
    return dict.fromkeys(MEASURES, lcc)


def test_differences_pair_the_repeats_that_both_networks_have() -> None:
    paper = {BASELINE: {1: values(0.80), 2: values(0.84), 3: values(0.9)}, "lc_att": {1: values(0.85), 2: values(0.91)}}
    table = collect({"paper": paper, "linear": {"lc_att_linear": {2: values(0.94)}}})
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in table.splitlines()
        if "|" in line
    }
    assert lines["unweighted, sigmoid, shared noise (paper)"] == [
        "2",
        "0.820 ± 0.028",
        "0.880 ± 0.042",
        "+0.060 ± 0.014",
    ]
    assert lines["unweighted, no sigmoid, shared noise"] == ["1", "0.840", "0.940", "+0.100"]
    assert lines["weighted, sigmoid, shared noise"] == ["0", "-", "-", "-"]
    assert "0.847 ± 0.050 (0.876)" in table
    assert "+0.060 ± 0.014 (p 0.105)" in table


def test_networks_without_values_are_left_out(tmp_path: Path) -> None:
    assert read_results(tmp_path) == {}
    networks = {"l_att": {"failed": "the loss is nan"}, "lc_att": {"values": values(0.9)}}
    write_json(tmp_path / RESULTS, {"repeats": [{"repeat": 3, "networks": networks}]})
    assert read_results(tmp_path) == {"lc_att": {3: values(0.9)}}
