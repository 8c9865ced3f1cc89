"""Filesystems of fsspec: S3, the web, Hugging Face and others."""
