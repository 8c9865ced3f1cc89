"""What a pipeline wrote, by its own account: the files of the bundles that count, and what it took to make them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from transforms.telemetry import Work


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What a pipeline wrote.

    Attributes:
        paths: of its files, sorted.
        work: what it took.
    """

    paths: tuple[str, ...]
    work: Work

    @classmethod
    def of(cls, items: Iterable[str | Mapping[str, float]]) -> Receipt:
        """Of the paths that sinks gave, and the sums of the work of all bundles, in any order."""
        paths, work = [], Work()
        for item in items:
            if isinstance(item, str):
                paths.append(item)
            else:
                work += Work.of_sums(item)
        return cls(tuple(sorted(paths)), work)

    def write(self, path: str) -> None:
        """Puts it into a file, for whoever started the pipeline."""
        content = {"paths": self.paths, "work": self.work.sums()}
        with FileSystems.create(path) as file:
            file.write(json.dumps(content).encode())

    @classmethod
    def read(cls, path: str) -> Receipt:
        """Reads what `write` wrote."""
        with FileSystems.open(path) as file:
            content: dict[str, Any] = json.loads(file.read())
        return cls(tuple(content["paths"]), Work.of_sums(content["work"]))


class GatherReceipt(beam.PTransform):
    """What sinks gave, and the sums of bundles' work -> one `Receipt`, be there anything or nothing."""

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """A shuffle of a hundred bytes a file."""
        nothing = items.pipeline | "Nothing" >> beam.Create([Work().sums()])
        return (
            (items, nothing)
            | "All" >> beam.Flatten()
            | "ToOne" >> beam.Map(lambda item: (0, item))
            | "Group" >> beam.GroupByKey()
            | "Receipt" >> beam.MapTuple(lambda _, found: Receipt.of(found)).with_output_types(Receipt)
        )
