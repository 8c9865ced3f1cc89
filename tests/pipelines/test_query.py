"""`audiosieve query`: the real command on outputs made without scoring."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.outputs import diagnosis_of, rejected, scored, write_output
from tests.support.paths import ROOT
from tests.support.terminal import audiosieve_in_terminal
from transforms import schemas
from transforms.analysis.row_formats import plain_rows
from transforms.errors import Reason

PAGE = ROOT / "docs" / "reading-a-score.md"
# Good but for 1.6 s from 6.4 s on.
BAD_MIDDLE = [4.0] * 400 + [1.0] * 100 + [4.0] * 400
HOUR = 3600.0


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two folders of 25 utterances, and some that stand out; two runs, and one that never came to its end."""
    root = tmp_path_factory.mktemp("query") / "out"
    good = [scored(f"good/{i:02d}.flac", 4.0, columns={"speaker": "ann"}) for i in range(25)]
    bad = [scored(f"bad/{i:02d}.flac", 2.0 + i / 100, columns={"speaker": "bob"}) for i in range(25)]
    music = diagnosis_of(900, spans={"music": [(400, 500)]})
    odd = [
        scored("odd/inside.flac", BAD_MIDDLE, start_s=10.0, diagnosis=music),
        scored("odd/clipped.flac", 1.0, clipped_ratio=0.5),
        scored("odd/phone.mp3", 3.0, format="MP3/MPEG_LAYER_III", bandwidth_hz=3_400.0),
    ]
    write_output(root, [*good, *bad], [rejected("c"), rejected("b")], carry=["speaker"])
    write_output(root, odd, [rejected("a", Reason.EMPTY_FILE)], carry=["speaker"])
    return str(write_output(root, [scored("never", 1.0)], carry=["speaker"], commit=False))


def test_a_table_shows_every_row_and_says_how_many(output: str) -> None:
    lines = audiosieve("query", output, "SELECT utterance_id, score FROM utterances").stdout.splitlines()
    assert lines[-1] == "53 rows"
    assert len(lines) == 53 + 3
    assert sum(line.startswith("good/") for line in lines) == 25
    assert audiosieve("query", output, "SELECT 1 AS one").stdout == "one\n---\n  1\n1 row\n"


class TestTerminal:
    def test_rows_fill_the_screen_and_the_others_are_counted(self, output: str) -> None:
        sql = "SELECT utterance_id, score FROM utterances"
        text = audiosieve_in_terminal("query", output, sql, rows=20, columns=60)
        lines = text.splitlines()
        assert len(lines) < 20
        assert sum(line.startswith(("good/", "bad/", "odd/")) for line in lines) == 14
        assert " ".join(lines[16:]) == "53 rows; 39 more not shown; `| less -S` or --output shows all"
        # Not the rows of a file.
        assert "utterance_id,score" in audiosieve_in_terminal(
            "query", output, sql, "--format", "csv", rows=20, columns=60
        )

    def test_all_rows_are_shown_if_they_fit(self, output: str) -> None:
        shown = audiosieve_in_terminal("query", output, "SELECT uri FROM rejects", rows=24, columns=80)
        assert shown == audiosieve("query", output, "SELECT uri FROM rejects").stdout

    @pytest.mark.parametrize("columns", [40, 100])
    def test_columns_fit_the_width(self, output: str, columns: int) -> None:
        shown = audiosieve_in_terminal("query", output, "SELECT * FROM utterances", rows=24, columns=columns)
        assert max(map(len, shown.splitlines())) <= columns
        hidden = int(re.search(r"(\d+) more columns: ", shown.replace("\n", " "))[1])
        assert len(shown.splitlines()[0].split()) + hidden == len(schemas.UTTERANCES.names) + 1

    def test_the_summary_fits_the_width(self, output: str) -> None:
        shown = audiosieve_in_terminal("query", output, "--by", "uri", rows=24, columns=80)
        assert max(map(len, shown.splitlines())) <= 80
        full = audiosieve("query", output, "--by", "uri").stdout
        assert max(map(len, full.splitlines())) > 80
        assert len(shown.splitlines()) >= len(full.splitlines())

    def test_a_number_is_never_cut(self, output: str) -> None:
        sql = "SELECT utterance_id, uri, 1234567890123 AS n FROM utterances ORDER BY 1"
        shown = audiosieve_in_terminal("query", output, sql, rows=24, columns=40)
        assert shown.count("  1234567890123\n") == 18
        # The ends of a path differ, so its middle is left out.
        assert re.search(r"^bad/00.flac +/cor\S*\N{HORIZONTAL ELLIPSIS}\S*ac  1", shown, re.MULTILINE)

    def test_a_file_has_all_rows(self, output: str, tmp_path: Path) -> None:
        sql = "SELECT * FROM utterances"
        audiosieve_in_terminal("query", output, sql, "-o", tmp_path / "rows.txt", rows=10, columns=40)
        assert (tmp_path / "rows.txt").read_text() == audiosieve("query", output, sql).stdout


