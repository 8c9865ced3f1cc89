"""What a client is told when it gets no score: problem details (RFC 9457), with the words that `rejects` has."""

from __future__ import annotations

import http
import json
from typing import Any

from starlette.responses import Response

from transforms.elements import Reject, printable
from transforms.errors import AudioFault, Reason

MEDIA_TYPE = "application/problem+json"
# What is not listed is a fault of what is in the file: 422.
_STATUS = {
    Reason.EMPTY_FILE: 400,
    Reason.TOO_LONG: 413,
    Reason.UNSUPPORTED_FORMAT: 415,
    Reason.UNSUPPORTED_RATE: 415,
    # The network, and not the recording, went wrong.
    Reason.MODEL_FAILED: 500,
}


class Problem(Exception):
    """Ends a request with an answer that says why.

    Attributes:
        status: of HTTP.
        reason: one word, for programs.
        detail: for people.
        stage: where the recording was lost, as in `rejects`; None where the request itself was wrong.
        utterance_id: of the recording, where it has one.
        retry_after_s: when to try again; None where that helps nothing.
        others: problems of further recordings in the same request.
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
    def of(cls, lost: AudioFault | Reject, utterance_id: str | None) -> Problem:
        """The problem that a fault of a recording is."""
        status = _STATUS.get(Reason(lost.reason), 422)
        return cls(status, lost.reason, printable(lost.detail), stage=lost.stage, utterance_id=utterance_id)

    def as_dict(self) -> dict[str, Any]:
        """The members of the answer."""
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
            alone = Problem(self.status, self.reason, self.detail, stage=self.stage, utterance_id=self.utterance_id)
            members["problems"] = [problem.as_dict() for problem in (alone, *self.others)]
        return members

    def response(self) -> Response:
        """The answer."""
        headers = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(json.dumps(self.as_dict()), self.status, headers, MEDIA_TYPE)
