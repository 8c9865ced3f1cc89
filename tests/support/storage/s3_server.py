"""An S3 that runs on this machine: moto's server in a thread, and buckets in it."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


@contextlib.contextmanager
def running_s3() -> Iterator[str]:
    """Starts a server on a free port of loopback, for the length of a block; yields its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class S3Bucket:
    """A bucket, looked at from outside of audiosieve, by Amazon's own client.

    Attributes:
        uri: `s3://NAME`.
    """

    def __init__(self, address: str) -> None:
        self.name = f"test-{secrets.token_hex(6)}"
        self.uri = f"s3://{self.name}"
        self.client: Any = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="x", aws_secret_access_key="y", region_name=REGION
        )
        self.client.create_bucket(Bucket=self.name)

    def __truediv__(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def names(self, prefix: str = "") -> list[str]:
        """Returns the names of the objects, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def write(self, name: str, content: bytes | str) -> str:
        """Makes an object; returns its URI."""
        self.client.put_object(Bucket=self.name, Key=name, Body=content)
        return self / name

    def read(self, name: str) -> bytes:
        """Returns the content of an object."""
        content: bytes = self.client.get_object(Bucket=self.name, Key=name)["Body"].read()
        return content

    def edit_metadata(self, name: str) -> None:
        """Labels an object, by a copy to itself, which changes its time and not its content."""
        source = {"Bucket": self.name, "Key": name}
        metadata = {"label": secrets.token_hex(3)}
        self.client.copy_object(
            Bucket=self.name, Key=name, CopySource=source, Metadata=metadata, MetadataDirective="REPLACE"
        )

    def upload(self, folder: Path, prefix: str) -> str:
        """Copies the files of a local folder to a place in the bucket; returns its URI."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return self / prefix

    def download(self, prefix: str, folder: Path) -> Path:
        """Copies all below a place in the bucket into a local folder; returns that."""
        for name in self.names(f"{prefix}/"):
            path = folder / name.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(name))
        return folder

    def unfinished_uploads(self) -> list[str]:
        """Returns the names of objects whose uploads in parts were neither completed nor cancelled."""
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]
