"""Absorption: does the latent of a general feature fall silent on words where a more special latent takes over?

Words of the vocabulary stand after worked examples ("\\n word has the first letter: W", ten of them, from the same
part of the vocabulary); the activation is read at the word. A linear probe per letter (parent) is the truth. For
k = 1, 2, ... a letter's k-sparse probe uses the k latents with the largest weights in an L1-penalised probe; its main
latents grow while F1 on the test words rises by more than 0.03. For a test word that the true probe gets right, with
unit probe direction u, P = x . u, contributions p_j = f_j d_j . u and c_j = cos(u, d_j):

- full absorption: all main latents silent, and the latent with the largest p_j has c_j >= 0.025 and p_j >= 0.4 P;
- absorption fraction: M = main latents' sum of p_j, A = sum of the three largest p_j > 0 among other latents with
  c_j >= 0.1; 0 if M >= P or A < 0.4 P, 1 if else M <= 0, else z / (z + M) with z = min(A, P - M).

Figures are means over the letters whose true probe reaches F1 0.6. Any hierarchy of one-token words can take the place
of letters (`hierarchy=file.json`), and so can parents told at each text's last token, where the data brings them.

Sources: Chanin et al., arXiv:2409.14507; SAEBench, arXiv:2503.09532, 0.6.0's definition of the fraction. Where we
differ, and why:
- SAEBench asks for 20 of 26 letters; here three quarters of those with enough one-token words, as vocabularies differ;
- every draw comes from the seed (SAEBench's absorption never reads its own);
- P <= 0 cannot be divided by: such words are left out and counted;
- p_j carries the decoder's norm, so a score does not depend on how an SAE splits scale between code and decoder;
- the prompt ends at the word: a causal model cannot see what follows, and any tokenizer gives the right position;
- the true probe and the sparse ones are penalised optima instead of 50 epochs of Adam; the L1 ranking runs over each
  letter's 30 latents with the largest standardised difference of means.
An SAE that knows nothing of letters absorbs nothing: read the score beside `f1_k1`.
The profile saebench-0.6 (`run --profile`) is SAEBench's choices; docs/parity.md has their effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.acts import Acts
from saebench_lite.bench import Bench
from saebench_lite.card import Card, Metric
from saebench_lite.data import Corpus, Parents
from saebench_lite.errors import NotApplicable
from saebench_lite.hierarchy import Hierarchy, first_letters, from_file
from saebench_lite.metrics import f1
from saebench_lite.peer_probes import fit_adam
from saebench_lite.pool import pooled_codes
from saebench_lite.pooled import Pooled
from saebench_lite.probes import fit_logistic, fit_sparse_ranking, scores, standardise
from saebench_lite.sae import SAE, decoder_of
from saebench_lite.stats import derive_seed, rng
from saebench_lite.task import Direction, Scores, Subject, Task

CARD = Card(
    name="absorption",
    version=1,
    claim="how often a general feature's latent is silent because a more special one took its place",
    source="arXiv:2409.14507; SAEBench, arXiv:2503.09532",
    headline=("absorption_fraction", "full_absorption"),
    metrics=(
        Metric(name="absorption_fraction", meaning="share absorbers carry", better="lower", lo=0.0, hi=1.0),
        Metric(name="full_absorption", meaning="share of words fully absorbed", better="lower", lo=0.0, hi=1.0),
        Metric(name="splits", meaning="main latents per parent", better="lower", unit="latents", lo=1.0),
        Metric(name="f1_k1", meaning="F1 of the best single latent's probe", better="higher", lo=0.0, hi=1.0),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    hierarchy: str = ""
    "JSON file with a template and {parent: [words]}; empty: first letters of the model's vocabulary."
    examples: int = 10
    "Worked examples in front of the word."
    max_words: int = 20_000
    "Words used at most, drawn by seed."
    max_rows: int = 4_000
    "Texts used at most, drawn by seed, where the data brings its own hierarchy."
    test_share: float = 0.2
    "Share of the words that the probes do not see."
    min_probe_f1: float = 0.6
    "A parent counts where the model's own probe reaches this F1 on test words."
    min_share: float = 0.75
    "Share of the parents with enough words (five in each part) that must reach it, else not applicable."
    max_k: int = 10
    "Latents in the largest sparse probe."
    f1_jump: float = 0.03
    "F1 a further latent must add to become a main latent."
    full_cosine: float = 0.025
    absorber_cosine: float = 0.1
    proportion: float = 0.4
    "Share of P an absorber must carry."
    max_absorbers: int = 3
    probes: Literal["optimum", "adam"] = "optimum"
    "Ours, or SAEBench's: 50 epochs of Adam for the true probe and the ranking, sparse probes on columns as they are."
    contribution: Literal["decoder", "cosine"] = "decoder"
    "What a code is multiplied by: d_j . u, or the cosine alone, as in SAEBench."
    keep_negative: bool = False
    "Count words with P <= 0 as not absorbed instead of leaving them out."


class Prepared(NamedTuple):
    """One seed's words and the model's own probes."""

    seed: int
    acts: Acts
    "One row a word, training words first."
    x: Tensor
    "[n, d] float64"
    y: Tensor
    "[parents, n] bool"
    n_train: int
    parents: list[str]
    truth: Direction
    "The model's own probes."
    probe_f1: Tensor
    "[parents] on test words"
    counts: list[bool]
    "Which parents are scored."


def word_prompts(hierarchy: Hierarchy, chosen: np.ndarray, n_train: int, examples: int, seed: int) -> list[str]:
    """A prompt per chosen word, ending at the word; examples come from the word's own part (train or test)."""
    draw = rng("absorption examples", seed)
    question = hierarchy.template
    prompts = []
    for i, word in enumerate(chosen):
        part = chosen[:n_train] if i < n_train else chosen[n_train:]
        picked = draw.choice(len(part), size=min(examples + 1, len(part)), replace=False)
        others = [part[j] for j in picked if part[j] != word][:examples]
        lines = [question.format(word=hierarchy.words[o]) + " " + hierarchy.parents[o] for o in others]
        prompts.append(
            "".join(f"\n{line}" for line in lines) + "\n" + question.split("{word}")[0] + hierarchy.words[word]
        )
    return prompts


