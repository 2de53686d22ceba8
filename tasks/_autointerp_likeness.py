"""How alike the windows of a site are: by a text encoder, by words, or on a world by the features they hold."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.activations.prepared import prepared
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.text_similarity import TF_IDF, Embedded, TextSimilarity, TfIdf, embedded
from saebench_lite.worlds.model import BLOCK, WorldModel

TRUE_FEATURES = "true features"


def similarity_of(ctx: EvalContext, corpus: Corpus, encoder: str) -> TextSimilarity:
    """Cosines of a corpus's texts, shared by all subjects of a site.

    What an encoder says of the texts is kept in the cache, under its weights and the texts: other sites and later runs
    read it. SaebenchError, with the ways out, where the encoder is not on this machine.

    Args:
        ctx: the site.
        corpus: windows.
        encoder: `TF_IDF`, or the name, hub id or folder of a text encoder; not asked on a world.
    """
    if isinstance(ctx.lm, WorldModel):
        return TfIdf(feature_names(ctx.lm, corpus.texts), TRUE_FEATURES)
    if encoder == TF_IDF:
        return TfIdf(corpus.texts)
    try:
        lm = LanguageModel.load(encoder, device=ctx.device)
    except SaebenchError as error:
        raise SaebenchError(f"{error}; or compare texts by their words: --set autointerp.encoder={TF_IDF}") from error

    def made() -> dict[str, Tensor]:
        ctx.doing("reading windows with the text encoder")
        return {"rows": embedded(lm, corpus.texts)}

    key = digest(["autointerp", 1, lm.fingerprint(), lm.tokenizer_fingerprint(), lm.device.type, corpus.fingerprint])
    path = None if ctx.cache is None else ctx.cache / "prepared" / f"{key}.safetensors"
    return Embedded(f"{lm.name} {lm.fingerprint()[:16]}", prepared(path, made)["rows"])


def feature_names(model: WorldModel, texts: tuple[str, ...]) -> list[str]:
    """The samples of a world in words: the name of each true feature, once for each token at which it fires."""
    samples = [int(text.split()[1]) for text in texts]
    blocks: dict[int, Tensor] = {}
    out = []
    for sample in samples:
        block, row = divmod(sample, BLOCK)
        if block not in blocks:
            blocks[block] = model.features(block).view(BLOCK, model.tokens, -1).cpu() > 0
        out.append(" ".join(f"f{feature}" for feature in torch.nonzero(blocks[block][row])[:, 1].tolist()))
    return out
