"""The network behind the bundled view prior: a diffusion U-Net over pictures of people.

B images, S pixels along a side; N x N patches, P channels a patch. One picture has seven layers
(colour on white, cover, normals on black), all mapped to [-1, 1] and folded into patches, so that
the convolutions run on maps a quarter as large. Beside the noisy patches the U-Net sees a sketch of
the picture (`sketch.py`), and the photo, twice as fine, in patches twice as large; its tokens look
the photo's features up from anywhere. What is diffused is how the picture differs from its sketch:
a network that knows nothing yet answers with the sketch, and learns only what is wrong with it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, silu

from geneman.errors import MissingComponentError
from geneman.priors.diffusion import Scheduler
from geneman.priors.relative_camera import CAMERA
from geneman.storage import write_whole

LAYERS = {"colour": 3, "cover": 1, "normal": 3}
"""A picture's layers, in the order of their channels."""

PHOTO = 4
"""The photo's channels: colour times cover about grey, and cover."""

ABSENT, NOISY, KNOWN = 0.0, 1.0, 2.0
"""What the network is told of each layer: not there, to be found, or given without noise."""

WRONG = 0.1
"""How much pictures differ from their sketches: variance, in [-1, 1]."""

SHRUNK = 4
"""The photo's tokens form a grid so much smaller than the patches' maps."""


@dataclass(frozen=True)
class ViewShape:
    """The network's shape."""

    size: int = 128
    """S."""
    patch: int = 4
    """Pixels along a side of a patch."""
    levels: tuple[int, ...] = (64, 96, 128, 144)
    """Channels at each level; the last two attend."""
    blocks: int = 1
    """Residual blocks at each level, each way."""
    token: int = 96
    """Width of the photo's tokens."""
    heads: int = 4
    groups: int = 16
    """Of the normalisation; divides every width."""

    @property
    def side(self) -> int:
        """N."""
        return self.size // self.patch

    @property
    def channels(self) -> int:
        """P."""
        return sum(LAYERS.values()) * self.patch**2


STANDARD_SHAPE = ViewShape()
"""9.6 million weights: 19.2 MB in half precision; 2.6 GFLOP a look."""


class ViewNetwork(nn.Module):
    """diffusers' conditional U-Net, with a small encoder of the photo before it."""

    def __init__(self, shape: ViewShape) -> None:
        from diffusers import UNet2DConditionModel

        super().__init__()
        self.shape = shape
        depth = len(shape.levels)
        attends = [level >= depth - 2 for level in range(depth)]
        names = {True: "CrossAttn", False: ""}
        make: Any = UNet2DConditionModel
        features = PHOTO * (2 * shape.patch) ** 2
        self.unet = make(
            sample_size=shape.side,
            in_channels=2 * shape.channels + features,
            out_channels=shape.channels,
            down_block_types=tuple(f"{names[a]}DownBlock2D" for a in attends),
            up_block_types=tuple(f"{names[a]}UpBlock2D" for a in reversed(attends)),
            block_out_channels=shape.levels,
            layers_per_block=shape.blocks,
            norm_num_groups=shape.groups,
            cross_attention_dim=shape.token,
            attention_head_dim=shape.heads,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=CAMERA + len(LAYERS),
        )
        middle = (features + shape.token) // 2
        self.near = nn.Conv2d(features, middle, 3, stride=2, padding=1)
        self.far = nn.Conv2d(middle, shape.token, 3, stride=2, padding=1)
        self.deeper = nn.Conv2d(shape.token, shape.token, 3, padding=1)
        grid = shape.side // SHRUNK
        self.places = nn.Parameter(0.02 * torch.randn(grid * grid, shape.token))
        self.telling = nn.Linear(shape.token + CAMERA, shape.token)
        # As Zero-1-to-3 begins: the features as they are, the camera without a say.
        nn.init.eye_(self.telling.weight)
        nn.init.zeros_(self.telling.bias)
        self.share_left: Tensor
        self.register_buffer("share_left", view_scheduler().alphas_cumprod, persistent=False)
        self.layer: Tensor
        counts = torch.tensor([count * shape.patch**2 for count in LAYERS.values()])
        of_channel = torch.arange(len(LAYERS)).repeat_interleave(counts)
        self.register_buffer("layer", of_channel, persistent=False)

    def spread(self, present: Float[Tensor, "b 3"]) -> Float[Tensor, "b c 1 1"]:
        """Say of each channel of the patches what is said of its layer."""
        return present[:, self.layer, None, None]

    def look(
        self, photo: Float[Tensor, "b 4 p p"]
    ) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b k n n"]]:
        """See photos as `shown` lays them out, twice as fine as the pictures.

        Returns:
            The photo's tokens, and its patches.
        """
        patches = pixel_unshuffle(photo, 2 * self.shape.patch)
        far = self.far(silu(self.near(patches)))
        far = far + self.deeper(silu(far))
        return far.flatten(2).transpose(1, 2) + self.places, patches

    def forward(
        self,
        sample: Float[Tensor, "b c n n"],
        timestep: Tensor,
        *,
        tokens: Float[Tensor, "b t d"],
        patches: Float[Tensor, "b k n n"],
        sketch: Float[Tensor, "b c n n"],
        camera: Float[Tensor, "b 8"],
        present: Float[Tensor, "b 3"],
    ) -> Float[Tensor, "b c n n"]:
        """Predict v of noisy patches.

        Args:
            sample: Noisy patches; those of absent layers are 0.
            timestep: Diffusion times.
            tokens: Of the photo; 0 where it is dropped.
            patches: Of the photo; 0 where it is dropped.
            sketch: What the picture may look like, folded; 0 where the photo is dropped.
            camera: Where the picture is taken from, as `relative_camera` says it.
            present: Which layers the picture has, in the order of `LAYERS`.
        """
        widened = camera[:, None, :].expand(-1, tokens.shape[1], -1)
        told = self.telling(torch.cat([tokens, widened.to(tokens)], dim=2))
        # z = sqrt(a) x + sqrt(1 - a) e, v = sqrt(a) e - sqrt(1 - a) x. With x less the sketch s, z
        # is less sqrt(a) s, and v more sqrt(1 - a) s. Layers without noise have nothing to differ.
        noisy = self.spread(present) == NOISY
        expected = sketch * noisy
        left = self.share_left[timestep][:, None, None, None].to(sample)
        differs = sample - left.sqrt() * expected
        # What is left has variance w, and z has t = a w + 1 - a. Were no more known of it, v would
        # be sqrt(a (1 - a)) (1 - w) z / t; what v differs from that by has variance w / t. So the
        # network sees and gives numbers of about 1 (Karras et al. 2022, section 5).
        sketched = sketch.abs().amax(dim=(1, 2, 3), keepdim=True) > 0
        variance = torch.where(noisy & sketched, WRONG, 1.0).to(sample)
        total = left * variance + 1 - left
        answer: Tensor = self.unet(
            torch.cat([differs * total.rsqrt(), sketch, patches], dim=1),
            timestep,
            encoder_hidden_states=told,
            class_labels=torch.cat([camera, present], dim=1).to(sample.dtype),
        ).sample
        likely = (left * (1 - left)).sqrt() * (1 - variance) / total * differs
        return answer * (variance / total).sqrt() + likely - (1 - left).sqrt() * expected


