"""Receipt of a pipeline: the files that it wrote and the work that it did, without failed attempts of bundles."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from transforms.storage.atomic_files import write_bytes
from transforms.telemetry import Work


@dataclasses.dataclass(frozen=True)
class Receipt:
    """Result of a pipeline.

    Attributes:
        paths: paths of the files that it wrote, sorted.
        work: work that it did.
    """

    paths: tuple[str, ...]
    work: Work

    @classmethod
    def of(cls, items: Iterable[str | Mapping[str, float]]) -> Receipt:
        """Returns the receipt for the outputs of all bundles.

        Args:
            items: paths of files and sums of work (`Work.sums`), in any order.
        """
        paths, work = [], Work()
        for item in items:
            if isinstance(item, str):
                paths.append(item)
            else:
                work += Work.of_sums(item)
        return cls(tuple(sorted(paths)), work)

    def write(self, path: str) -> None:
        """Writes the receipt to a file, for the process that started the pipeline."""
        write_bytes(path, json.dumps({"paths": self.paths, "work": self.work.sums()}).encode())

    @classmethod
    def read(cls, path: str) -> Receipt:
        """Reads a receipt that `write` wrote."""
        with FileSystems.open(path) as file:
            content: dict[str, Any] = json.loads(file.read())
        return cls(tuple(content["paths"]), Work.of_sums(content["work"]))


class GatherReceipt(beam.PTransform):
    """Paths of files and sums of work -> one `Receipt`, even if there are none."""

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Shuffles about a hundred bytes per file."""
        no_work = items.pipeline | "NoWork" >> beam.Create([Work().sums()])
        return (
            (items, no_work)
            | "All" >> beam.Flatten()
            | "ToOne" >> beam.Map(lambda item: (0, item))
            | "Group" >> beam.GroupByKey()
            | "Receipt" >> beam.MapTuple(lambda _, group: Receipt.of(group)).with_output_types(Receipt)
        )
