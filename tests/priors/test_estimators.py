"""Sapiens and the captioner: real formats on disk, what they answer, and what is not believed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (  # noqa: TID253 (what is built)
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    OPTConfig,
)

from geneman.errors import MissingComponentError
from geneman.preprocess import prepare
from geneman.preprocess.framing import prompt_for
from geneman.preprocess.given_maps import GivenMaps
from geneman.priors.bundle import Captioner, Priors, ShapePrior, Surfaces
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.captions import Blip2, checked
from geneman.priors.economy import Economy
from geneman.priors.sapiens import HEIGHT, WIDTH, Estimator, Sapiens
from geneman.view import Framing, HiddenSide
from tests.full_weights import write_scripted, write_tokenizer
from tests.synthetic import figure_view
from tests.tiny_photo import write_photo

VIEW = figure_view(64)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


class Told:
    """A shape prior that keeps what it was told."""

    name = "told"

    def surfaces(
        self,
        colour: Tensor,
        mask: Tensor,
        landmarks: Tensor,
        framing: Framing,
        *,
        normal: Tensor | None = None,
        depth: Tensor | None = None,
    ) -> Surfaces:
        self.normal, self.depth = normal, depth
        return Surfaces(colour, mask, HiddenSide(mask, colour, colour))


class Answering(torch.nn.Module):
    """A scripted estimator that says how it was asked: size, and the standardised picture."""

    def __init__(self) -> None:
        super().__init__()
        self.share = torch.nn.Parameter(torch.ones(1))

    def forward(self, planes: Tensor) -> Tensor:
        assert planes.shape[1] == 3
        assert planes.shape[2] == 1024
        assert planes.shape[3] == 768
        return planes * self.share


def estimator(path: Path, network: torch.nn.Module) -> Estimator:
    torch.jit.script(network).save(str(path))
    return Estimator.from_file(path, Economy())


def asked(prior: ShapePrior, **known: Tensor) -> None:
    prior.surfaces(VIEW.colour, VIEW.mask, VIEW.landmarks, VIEW.framing, **known)


def test_an_estimator_sees_the_standardised_picture_and_answers_in_its_size(tmp_path: Path) -> None:
    grey = torch.full((50, 40, 3), 0.7)
    found = estimator(tmp_path / "net.pt2", Answering())(grey)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(found, ((0.7 - mean) / deviation).expand(50, 40, 3))
    assert (HEIGHT, WIDTH) == (1024, 768)


def test_estimates_are_unit_inside_and_zero_outside_and_completed_behind(tmp_path: Path) -> None:
    write_scripted(tmp_path / "normal.pt2", 3)
    write_scripted(tmp_path / "depth.pt2", 1)
    behind = Told()
    prior = Sapiens(
        Estimator.from_file(tmp_path / "normal.pt2", Economy()),
        Estimator.from_file(tmp_path / "depth.pt2", Economy()),
        behind,
    )
    assert isinstance(prior, ShapePrior)
    asked(prior)
    inside = VIEW.mask > 0.5
    assert behind.normal is not None
    assert behind.depth is not None
    torch.testing.assert_close(behind.normal[inside].norm(dim=1), torch.ones(int(inside.sum())))
    assert behind.normal[~inside].abs().max() == 0
    assert behind.depth[~inside].abs().max() == 0
    assert behind.depth[inside].std() > 0
    assert prior.name == "Sapiens (normals and depth), told"


def test_given_maps_are_believed_and_absent_estimators_leave_it_to_the_prior_behind() -> None:
    behind = Told()
    asked(Sapiens(None, None, behind))
    assert behind.normal is None
    assert behind.depth is None
    asked(Sapiens(None, None, behind), normal=VIEW.normal, depth=VIEW.depth)
    assert behind.normal is VIEW.normal
    assert behind.depth is VIEW.depth


def test_a_file_that_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"no")
    with pytest.raises(MissingComponentError, match="must be a TorchScript file"):
        Estimator.from_file(tmp_path / "net.pt2", Economy())


# ---- captions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (" a man in a grey\nsweatshirt ", "a man in a grey sweatshirt"),
        ("a young boy wearing a purple wizard hat", "a young boy wearing a purple wizard hat"),
        ("a woman in a checkered shirt dress.", "a woman in a checkered shirt dress"),
        ("two people are dancing", "two people are dancing"),
        ("women's blue dress, size m", None),
        ("womens denim jacket with a belt", None),
        ("the men's jacket in navy", None),
        ("a woman in a dress, $49.99", None),
        ("a woman's dress from the summer collection", None),
        ("buy a girl dress at shop.com", None),
        ("a dress on a white background", None),
        ("a manual of human anatomy", None),
        ("a woman", None),
        ("a man man man man man", None),
        ("", None),
    ],
)
def test_captions_of_something_else_are_dropped(said: str, kept: str | None) -> None:
    assert checked(said) == kept


def tiny_blip2(folder: Path) -> None:
    write_tokenizer(folder)
    words = 190
    vision = Blip2VisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    former = Blip2QFormerConfig(
        vocab_size=words,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        encoder_hidden_size=16,
    )
    text = OPTConfig(
        vocab_size=words,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=32,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=former.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=words - 3,
    )
    torch.manual_seed(0)
    Blip2ForConditionalGeneration(config).save_pretrained(folder)


def test_the_captioner_reads_its_folder_and_shows_the_person_on_white(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blip2(tmp_path / "caption")
    captioner = Blip2.from_folder(tmp_path / "caption", Economy())
    assert isinstance(captioner, Captioner)
    seen = []
    hook = captioner.network.vision_model.register_forward_pre_hook(
        lambda _, given, named: seen.append(named.get("pixel_values", *given[:1])),
        with_kwargs=True,
    )
    assert captioner(VIEW.colour, VIEW.mask) is None  # it has learnt nothing to say
    hook.remove()
    (pixels,) = seen
    assert pixels.shape == (1, 3, 32, 32)
    white = (1 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    torch.testing.assert_close(pixels[0, :, 0, 0], white, atol=1e-4, rtol=0)
    said = [["a man in a grey sweatshirt"]]
    monkeypatch.setattr(captioner.tokenizer, "batch_decode", lambda *_, **__: said[0])
    assert captioner(VIEW.colour, VIEW.mask) == "a man in a grey sweatshirt"


@pytest.mark.parametrize(
    ("said", "given", "prompt", "source"),
    [
        ("a man in a hat", None, "a man in a hat", "captioner"),
        ("a man in a hat", "somebody", "somebody", "given"),
        (None, None, "", "the framing"),
    ],
)
def test_a_caption_is_the_prompt_unless_one_is_given(
    tmp_path: Path, said: str | None, given: str | None, prompt: str, source: str
) -> None:
    class Captions:
        name = "captioner"

        def __call__(self, colour: Tensor, mask: Tensor) -> str | None:
            return said

    photo, mask, *_ = write_photo(tmp_path)
    prepared = prepare.run(
        Path(photo),
        given=GivenMaps(mask=Path(mask.partition("=")[2]), prompt=given),
        priors=Priors(shape=Inflation(), caption=Captions()),
        config=prepare.PrepareConfig(size=128),
        device=torch.device("cpu"),
    )
    assert prepared.sources["prompt"] == source
    if said is None:
        assert prepared.view.prompt == prompt_for(prepared.view.framing)
    else:
        assert prepared.view.prompt == prompt