def test_csv_and_json_hold_what_was_asked(output: str) -> None:
    sql = "SELECT utterance_id, score, noise_floor_snr_db, flags FROM utterances WHERE utterance_id LIKE 'odd/%' ORDER BY score"
    rows = json.loads(audiosieve("query", output, sql, "--format", "json").stdout)
    assert [row["utterance_id"] for row in rows] == ["odd/clipped.flac", "odd/phone.mp3", "odd/inside.flac"]
    assert rows[0] == {
        "utterance_id": "odd/clipped.flac",
        "score": 1.0,
        "noise_floor_snr_db": 40.0,
        "flags": ["clipped"],
    }
    table = list(csv.DictReader(io.StringIO(audiosieve("query", output, sql, "--format", "csv").stdout)))
    assert [row["utterance_id"] for row in table] == [row["utterance_id"] for row in rows]
    assert [float(row["score"]) for row in table] == [row["score"] for row in rows]
    assert [json.loads(row["flags"]) for row in table] == [row["flags"] for row in rows]


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.parquet", "rows.txt"])
def test_a_file_is_of_the_kind_that_its_name_says_and_replaced_only_if_told(
    output: str, tmp_path: Path, name: str
) -> None:
    sql = "SELECT utterance_id FROM utterances ORDER BY score LIMIT 2"
    path = tmp_path / name
    assert audiosieve("query", output, sql, "--output", path).stdout == ""
    if path.suffix == ".parquet":
        assert pq.read_table(path)["utterance_id"].to_pylist() == ["odd/clipped.flac", "bad/00.flac"]
    elif path.suffix == ".json":
        assert json.loads(path.read_text()) == [{"utterance_id": "odd/clipped.flac"}, {"utterance_id": "bad/00.flac"}]
    else:
        assert "odd/clipped.flac\nbad/00.flac\n" in path.read_text()
    before = path.read_bytes()
    assert "already exists" in audiosieve("query", output, "SELECT 1", "--output", path, status=2).stderr
    assert path.read_bytes() == before
    audiosieve("query", output, "SELECT 1", "--output", path, "--overwrite")
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


def test_a_query_that_fails_on_its_way_leaves_no_file(output: str, tmp_path: Path) -> None:
    sql = "SELECT CASE WHEN range = 2500000 THEN error('too far') ELSE 'x' END FROM range(3000000)"
    done = audiosieve("query", output, sql, "--output", tmp_path / "rows.csv", status=2)
    assert done.stderr == "audiosieve query: Invalid Input Error: too far\n"
    assert list(tmp_path.iterdir()) == []


