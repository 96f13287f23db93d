"""What the photo shows, in words: BLIP-2, and a guard against captions of something else.

The release takes BLIP-2's sentence as it comes; among its own examples are some in the style of a
shop ("woman's dress, blue, size M"), which guide the shape to a product's photo.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from geneman.priors.economy import Economy
from geneman.priors.folders import read_network, read_part
from geneman.priors.novel_view import CLIP_STATISTICS

PEOPLE = re.compile(
    r"\b(wo)?m[ae]n\b|\b(girl|boy|child|kid|baby|toddler|teen|teenager|person|people|lady|guy"
    r"|gentleman|male|female|player|dancer|model|soldier|athlete|cosplayer|bride|groom)s?\b"
)
SHOP = re.compile(
    r"[$€£]|\bsizes?\b|\bsale\b|\bprice|\bbuy\b|\bshop|\bbrand|\bfree shipping|\bstock\b|\bsku\b"
    r"|\b(wo)?m[ae]n'?s'? |\bgirls?' |\bboys?' |\bkids?' |\bcollection\b|\.com\b"
)
ECHO = re.compile(r"\b(\w+)(?: \1\b){2,}")
"""A word three times over: the language model runs in circles."""
LEAST_WORDS, MOST_WORDS = 3, 30


@dataclass(frozen=True)
class Blip2:
    """A `Captioner`: BLIP-2 opt-2.7b, 20 new tokens at most (METHOD section 1)."""

    network: nn.Module
    tokenizer: Any
    economy: Economy
    most_tokens: int = 20
    name: str = "BLIP-2"

    @staticmethod
    def from_folder(folder: Path, economy: Economy) -> "Blip2":
        """Read a folder that transformers has written."""
        from transformers import AutoTokenizer, Blip2ForConditionalGeneration

        network = read_network(Blip2ForConditionalGeneration, folder)
        tokenizer = read_part(AutoTokenizer, folder)
        return Blip2(economy.adopt(network), tokenizer, economy)

    @torch.no_grad()
    def __call__(self, colour: Float[Tensor, "h w 3"], mask: Float[Tensor, "h w"]) -> str | None:
        """Caption the person on white; nothing if the sentence is not about a person."""
        network: Any = self.network
        share = mask[..., None]
        planes = (colour * share + 1 - share).movedim(-1, 0)[None]
        size = network.config.vision_config.image_size
        # Antialiased bicubic, as the picture library that BLIP-2 was trained with.
        small = interpolate(planes, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (small.new_tensor(each)[:, None, None] for each in CLIP_STATISTICS)
        pixels = ((small - mean) / deviation).to(self.economy.device, network.dtype)
        with self.economy.at_work(network):
            tokens = network.generate(pixel_values=pixels, max_new_tokens=self.most_tokens)
        said = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)[0]
        return checked(said)


def checked(caption: str) -> str | None:
    """Give a caption without its flourishes; nothing if it is not a sentence about a person.

    A caller without a caption has the words that the framing gives.
    """
    said = " ".join(caption.replace("\n", " ").split()).strip(" .,-")
    words = said.lower()
    said_of_a_person = PEOPLE.search(words) is not None and SHOP.search(words) is None
    sound = LEAST_WORDS <= len(words.split()) <= MOST_WORDS and ECHO.search(words) is None
    return said if said_of_a_person and sound else None
