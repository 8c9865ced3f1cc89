"""Cloud Storage as Beam reaches it, made fit for a command line: no long search for credentials, one client a thread.

Beam makes a client, and so a connection, for every file that it opens, looks for credentials for half a minute where there
are none, and does so even where `STORAGE_EMULATOR_HOST` names an emulator that takes none. `transforms` prepares it in every
process that imports the package, and as one of Beam's plugins it is imported by workers before anything else.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from apache_beam.utils.plugin import BeamPlugin

EMULATOR = "STORAGE_EMULATOR_HOST"


class CloudStoragePlugin(BeamPlugin):
    """Has runners import this module in their workers."""


def prepare() -> None:
    """Has Beam use what stands here; nothing where the extra `gcp` is not installed."""
    try:
        import google.auth
        from apache_beam.internal.gcp import auth
        from apache_beam.io.gcp import gcsio
        from google.auth.credentials import AnonymousCredentials
    except ImportError:
        return
    if getattr(gcsio.create_storage_client, "is_ours", False):
        return
    make_client = gcsio.create_storage_client
    made = threading.local()

    def find_credentials(pipeline_options: Any) -> Any:
        """Looks once: where there are none, Beam goes on without, as public buckets allow."""
        if os.environ.get(EMULATOR):
            return AnonymousCredentials()
        scopes = pipeline_options.view_as(auth.GoogleCloudOptions).gcp_oauth_scopes
        return google.auth.default(scopes=scopes)[0]

    def client(pipeline_options: Any, use_credentials: bool = True) -> Any:
        """A client for this thread, with connections that stay open."""
        key = (os.getpid(), os.environ.get(EMULATOR), use_credentials)
        if getattr(made, "key", None) != key:
            made.client = make_client(pipeline_options, use_credentials)
            made.key = key
        return made.client

    client.is_ours = True  # type: ignore[attr-defined]
    auth._Credentials._get_credentials_with_retrys = staticmethod(find_credentials)
    gcsio.create_storage_client = client


prepare()
