"""Shared fixtures: the bundled model, a small ctx, a cache that is the test's own."""

import os
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: more threads would only get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what tests start would compile the package again each time
warnings.filterwarnings("ignore", message=".*longer than the specified maximum.*")

import numpy as np
import pytest
import torch
from hypothesis import settings

from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.saes.affine import AffineSAE

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROOT = Path(__file__).resolve().parent.parent
"Of the repository."
HOOK = "blocks.2.hook_resid_post"


@pytest.fixture(scope="session")
def pico() -> LanguageModel:
    return LanguageModel.load("pico")


@pytest.fixture(scope="session")
def concepts() -> Data:
    """Three of the bundled concepts."""
    from saebench_lite.sources.bundled import load

    return load("", 3)


@pytest.fixture(scope="session")
def few_texts(concepts: Data) -> Data:
    """48 texts of one bundled concept, half of them positive."""
    whole = concepts.concepts[0]
    rows = np.concatenate([np.flatnonzero(whole.positive)[:24], np.flatnonzero(~whole.positive)[:24]])
    corpus = Corpus("few", tuple(whole.corpus.texts[i] for i in rows))
    labelled = (Labelled("few", corpus, np.arange(48), np.arange(48) < 24),)
    return Data("few", datasets=labelled, concepts=labelled, texts=(corpus,))


@pytest.fixture
def sae() -> AffineSAE:
    """A small random SAE that fits pico."""
    g = torch.Generator().manual_seed(0)
    directions = torch.randn(64, 128, generator=g)
    directions /= directions.norm(dim=1, keepdim=True)
    return AffineSAE(W_enc=directions.T, W_dec=directions, activation="topk", k=8)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """No test, and no fixture of a module, reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAEBENCH_LITE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True, scope="session")
def on_the_cpu():
    """A test that names no device has the same numbers on a machine with a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saebench_lite.models.devices.best", lambda: "cpu")
        yield