def main_latents(f1_by_k: Sequence[float], jump: float) -> int:
    """How many latents a parent is split into: k grows while F1 beats the last accepted one by more than `jump`."""
    accepted = 1
    for k in range(2, len(f1_by_k) + 1):
        if f1_by_k[k - 1] <= f1_by_k[accepted - 1] + jump:
            break
        accepted = k
    return accepted


def absorbed(
    f: Tensor, contribution: Tensor, cosine: Tensor, main: Tensor, projection: Tensor, cfg: Config
) -> tuple[Tensor, Tensor]:
    """Fraction and full absorption (0/1) of each word, both [n].

    f [n, m] codes; contribution [m] = d_j . u; cosine [m]; main [k] latents; projection [n] = P > 0.
    """
    p = f * contribution
    total_main = p[:, main].sum(-1)
    top = p.argmax(-1)
    p_top = p.gather(-1, top[:, None])[:, 0]
    silent = (f[:, main] < 1e-8).all(-1)
    full = silent & (cosine[top] >= cfg.full_cosine) & (p_top >= cfg.proportion * projection)
    others = cosine >= cfg.absorber_cosine
    others[main] = False
    strongest = torch.where(others, p, 0.0).clamp(min=0.0).topk(min(cfg.max_absorbers, p.shape[1])).values.sum(-1)
    z = torch.minimum(strongest, projection - total_main)
    fraction = torch.where(total_main <= 0, 1.0, z / (z + total_main).clamp(min=1e-30))
    none = (total_main >= projection) | (strongest < cfg.proportion * projection)
    return torch.where(none, 0.0, fraction).clamp(0.0, 1.0), full.double()


