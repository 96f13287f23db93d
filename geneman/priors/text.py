"""Prompts to what cross-attention reads: CLIP's text tower, asked once for each prompt.

T tokens, D numbers each.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geneman.priors.economy import Economy
from geneman.priors.folders import read_network, read_part


@dataclass
class TextEncoder:
    """A tokenizer and a text tower, with the answers so far."""

    tokenizer: Any
    tower: nn.Module
    economy: Economy
    known: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def from_folder(folder: Path, economy: Economy) -> "TextEncoder":
        """Read `tokenizer/` and `text_encoder/` of a Stable Diffusion folder."""
        from transformers import CLIPTextModel, CLIPTokenizer

        tokenizer = read_part(CLIPTokenizer, folder / "tokenizer")
        tower = read_network(CLIPTextModel, folder / "text_encoder")
        return TextEncoder(tokenizer, economy.adopt(tower), economy)

    @torch.no_grad()
    def __call__(self, prompt: str) -> Float[Tensor, "1 t d"]:
        """Give a prompt's embedding: the tower's last hidden state, padded to its full length."""
        if prompt not in self.known:
            tokens = self.tokenizer(
                prompt,
                padding="max_length",
                max_length=self.tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            with self.economy.at_work(self.tower):
                found = self.tower(tokens.to(self.economy.device))
            self.known[prompt] = found.last_hidden_state.float()
        return self.known[prompt]