def test_sql_comes_from_a_file_or_stdin(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "q.sql").write_text("-- how many?\nSELECT count(*) AS n FROM utterances;\n", encoding="utf-8-sig")
    assert "53" in audiosieve("query", output, "--file", tmp_path / "q.sql").stdout
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM rejects"))
    assert "3" in audiosieve("query", output, "-").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["SELECT foo FROM rejects"],
            'Referenced column "foo" not found.*; rejects has uri, utterance_id, source_version',
        ),
        (["SELECT foo"], "anomalies has .*; frames has .*; rejects has .*; runs has .*; utterances has .*, speaker$"),
        (["SELECT * FROM nowhere"], "Table with name nowhere does not exist"),
        (["SELECT * FROM connection"], "Table with name connection does not exist"),
        (["SELEC 1"], 'syntax error at or near "SELEC"'),
        (["SELECT 1; SELECT 2"], "the query is SELECT, SELECT; must be one statement that reads, such as SELECT"),
        (["COPY utterances TO 'x.csv'"], "the query is COPY"),
        (["ATTACH 'x.db'"], "the query is ATTACH"),
        (["CREATE TABLE x AS FROM utterances"], "the query is CREATE"),
        ([""], "the query is empty"),
        (["SELECT 1", "--format", "parquet"], "needs an --output"),
        (["--format", "csv"], "--format csv needs SQL"),
        (["SELECT 1", "--by", "speaker"], "--by groups the summary"),
        (["--by", "spaeker"], '--by spaeker: .*"spaeker" not found'),
        (["--by", "len(flags"], "--by len.flags: Parser Error"),
        (["SELECT 1", "--file", "q.sql"], "given twice"),
        (["--file", "nowhere.sql"], "nowhere.sql: cannot be read .No such file"),
        (["SELECT 1", "--formt", "csv"], r"unknown option --formt \(did you mean --format\?\)"),
    ],
)
def test_mistakes_are_said_in_one_sentence(
    output: str, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = audiosieve("query", output, *arguments, status=2)
    assert re.search(said, done.stderr.rstrip("\n"))
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_output_is_said(tmp_path: Path) -> None:
    assert "contains no completed run" in audiosieve("query", tmp_path, status=2).stderr


def test_pivot_and_describe_read_too(output: str) -> None:
    assert audiosieve("query", output, "DESCRIBE frames").stdout.endswith("13 rows\n")
    pivoted = audiosieve("query", output, "PIVOT utterances ON speaker USING count(*) GROUP BY sample_rate").stdout
    assert re.search(r"sample_rate +ann +bob", pivoted)


def test_other_files_can_be_joined(output: str, tmp_path: Path) -> None:
    (tmp_path / "ages.csv").write_text("speaker,age\nann,40\nbob,50\n")
    sql = f"SELECT age, count(*) AS n FROM utterances JOIN '{tmp_path}/ages.csv' USING (speaker) GROUP BY ALL ORDER BY ALL"
    assert json.loads(audiosieve("query", output, sql, "--format", "json").stdout) == [
        {"age": 40, "n": 25},
        {"age": 50, "n": 25},
    ]


class TestSummary:
    def test_it_says_how_much_how_good_and_what_was_lost(self, output: str) -> None:
        text = audiosieve("query", output).stdout
        for line in (
            r"some_net@0123456789ab, PESQ MOS-LQO, wide band .*, 1 to 4.64; 2 runs",
            r"53 utterances, 3\.7 min; 3 rejects; 1 anomaly in 1 utterance, 1\.\d s",
            r"by utterance +1\.00 +1\.00 +2\.01 +2\.12 +3\.00 +4\.00 +4\.00 +4\.00 +4\.00",
            r"4 to 4\.5 +25 +1\.7 min +1\.7 min  #+",
            r"FLAC/PCM_16 +52 ",
            r"MP3/MPEG_LAYER_III +1 ",
            r"clipped +1 ",
            r"narrow_band +1 ",
            r"corrupt +2",
            r"empty_file +1",
        ):
            assert re.search(line, text), (line, text)
        # The worst first.
        assert re.search(r"folder .*\n-+\nbad +25 .*\nodd +3 .*\ngood +25 ", text)

    def test_groups_are_what_was_asked_for(self, output: str) -> None:
        text = audiosieve("query", output, "--by", "coalesce(speaker, 'nobody') -- in all").stdout
        assert re.search(r"\nbob +25 .*\nnobody +3 .*\nann +25 ", text)

    def test_it_is_json_where_asked(self, output: str, tmp_path: Path) -> None:
        audiosieve("query", output, "--by", "speaker", "--output", tmp_path / "summary.json")
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert (summary["utterances"], summary["runs"], summary["grouped_by"]) == (53, 2, "speaker")
        assert sum(each["utterances"] for each in summary["bins"]) == 53
        assert [group["group"] for group in summary["groups"]] == ["bob", None, "ann"]

    def test_an_output_of_rejects_alone_has_a_summary(self, tmp_path: Path) -> None:
        root = write_output(tmp_path / "out", [], [rejected("a"), rejected("Thumbs.db", Reason.UNSUPPORTED_FORMAT)])
        text = audiosieve("query", root).stdout
        assert "0 utterances, 0.0 s; 1 reject (and 1 other file);" in text
        assert re.search(r"corrupt +1", text)
        assert "unsupported_format" not in text
        audiosieve("query", root, "--output", tmp_path / "summary.json")
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert (summary["rejects"], summary["other_files"]) == ([{"reason": "corrupt", "rejects": 1}], 1)


def documented_queries() -> Iterator[tuple[str, str]]:
    """Yields the queries of the page, each with the question above it."""
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for query in block.split("\n\n"):
        yield query.partition("\n")[0].removeprefix("-- "), query


# Answers to the documented queries in the output above.
ANSWERS = {
    "How much is left at each threshold?": [
        (2.0, 52, None),
        (2.5, 27, None),
        (3.0, 27, None),
        (3.5, 26, None),
        (4.0, 25, 25 * 4.0 / HOUR),
    ],
    "Which are the worst utterances without a flag?": [(f"bad/{i:02d}.flac", 2.0 + i / 100, 4.0, 0) for i in range(10)],
    "Which folder (speaker, source, session) is bad?": [("bad", 25, 2.12, 1.0), ("good", 25, 4.0, 0.0)],
    "Which good utterances contain a bad stretch, and where in the recording?": [
        ("odd/inside.flac", 3.66667, 16.4, 18.0, 1.0),
    ],
    "How many hours have each cause of damage?": [
        ("music", 1, 14.416 / HOUR, 3.66667),
        ("band_limit", 1, 4.0 / HOUR, 3.0),
        ("clipping", 1, 4.0 / HOUR, 1.0),
    ],
    "Where does music play?": [("odd/inside.flac", 6.4, 8.016, 1.6)],
    "Why were files rejected?": [
        ("corrupt", 2, "/corpus/b", "for people"),
        ("empty_file", 1, "/corpus/a", "for people"),
    ],
    "How do narrow-band MP3s score, compared with the rest?": [
        (False, False, 52, 2.953, 7_900.0),
        (True, True, 1, 3.0, 3_400.0),
    ],
}


def test_there_is_an_answer_for_each_documented_query() -> None:
    assert [question for question, _ in documented_queries()] == list(ANSWERS)


@pytest.mark.parametrize(("question", "sql"), list(documented_queries()), ids=lambda text: text[:20])
def test_the_documented_queries_answer_their_questions(output: str, tmp_path: Path, question: str, sql: str) -> None:
    audiosieve("query", output, sql, "--output", tmp_path / "rows.parquet")
    found = list(plain_rows(pq.read_table(tmp_path / "rows.parquet")))
    assert len(found) == len(ANSWERS[question])
    for row, expected in zip(found, ANSWERS[question], strict=True):
        for value, right in zip(row, expected, strict=True):
            assert right is None or value == (pytest.approx(right, abs=0.05) if isinstance(right, float) else right)


@pytest.mark.parametrize("job", ["query", "compare"])
def test_neither_tensorflow_nor_what_draws_is_loaded(output: str, job: str) -> None:
    arguments = [job, output, "SELECT 1" if job == "query" else output]
    code = f"import sys; from pipelines.cli import main; main({arguments!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "duckdb" in loaded
    assert not {"tensorflow", "keras", "matplotlib", "plotly"} & set(loaded)