class Examples(NamedTuple):
    """One row an example, training rows first."""

    acts: Acts
    names: list[str]
    y: Tensor
    "[parents, n] bool"
    n_train: int


def prepare(bench: Bench, cfg: Config, seeds: Sequence[int]) -> list[Prepared]:
    if bench.data.parents and not cfg.hierarchy:
        return [
            _prepared(bench, cfg, seed, _planted(bench, cfg, p, seed), p.name)
            for p in bench.data.parents
            for seed in seeds
        ]
    hierarchy = from_file(cfg.hierarchy) if cfg.hierarchy else first_letters(bench.lm.tokenizer)
    return [_prepared(bench, cfg, seed, _words(bench, cfg, hierarchy, seed), hierarchy.name) for seed in seeds]


def _planted(bench: Bench, cfg: Config, parents: Parents, seed: int) -> Examples:
    """Examples of a hierarchy that comes with the data: each text's last token."""
    rows = rng("absorption rows", seed).permutation(len(parents.corpus.texts))[: cfg.max_rows]
    member = parents.member[:, rows]
    n_train = round(len(rows) * (1 - cfg.test_share))
    usable = [i for i, m in enumerate(member) if m[:n_train].sum() >= 5 and m[n_train:].sum() >= 5]
    if not usable:
        raise NotApplicable(f"no parent of {parents.name!r} has five training and five test texts")
    y = torch.as_tensor(member[usable], device=bench.device)
    return Examples(bench.acts(parents.corpus, "last").take(rows), [parents.names[i] for i in usable], y, n_train)


def _words(bench: Bench, cfg: Config, hierarchy: Hierarchy, seed: int) -> Examples:
    """Examples of a hierarchy of words: prompts that end at the word."""
    chosen = rng("absorption words", seed).permutation(len(hierarchy.words))[: cfg.max_words]
    n_train = round(len(chosen) * (1 - cfg.test_share))
    prompts = word_prompts(hierarchy, chosen, n_train, cfg.examples, seed)
    single = _one_token(bench, hierarchy, chosen, prompts)
    n_train = int(single[:n_train].sum())
    chosen = chosen[single]
    if n_train < 50 or len(chosen) - n_train < 10:
        raise NotApplicable(f"only {len(chosen)} words of the {hierarchy.name} hierarchy are one token of this model")
    corpus = Corpus(
        f"{hierarchy.name}, seed {seed}", tuple(p for p, s in zip(prompts, single, strict=True) if s), "cut_left"
    )
    owners = [hierarchy.parents[i] for i in chosen]
    seen, tested = Counter(owners[:n_train]), Counter(owners[n_train:])
    parents = sorted(p for p in seen if seen[p] >= 5 and tested[p] >= 5)
    if not parents:
        raise NotApplicable(f"no parent of the {hierarchy.name} hierarchy has five training and five test words")
    y = torch.tensor([[o == p for o in owners] for p in parents], device=bench.device)
    return Examples(bench.acts(corpus, "last"), parents, y, n_train)


def _prepared(bench: Bench, cfg: Config, seed: int, found: Examples, name: str) -> Prepared:
    x = found.acts.x.to(bench.device).double()
    if cfg.probes == "adam":
        n, drawn = found.n_train, derive_seed("absorption truth", seed)
        truth = fit_adam(x[:n], found.y[:, :n], l1=0.0, l2=1e-4, batch=64, seed=drawn)
    else:
        truth = fit_balanced(x[None], found.y, found.n_train)
    probe_f1 = f1(scores(truth, x[found.n_train :]), found.y[:, found.n_train :])
    counts = (probe_f1 >= cfg.min_probe_f1).tolist()
    if sum(counts) < cfg.min_share * len(counts):
        raise NotApplicable(
            f"the model's own probe reaches F1 {cfg.min_probe_f1} for only {sum(counts)} of {len(counts)} parents of"
            f" the {name} hierarchy: the model does not hold the feature well enough at {bench.hook}"
        )
    return Prepared(seed, found.acts, x, found.y, found.n_train, found.names, truth, probe_f1, counts)


