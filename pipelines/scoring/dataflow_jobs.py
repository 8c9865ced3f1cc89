"""Jobs of pending runs on Dataflow. A run whose job has ended without a commit must not block later runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.runner import PipelineRunner

from transforms.output.ledger import Ledger
from transforms.storage.gcs import client as gcs

# Key of the job in the request of a run.
JOB = "dataflow_job"
TIMEOUT_S = 60
# A Flex Template gets a place that contains the id of its job, which exists before its launcher starts.
_JOB_ID = re.compile(r"/template_launches/(\d{4}(?:-\d\d){2}(?:_\d\d){3}-\d+)/")
# States after which a job does nothing more.
_ENDED = {f"JOB_STATE_{name}" for name in ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")}


class JobLookupError(Exception):
    """The state of a job cannot be found out."""


def describe_job(runner: PipelineRunner, options: PipelineOptions, run_id: str) -> dict[str, Any]:
    """Returns the job of a run, under the key `JOB`, for its request; empty unless the job can be looked up later.

    Gives the job a name if it has none, before Beam copies the options. The jobs that are started from a classic template are
    not known.
    """
    if type(runner).__name__ != "DataflowRunner":
        return {}
    cloud = options.view_as(GoogleCloudOptions)
    cloud.region = cloud.region or runner.get_default_gcp_region()
    if not (cloud.project and cloud.region):
        return {}
    place = {"project": cloud.project, "region": cloud.region}
    if cloud.template_location:
        found = _JOB_ID.search(cloud.template_location)
        return {JOB: {**place, "id": found[1]}} if found else {}
    cloud.job_name = cloud.job_name or f"audiosieve-{run_id.lower()}"
    return {JOB: {**place, "name": cloud.job_name}}


def abandon_ended(ledger: Ledger, pending: Iterable[str], options: PipelineOptions) -> dict[str, str]:
    """Abandons the pending runs whose jobs on Dataflow have ended, and says so on stderr.

    Args:
        ledger: ledger of the output.
        pending: ids of the pending runs.
        options: options of Beam, with the address of the service.

    Returns:
        The remaining pending runs: what is known of their jobs, by run id; empty if nothing is known.
    """
    remaining = {}
    for run_id in pending:
        request = ledger.request(run_id)
        if not (job := request.get(JOB)):
            remaining[run_id] = ""
            continue
        label = job.get("id") or job.get("name")
        try:
            state = _state(job, request["started_s"], options)
        except JobLookupError as error:
            remaining[run_id] = f"the state of its job {label} on Dataflow is unknown: {error}"
            continue
        if state not in _ENDED:
            remaining[run_id] = f"its job {label} on Dataflow has the state {state}"
        elif not ledger.is_committed(run_id):  # it may have been committed while the service was asked
            ledger.abandon(run_id)
            print(
                f"audiosieve score: run {run_id} is given up, because its job {label} on Dataflow has ended without a commit "
                f"({state}); this run scores its recordings",
                file=sys.stderr,
            )
    return remaining


def _state(job: Mapping[str, str], started_s: float, options: PipelineOptions) -> str:
    """Returns the state of the job of a run that began at a time, in seconds since 1970.

    Raises:
        JobLookupError: the service does not answer, or knows no such job.
    """
    jobs = f"v1b3/projects/{quote(job['project'], safe='')}/locations/{quote(job['region'], safe='')}/jobs"
    if "id" in job:
        return str(_get(f"{jobs}/{quote(job['id'], safe='')}", {}, options)["currentState"])
    found, page = [], ""
    while True:
        answer = _get(jobs, {"name": job["name"], "pageToken": page}, options)
        found += [listed for listed in answer.get("jobs", ()) if listed["name"] == job["name"]]
        page = answer.get("nextPageToken", "")
        if not page:
            break
    # Active jobs have different names. A job that ended before the run began is that of an earlier run.
    active = [listed["currentState"] for listed in found if listed["currentState"] not in _ENDED]
    ended = [listed["currentState"] for listed in found if _seconds(listed["currentStateTime"]) >= started_s]
    if not active and not ended:
        raise JobLookupError("the service knows no such job")
    return str((active or ended)[0])


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _get(path: str, parameters: dict[str, str], options: PipelineOptions) -> dict[str, Any]:
    """Returns the JSON object that the service answers.

    Raises:
        JobLookupError: the extra `gcp` is not installed, or the service does not answer, or refuses.
    """
    if not gcs.IS_INSTALLED:
        raise JobLookupError('the extra gcp is not installed: pip install "audiosieve[gcp]"')
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from requests.exceptions import RequestException

    endpoint = options.view_as(GoogleCloudOptions).dataflow_endpoint.rstrip("/")
    try:
        with AuthorizedSession(gcs.find_credentials(options)) as session:
            response = session.get(f"{endpoint}/{path}", params=parameters, timeout=TIMEOUT_S)
            content = response.json()
    except (GoogleAuthError, RequestException) as error:
        raise JobLookupError(str(error)) from error
    if response.status_code != 200:
        raise JobLookupError(str(content.get("error", {}).get("message", response.reason)))
    return dict(content)