def view_scheduler() -> Scheduler:
    """Give the schedule: Zero-1-to-3's betas, moved so that nothing is left at the last time.

    So a stage's noise means nearly what it means to the paper's priors, and a picture drawn from
    pure noise begins where training began.

    Raises:
        MissingComponentError: diffusers is not installed.
    """
    try:
        from diffusers import DDIMScheduler
    except ImportError as error:
        raise MissingComponentError(
            "The view prior needs the package diffusers",
            value=str(error),
            remedy="run: pip install diffusers",
        ) from error
    make: Any = DDIMScheduler
    scheduler: Scheduler = make(
        beta_start=0.00085,
        beta_end=0.0120,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=True,
    )
    return scheduler


def shown(colour: Float[Tensor, "b 3 p p"], cover: Float[Tensor, "b 1 p p"]) -> Tensor:
    """Lay a cut-out on grey as the network expects photos: B 4 P P."""
    return torch.cat([(colour * 2 - 1) * cover, cover * 2 - 1], dim=1)


def folded(pictures: Float[Tensor, "b c s s"], patch: int) -> Float[Tensor, "b k n n"]:
    """Map layers in [0, 1] to patches in [-1, 1]; a layer's channels stay side by side."""
    return pixel_unshuffle(pictures * 2 - 1, patch)


def unfolded(patches: Float[Tensor, "b k n n"], patch: int) -> Float[Tensor, "b c s s"]:
    """Turn patches into layers again: the inverse of `folded`, limited to [0, 1]."""
    return ((pixel_shuffle(patches, patch) + 1) / 2).clamp(0, 1)


def resized(pictures: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    """Average down, or interpolate up, to a square."""
    if pictures.shape[-1] >= size:
        return interpolate(pictures, size=(size, size), mode="area")
    return interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)


def write_view_weights(
    path: Path, shape: ViewShape, state: Mapping[str, Tensor], record: Mapping[str, object]
) -> None:
    """Keep a network in half precision, with its shape and how it was trained beside it.

    Args:
        path: A .safetensors file.
        shape: The network's shape.
        state: Its weights.
        record: What a model card says: data, steps, figures.
    """
    halves = {name: tensor.detach().cpu().half().contiguous() for name, tensor in state.items()}
    about = {"shape": json.dumps(asdict(shape)), "record": json.dumps(dict(record))}
    write_whole(path, save(halves, metadata=about))


def read_view_weights(path: Path) -> tuple[ViewNetwork, dict[str, object]]:
    """Give the network that a file holds, ready to be asked, and its training record.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    told = json.loads(about["shape"])
    network = ViewNetwork(ViewShape(**{**told, "levels": tuple(told["levels"])}))
    network.load_state_dict(state)
    network.eval().requires_grad_(requires_grad=False)
    record: dict[str, object] = json.loads(about["record"])
    return quick(network), record


def quick(network: ViewNetwork) -> ViewNetwork:
    """Lay the weights out as the processor's convolutions like them best."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in stubs
    return network