def _one_token(bench: Bench, hierarchy: Hierarchy, chosen: np.ndarray, prompts: list[str]) -> np.ndarray:
    """Which words end their prompt as exactly one token. [n] bool"""
    special = set(bench.lm.special.tolist())
    tokenizer = bench.lm.tokenizer
    last = [
        next(t for t in reversed(ids) if t not in special)
        for ids in bench.lm.tokenize(prompts, context=None, long_texts="cut_left")
    ]
    strings = [tokenizer.convert_tokens_to_string([t]) for t in tokenizer.convert_ids_to_tokens(last)]
    words = [hierarchy.words[i] for i in chosen]
    return np.array([s.strip() == w.strip() for s, w in zip(strings, words, strict=True)])


def fit_balanced(x: Tensor, y: Tensor, n_train: int, *, standardised: bool = True) -> Direction:
    """Class-balanced logistic regressions (C = 1) on the first n_train rows, in x's own scale.

    x [1 or B, n, k], y [B, n] bool. `standardised`: whether the penalty is on standardised columns.
    """
    use = (torch.arange(y.shape[1], device=y.device) < n_train).expand_as(y).double()
    columns, mean, sd = standardise(x, use[:1] if len(x) == 1 else use)
    if not standardised:
        columns, mean, sd = x, torch.zeros_like(mean), torch.ones_like(sd)
    positives = (use * y).sum(-1, keepdim=True)
    weight = use * torch.where(y, n_train / (2 * positives), n_train / (2 * (n_train - positives)))
    fitted = fit_logistic(columns, y, weight, torch.ones(len(y), device=y.device))
    direction = fitted.weight / sd
    return Direction(direction, fitted.bias - (direction * mean).sum(-1))


def evaluate(subject: Subject, bench: Bench, prepared: list[Prepared], cfg: Config, seeds: Sequence[int]) -> Scores:
    sae, out = subject.the_autoencoder(), Scores()
    decoder = decoder_of(sae)
    if decoder is None:
        raise NotApplicable(f"{subject.name} exposes no decoder directions; give it a `decoder` of [d_sae, d_in]")
    for part in prepared:
        part = _moved(part, decoder.device)
        if cfg.probes == "adam":
            latents, columns = adam_candidates(sae, part, cfg)
            order = torch.arange(latents.shape[1], device=latents.device).expand_as(latents)
        else:
            latents, columns = _candidates(sae, part, bench)
            order = fit_sparse_ranking(columns, part.y, part.n_train)
        mains, f1_k1 = _main_latents(columns, order, latents, part, cfg)
        _absorption(sae, decoder, mains, f1_k1, part, cfg, out)
    return out


def _moved(part: Prepared, device: torch.device) -> Prepared:
    """The same where the SAE is, which stays in main memory if it has no `to`."""
    truth = Direction(*(t.to(device) for t in part.truth))
    return part._replace(x=part.x.to(device), y=part.y.to(device), truth=truth)


def _candidates(sae: SAE, part: Prepared, bench: Bench, keep: int = 30) -> tuple[Tensor, Tensor]:
    """Latents [parents, keep] whose means differ most in a parent's favour, and their codes [parents, n, keep]."""
    y = part.y[:, : part.n_train].double()
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for block, tables in Pooled(sae, part.acts, ("last",), bench.memory, bench.note).blocks():
        table = tables["last"].double()
        train = table[: part.n_train]
        spread = train.std(0).clamp(min=1e-12)
        yes = y @ train / y.sum(1, keepdim=True)
        no = (1 - y) @ train / (1 - y).sum(1, keepdim=True)
        top = ((yes - no) / spread).topk(min(keep, table.shape[1]), dim=1)
        new = top.values, top.indices + block.start, table.T[top.indices].mT
        if best is not None:
            score, latents, columns = (torch.cat([a, b], -1) for a, b in zip(best, new, strict=True))
            again = score.topk(min(keep, score.shape[1]), dim=1)
            wide = again.indices[:, None].expand(-1, columns.shape[1], -1)
            new = again.values, latents.gather(1, again.indices), columns.gather(2, wide)
        best = new
    assert best is not None
    return best[1], best[2]


