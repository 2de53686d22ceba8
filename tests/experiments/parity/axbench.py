"""AxBench's detection methods on one of its Concept10 sets, each against scikit-learn by AxBench's formula.

AxBench published no figures for models that fit here; what can be held to a number is that our methods compute what
theirs do. The reference takes the place of the peer's figure. Model: pico; tokens: real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from saebench_lite import registry
from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooling import pooled_codes
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import ProbeSubject, SAESubject, Subject, TextSubject
from saebench_lite.baselines import bag_of_words, lat
from saebench_lite.bundled import sae_folders
from saebench_lite.loaders.native import load as load_native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.sources.axbench import load
from saebench_lite.tasks import concept_detection as task
from tests.experiments.parity.rows import HOOK, Row

PART = "AxBench methods"
CONFIG = task.Config(fit_on="tokens", threshold="test", decimals=3)
Score = Callable[[task.Problem], np.ndarray]
"Scores of the test texts of a problem."


def rows(folder: Path) -> list[Row]:
    ctx = EvalContext(LanguageModel.load("pico"), HOOK, load(str(folder), None))
    problems = task.prepare(ctx, CONFIG, [42])
    acts = ctx.acts(ctx.data.concepts[0].corpus)
    name = sorted(sae_folders())[0]
    sae = load_native(name)
    out = []
    for method, score in references(acts, problems).items():
        baseline = registry.get("baselines", method)
        who: Subject
        if baseline.probe is not None:
            who = ProbeSubject(name=method, kind="baseline", fingerprint=method, probe=baseline.probe)
        else:
            assert baseline.texts_probe is not None
            who = TextSubject(name=method, kind="baseline", fingerprint=method, score=baseline.texts_probe)
        out.append(row(folder, method, ctx, problems, who, score))
    table = pooled_codes(sae, acts, ("max",))["max"].double().round(decimals=3).numpy()
    who = SAESubject(name="sae", kind="sae", fingerprint="sae", sae=sae)
    return [*out, row(folder, f"SAE-A, {name.name}", ctx, problems, who, lambda p: best_latent(table, p))]


def row(folder: Path, method: str, ctx: EvalContext, problems: list[task.Problem], who: Subject, score: Score) -> Row:
    values = task.evaluate(who, ctx, problems, CONFIG, [42]).table("auroc")[2]
    reference = [roc_auc_score(p.test_positive.numpy(), np.round(score(p), 3)) for p in problems]
    note = "reference: scikit-learn by AxBench's formula"
    return Row(PART, folder.name, f"{method}, mean AUROC", float(np.mean(reference)), float(values.mean()), 2e-3, note)


def references(acts: Acts, problems: list[task.Problem]) -> dict[str, Score]:
    def tokens(texts: torch.Tensor) -> np.ndarray:
        return acts.take(texts).x.double().numpy()

    def along(weight: np.ndarray, problem: task.Problem) -> np.ndarray:
        some = acts.take(problem.test)
        starts = some.offsets[:-1].numpy()
        return np.maximum.reduceat(some.x.double().numpy() @ weight, starts)

    def split(problem: task.Problem) -> tuple[np.ndarray, np.ndarray]:
        return tokens(problem.train[problem.train_positive]), tokens(problem.train[~problem.train_positive])

    def signed(weight: np.ndarray, problem: task.Problem) -> np.ndarray:
        high, low = (part.mean(0) @ weight for part in split(problem))
        return along(weight if high >= low else -weight, problem)

    def diff_mean(problem: task.Problem) -> np.ndarray:
        high, low = (part.mean(0) for part in split(problem))
        return along(high - low, problem)

    def pca(problem: task.Problem) -> np.ndarray:
        return signed(first_component(split(problem)[0]), problem)

    def paired(problem: task.Problem) -> np.ndarray:
        positive = split(problem)[0]
        generator = torch.Generator().manual_seed(lat.derive_seed("lat", len(positive)))
        positive = positive[torch.randperm(len(positive), generator=generator).numpy()]
        half = len(positive) // 2
        difference = positive[:half] - positive[half : 2 * half]
        difference /= np.maximum(np.linalg.norm(difference, axis=1, keepdims=True), 1e-12)
        return signed(first_component(difference), problem)

    def words(problem: task.Problem) -> np.ndarray:
        texts = problem.concept.corpus.texts
        counter = CountVectorizer()
        x = counter.fit_transform([texts[i] for i in problem.train])
        model = LogisticRegression(C=bag_of_words.STRENGTH, max_iter=10_000, tol=1e-8)
        model.fit(x, problem.train_positive.numpy())
        return model.decision_function(counter.transform([texts[i] for i in problem.test]))

    return {"diff_in_means": diff_mean, "positive_pca": pca, "lat": paired, "bag_of_words": words}


def first_component(x: np.ndarray) -> np.ndarray:
    """[d] of rows [n, d]; the sign is scikit-learn's."""
    return np.asarray(PCA(2, svd_solver="full").fit(x).components_)[0]


def best_latent(table: np.ndarray, problem: task.Problem) -> np.ndarray:
    """Codes of the latent with the best AUROC on the training texts."""
    train, y = table[problem.train.numpy()], problem.train_positive.numpy()
    areas = [roc_auc_score(y, train[:, j]) for j in range(train.shape[1])]
    return table[problem.test.numpy(), int(np.argmax(areas))]
