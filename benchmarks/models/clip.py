"""CLIP as a classifier: texts of the class names become the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.inputs.messages import suggestion
from benchmarks.models.networks import unloaded
from benchmarks.models.weights import RANDOM, WeightsError, load

__version__ = "1"

TEMPLATES = ("a photo of a {}.",)


class ZeroShot(nn.Module):
    """An image encoder with text embeddings as its last layer: cosines times the learned scale are the logits.

    Parameters
    ----------
    visual : torch.nn.Module
        Images that are normalised, to embeddings.
    texts : Tensor [classes, width]
        Of length 1: one embedding a class. They are among the network's state, so that its hash covers them.
    scale, bias : float
        Of the logits; the bias is of SigLIP.
    """

    texts: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, visual: nn.Module, texts: Float[Tensor, "classes width"], scale: float, bias: float = 0.0) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("texts", texts)
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("bias", torch.tensor(bias))

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits.

        Parameters
        ----------
        images : Tensor [m, 3, h, w]
            Normalised.

        Returns
        -------
        Tensor [m, classes]
            Logits.
        """
        embedded = self.visual(images)
        embedded = embedded[0] if isinstance(embedded, tuple) else embedded
        return self.scale * nn.functional.normalize(embedded, dim=-1) @ self.texts.T + self.bias


def open_clip_net(
    architecture: str,
    classes: str | Sequence[str],
    *,
    templates: Sequence[str] = TEMPLATES,
    pretrained: str | None = None,
    weights: str | None = None,
) -> nn.Module:
    """A CLIP of ``open_clip`` (the extra ``open-clip``) that chooses among class names.

    Parameters
    ----------
    architecture : str
        Its name in open_clip, such as ``ViT-B-32``.
    classes : str or sequence of str
        As of ``build``: what is put into the templates.
    templates : sequence of str
        Sentences with ``{}`` where the name goes; the embeddings of a class's sentences are averaged.
    pretrained : str, optional
        The tag of weights that open_clip knows, from its cache or downloaded.
    weights : str, optional
        A local file instead, or ``"random"``.

    Returns
    -------
    ZeroShot
        Of images that are normalised, to logits. It knows its preprocessing; what SigLIP squeezes into a square is cropped to one.

    Raises
    ------
    WeightsError
        Where the package is missing, or weights cannot be fetched or read, or do not fit.
    ValueError
        For an unknown architecture, a template without ``{}``, and neither or both of ``pretrained`` and ``weights``.
    """
    if not templates or any("{}" not in template for template in templates):
        raise ValueError(f"model.net.templates={list(templates)}: give sentences with {{}} where the class's name goes")
    if (pretrained is None) == (weights is None):
        raise ValueError("model=open_clip needs weights: give model.net.pretrained=TAG, or model.weights=FILE or random")
    try:
        import open_clip
    except ImportError:
        raise WeightsError("model=open_clip needs open_clip: pip install 'dynamic-ablation[open-clip]'") from None
    from benchmarks.models.classifier import class_names

    known = open_clip.list_models()
    if architecture not in known:
        raise ValueError(f"model.net.architecture={architecture!r}: open_clip has no such network{suggestion(architecture, known)}")
    if weights is not None:
        clip: Any = unloaded(lambda: open_clip.create_model(architecture), weights)
        clip = clip if weights == RANDOM else load(clip, weights)
    else:
        try:
            clip = open_clip.create_model(architecture, pretrained=pretrained)
        except (OSError, RuntimeError, AssertionError) as error:
            said = " ".join(str(error).split())[:300]
            raise WeightsError(f"open_clip could not fetch {architecture}, {pretrained} ({said}): pass model.weights=/path/to/it") from None
    clip = clip.float().eval()
    texts = _embedded(clip, open_clip.get_tokenizer(architecture), class_names(classes), templates)
    bias = getattr(clip, "logit_bias", None)
    net = ZeroShot(clip.visual, texts, float(clip.logit_scale.detach().exp()), 0.0 if bias is None else float(bias.detach()))
    shown = open_clip.get_model_preprocess_cfg(clip)
    side = shown["size"][0] if isinstance(shown["size"], tuple | list) else shown["size"]
    net.__dict__["pretrained_cfg"] = {
        "input_size": (3, side, side),
        "crop_pct": 1.0,
        "interpolation": shown["interpolation"],
        "mean": tuple(shown["mean"]),
        "std": tuple(shown["std"]),
    }
    return net


def _embedded(clip: Any, tokenize: Any, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "classes width"]:
    """One embedding a class, of length 1: the mean of its sentences'."""
    found = []
    with torch.no_grad():
        for name in names:
            sentences = clip.encode_text(tokenize([template.format(name) for template in templates]))
            found.append(nn.functional.normalize(sentences, dim=-1).mean(0))
    return nn.functional.normalize(torch.stack(found), dim=-1)
