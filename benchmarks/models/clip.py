"""CLIP as a classifier: texts of the class names become the last layer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    quick_gelu: bool | None = None,
) -> nn.Module:
    """A CLIP of ``open_clip`` (the extra ``open-clip``) that chooses among class names.

    Parameters
    ----------
    architecture : str
        Its name in open_clip, such as ``ViT-B-32``.
    classes : str or sequence of str
        As of ``build``: what is put into the templates. Of ``imagenet`` open_clip's own names, since a crane is a bird and a machine.
    templates : sequence of str
        Sentences with ``{}`` where the name goes; the embeddings of a class's sentences are averaged.
    pretrained : str, optional
        The tag of weights that open_clip knows, from its cache or downloaded.
    weights : str, optional
        A local file instead, or ``"random"``.
    quick_gelu : bool, optional
        Of a file: whether it was trained with OpenAI's activation, QuickGELU; by its tag open_clip knows. Left out, what the architecture
        says, such as ``ViT-B-32-quickgelu``.

    Returns
    -------
    ZeroShot
        Of images that are normalised, to logits. It knows its preprocessing: that of the tag; of a file, that of all tags of the
        architecture, and none where these differ, so that ``build`` asks for it. What SigLIP squeezes into a square is cropped to one.

    Raises
    ------
    WeightsError
        Where a package is missing, or weights or what the texts need cannot be fetched or read, or do not fit.
    ValueError
        For an unknown architecture, a template without ``{}``, neither or both of ``pretrained`` and ``weights``, classes of one text,
        ``quick_gelu`` with a tag, and a file without it where the architecture says no and all its published weights say yes.
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
    names = list(class_names(classes))
    if classes == "imagenet":  # two of which open_clip calls the same
        theirs = open_clip.IMAGENET_CLASSNAMES
        names = [name if theirs.count(name) == 1 else ours for name, ours in zip(theirs, names, strict=True)]
    settings = open_clip.get_model_config(architecture)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    published = [open_clip.get_pretrained_cfg(architecture, tag) for tag in ([pretrained] if pretrained else tags)]
    if pretrained and not published[0]:
        raise ValueError(
            f"model.net.pretrained={pretrained}: open_clip has no such weights of {architecture}{suggestion(pretrained, tags)}; "
            "a file is model.weights=FILE"
        )
    if pretrained and quick_gelu is not None:
        raise ValueError(f"model.net.quick_gelu={quick_gelu} is of a file; of model.net.pretrained={pretrained} open_clip knows")
    own, always = settings.get("quick_gelu", False), bool(published) and all(tag.get("quick_gelu", False) for tag in published)
    if weights not in (None, RANDOM) and quick_gelu is None and always and not own:
        raise ValueError(
            f"model.weights={weights}: weights of {architecture} are published with QuickGELU, and made without it: give "
            "model.net.quick_gelu=true, or false for what this file was trained with"
        )
    quick = own or (pretrained is not None and always) if quick_gelu is None else quick_gelu
    changed = {} if quick_gelu is None else {"quick_gelu": quick_gelu}
    reading = f"open_clip cannot read texts for {architecture} (some need transformers: pip install 'dynamic-ablation[open-clip]')"
    with _in_a_line(reading):
        tokenize = open_clip.get_tokenizer(architecture)
    with _in_a_line(f"open_clip cannot make {architecture}{f' of {pretrained}, pass model.weights=FILE' if pretrained else ''}"):
        if pretrained:
            clip: Any = open_clip.create_model(architecture, pretrained=pretrained, force_quick_gelu=quick)
        else:
            clip = unloaded(lambda: open_clip.create_model(architecture, pretrained_text=False, **changed), weights)
            clip = clip if weights == RANDOM else load(clip, weights)
    clip = clip.float().eval()
    with _in_a_line(reading):
        texts = _embedded(clip, tokenize, names, templates)
    _check_apart(names, texts)
    bias = getattr(clip, "logit_bias", None)
    net = ZeroShot(clip.visual, texts, float(clip.logit_scale.detach().exp()), 0.0 if bias is None else float(bias.detach()))
    shown = open_clip.get_model_preprocess_cfg(clip)
    side = shown["size"][0] if isinstance(shown["size"], tuple | list) else shown["size"]
    net.__dict__["pretrained_cfg"] = {"input_size": (3, side, side), "crop_pct": 1.0} | _agreed(shown, published, weights)
    net.__dict__["stated_settings"] = settings | {"quick_gelu": quick}
    return net


def _agreed(usual: dict[str, Any], published: Sequence[dict[str, Any]], weights: str | None) -> dict[str, Any]:
    """Interpolation, mean and deviation of published weights, as far as all are the same.

    usual: those of open_clip where nothing is published, which untrained weights get.
    """
    found = {}
    for name in ("interpolation", "mean", "std"):
        values = {json.dumps(tag.get(name, usual[name])) for tag in published}
        if len(values) == 1:
            found[name] = json.loads(values.pop())
        elif weights in (None, RANDOM):
            found[name] = usual[name]
    return found


def _check_apart(names: Sequence[str], texts: Float[Tensor, "classes width"]) -> None:
    """Raises ValueError for two classes with one embedding, between which no image decides."""
    first: dict[bytes, str] = {}
    for name, text in zip(names, texts, strict=True):
        if (content := text.numpy().tobytes()) in first:
            raise ValueError(
                f"model.classes: the classes {first[content]!r} and {name!r} have one text for open_clip: give them names that differ"
            )
        first[content] = name


@contextmanager
def _in_a_line(what: str) -> Iterator[None]:
    """Whatever the libraries behind open_clip raise, as one line."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(f"{what}: {said}") from None


def _embedded(clip: Any, tokenize: Any, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "classes width"]:
    """One embedding a class, of length 1: the mean of its sentences'."""
    found = []
    with torch.no_grad():
        for name in names:
            sentences = clip.encode_text(tokenize([template.format(name) for template in templates]))
            found.append(nn.functional.normalize(sentences, dim=-1).mean(0))
    return nn.functional.normalize(torch.stack(found), dim=-1)
