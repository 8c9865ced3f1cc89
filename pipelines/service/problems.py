"""Problem details (RFC 9457) for requests and recordings that get no score, with the reasons of the table `rejects`."""

from __future__ import annotations

import http
import json
from typing import Any

from starlette.responses import Response

from transforms.elements import Reject, printable
from transforms.errors import AudioFault, Reason

MEDIA_TYPE = "application/problem+json"
# Status of the reasons that are not a fault of the file's content (422).
_STATUS = {
    Reason.EMPTY_FILE: 400,
    Reason.TOO_LONG: 413,
    Reason.UNSUPPORTED_FORMAT: 415,
    Reason.UNSUPPORTED_RATE: 415,
    Reason.MODEL_FAILED: 500,
}


class Problem(Exception):
    """Ends a request with an error response.

    Attributes:
        status: HTTP status.
        reason: one word, for programs.
        detail: explanation, for people.
        stage: stage in which the recording failed, as in `rejects`; None if the request itself is wrong.
        utterance_id: id of the recording; None if it has none.
        retry_after_s: time until a retry makes sense, in seconds; None if it never does.
        others: problems of further recordings of the same request.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        stage: str | None = None,
        utterance_id: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status, self.reason, self.detail = status, reason, detail
        self.stage, self.utterance_id, self.retry_after_s = stage, utterance_id, retry_after_s
        self.others: list[Problem] = []

    @classmethod
    def of(cls, fault: AudioFault | Reject, utterance_id: str | None) -> Problem:
        """Returns the problem for the fault of a recording."""
        status = _STATUS.get(Reason(fault.reason), 422)
        return cls(status, fault.reason, printable(fault.detail), stage=fault.stage, utterance_id=utterance_id)

    def as_dict(self) -> dict[str, Any]:
        """Returns the members of the response body."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        if self.stage:
            members |= {"stage": self.stage, "utterance_id": self.utterance_id}
        if self.others:
            first = Problem(self.status, self.reason, self.detail, stage=self.stage, utterance_id=self.utterance_id)
            members["problems"] = [problem.as_dict() for problem in (first, *self.others)]
        return members

    def response(self) -> Response:
        """Returns the HTTP response."""
        headers = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(json.dumps(self.as_dict()), self.status, headers, MEDIA_TYPE)
