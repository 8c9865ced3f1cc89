"""The job of a wave, and the job that repeats it after its process has died."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from pipelines.scoring.graph import ScoreConfig, score_wave
from pipelines.scoring.process_pool import Death
from transforms.elements import Recording
from transforms.errors import AudioFault, Reason, Stage
from transforms.runs.chunking import Wave
from transforms.scoring.decode_watch import Mark, recording_with
from transforms.scoring.featurize import featurize_recording

# Deaths of a wave's processes that no recording explains, after which the run ends.
MAX_UNEXPLAINED = 3


@dataclasses.dataclass(frozen=True)
class WaveJob:
    """The scoring of a wave in one process.

    A process that dies names at most the recording that it was decoding, which need not be the cause: the network runs in the
    same process, and a decoder may have damaged its memory earlier. So the recording is vetted: the next process decodes it
    alone before it scores the wave. If a second process dies, all recordings of the wave are vetted one by one.

    Attributes:
        config: the scoring pipeline; its watch knows the recordings that are rejected.
        wave: the wave.
        vetted: recordings to decode alone before the wave is scored.
        suspects: URIs of the recordings that processes were decoding when they died, and that could be decoded alone.
        deaths: number of processes that died while they scored the wave.
        unexplained: number of those that no recording explains.
    """

    config: ScoreConfig
    wave: Wave
    vetted: tuple[Recording, ...] = ()
    suspects: frozenset[str] = frozenset()
    deaths: int = 0
    unexplained: int = 0

    def run(self) -> None:
        """Vets recordings, and scores the wave."""
        features, channels, watch = self.config.bundle.features, self.config.channels, self.config.watch
        for recording in self.vetted:
            for _ in featurize_recording(recording, features, channels, watch=watch, is_vetting=True):
                pass
        score_wave(self.config)

    def after(self, death: Death, run_id: str) -> WaveJob:
        """Returns the job that repeats this one, without a recording that has killed or hung its process.

        Args:
            death: death of its process.
            run_id: id of the run of the new job.

        Raises:
            BrokenProcessPool: several processes died, and no recording explains it.
        """
        mark = death.mark
        job = dataclasses.replace(self, config=dataclasses.replace(self.config, run_id=run_id), vetted=())
        recordings = [recording for chunk in self.wave.chunks for recording in chunk]
        if mark is not None and self._is_cause(mark, death):
            job = job._without(mark.uri, death)
            if mark.is_vetting:
                return dataclasses.replace(job, vetted=_from(self.vetted, mark.uri))
        else:
            if mark is None or not death.is_caused_by_itself:
                job = dataclasses.replace(job, unexplained=self.unexplained + 1)
                if job.unexplained == MAX_UNEXPLAINED:
                    raise BrokenProcessPool(f"{MAX_UNEXPLAINED} processes died ({death})")
            if mark is not None and (suspect := recording_with(recordings, mark.uri)):
                job = dataclasses.replace(job, suspects=self.suspects | {mark.uri}, vetted=(suspect,))
        job = dataclasses.replace(job, deaths=self.deaths + 1)
        return dataclasses.replace(job, vetted=tuple(recordings)) if job.deaths == 2 else job

    def _is_cause(self, mark: Mark, death: Death) -> bool:
        """Whether the decoding of a recording is the cause of a death."""
        is_repeated, is_own = mark.uri in self.suspects, death.is_caused_by_itself
        return death.is_late or (mark.is_vetting and (is_own or is_repeated)) or (is_repeated and is_own)

    def _without(self, uri: str, death: Death) -> WaveJob:
        """Returns the job that rejects a recording."""
        watch = self.config.watch
        watch = dataclasses.replace(watch, faults={**watch.faults, uri: fault_of(death, watch.timeout_s)})
        return dataclasses.replace(self, config=dataclasses.replace(self.config, watch=watch))


def fault_of(death: Death, timeout_s: float) -> AudioFault:
    """Returns the fault of a recording that has killed or hung its process.

    Args:
        death: death of the process.
        timeout_s: value of `--recording_timeout_s`.
    """
    if death.is_late:
        detail = f"it took more than {timeout_s:g} s and the time for its length; raise --recording_timeout_s, or leave it out"
        return AudioFault(Stage.DECODE, Reason.TIMED_OUT, detail)
    detail = f"its decoder ended the process ({death}); convert it to another format, or leave it out"
    return AudioFault(Stage.DECODE, Reason.CRASHED, detail)


def _from(recordings: Sequence[Recording], uri: str) -> tuple[Recording, ...]:
    """Returns the recordings from the one at a URI on. It stays, because other recordings of an archive may crash, too."""
    found = recording_with(recordings, uri)
    return tuple(recordings[recordings.index(found) :]) if found else tuple(recordings)