def adam_candidates(sae: SAE, part: Prepared, cfg: Config) -> tuple[Tensor, Tensor]:
    """SAEBench's latents [parents, k], largest signed weight first, and their codes [parents, n, k].

    One L1-penalised probe a parent on the whole code; memory is texts x d_sae.
    """
    codes = pooled_codes(sae, part.acts, ("last",))["last"]
    n, drawn = part.n_train, derive_seed("absorption ranking", part.seed)
    fitted = fit_adam(codes[:n], part.y[:, :n].to(codes.device), l1=0.01, l2=1e-6, batch=4096, seed=drawn)
    latents = fitted.weight.topk(min(cfg.max_k, codes.shape[1]), dim=1).indices
    return latents, codes.T[latents].mT.double()


def _main_latents(
    columns: Tensor, order: Tensor, latents: Tensor, part: Prepared, cfg: Config
) -> tuple[list[Tensor], list[float]]:
    """Main latents of each parent, and the F1 of its single best latent."""
    by_k = []
    for k in range(1, min(cfg.max_k, columns.shape[-1]) + 1):
        x = columns.gather(2, order[:, None, :k].expand(-1, columns.shape[1], -1))
        fitted = fit_balanced(x, part.y, part.n_train, standardised=cfg.probes == "optimum")
        by_k.append(f1(scores(fitted, x[:, part.n_train :]), part.y[:, part.n_train :]))
    table = torch.stack(by_k, 1).tolist()
    ranked = latents.gather(1, order)
    return [ranked[i, : main_latents(row, cfg.f1_jump)] for i, row in enumerate(table)], [row[0] for row in table]


@torch.no_grad()
def _absorption(
    sae: SAE, decoder: Tensor, mains: list[Tensor], f1_k1: list[float], part: Prepared, cfg: Config, out: Scores
) -> None:
    right = (scores(part.truth, part.x) > 0) & part.y
    right[:, : part.n_train] = False
    left_out = 0
    for i, parent in enumerate(part.parents):
        words = right[i].nonzero()[:, 0]
        if not part.counts[i] or not len(words):
            continue
        u = part.truth.weight[i] / part.truth.weight[i].norm()
        projection = part.x[words] @ u
        left_out += int((projection <= 0).sum())
        kept = projection[projection <= 0] if cfg.keep_negative else projection[:0]
        fractions, fulls = [torch.zeros_like(kept)], [torch.zeros_like(kept)]
        words, projection = words[projection > 0], projection[projection > 0]
        contribution = decoder.double() @ u
        cosine = contribution / decoder.double().norm(dim=1).clamp(min=1e-30)
        if cfg.contribution == "cosine":
            contribution = cosine
        for rows, some in zip(words.split(256), projection.split(256), strict=True):
            f = sae.encode(part.x[rows].float()).double()
            fraction, full = absorbed(f, contribution, cosine.clone(), mains[i], some, cfg)
            fractions.append(fraction)
            fulls.append(full)
        if sum(map(len, fractions)):
            out.add("absorption_fraction", torch.cat(fractions).mean().item(), unit=parent, seed=part.seed)
            out.add("full_absorption", torch.cat(fulls).mean().item(), unit=parent, seed=part.seed)
        out.add("splits", len(mains[i]), unit=parent, seed=part.seed)
        out.add("f1_k1", f1_k1[i], unit=parent, seed=part.seed)
    out.facts.setdefault("words_with_negative_projection", {})[str(part.seed)] = left_out


TASK = Task(CARD, Config, prepare, evaluate)
