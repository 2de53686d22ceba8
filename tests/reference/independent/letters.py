"""Absorption of first letters."""

from __future__ import annotations

import string
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from tests.reference.independent.draws import generator
from tests.reference.independent.network import Dictionary, Network
from tests.reference.independent.recovery import fit


class Words(NamedTuple):
    """Words of one token in their prompts, training words first."""

    ids: list[list[int]]
    letters: np.ndarray
    n_train: int


def prompts(net: Network, seed: int, most: int, examples: int, test_share: float = 0.2) -> Words:
    """Words of the vocabulary after worked examples, those that end their prompt as one token.

    All words of half a group follow the same examples, from its other half.
    """
    pieces = {net.tokenizer.convert_tokens_to_string([t]) for t in net.tokenizer.get_vocab()}
    bare = {w: w.removeprefix(" ") for w in pieces}
    words = sorted(w for w, b in bare.items() if b and not set(b) - set(string.ascii_letters))
    chosen = generator("absorption words").permutation(len(words))[:most]
    size = max(1, 2 * examples, min(64, len(chosen) // 20))
    groups = np.array_split(chosen, max(2, len(chosen) // size))
    tests = min(max(1, round(test_share * len(groups))), len(groups) - 1)
    tested = generator("absorption words", seed).permutation(len(groups))[:tests]
    draw = generator("absorption examples")
    rows: dict[bool, list[tuple[list[int], str]]] = {False: [], True: []}
    for place, group in enumerate(groups):
        middle = -(-len(group) // 2)
        for half, others in ((group[:middle], group[middle:]), (group[middle:], group[:middle])):
            others = draw.choice(others, size=min(examples, len(others)), replace=False)
            shown = "".join(f"\n{words[o]} has the first letter: {words[o].strip()[0].upper()}" for o in others)
            for word in half:
                row = net.ids(shown + "\n" + words[word])
                last = net.tokenizer.convert_tokens_to_string(net.tokenizer.convert_ids_to_tokens(row[-1:]))
                if last.strip() == words[word].strip():
                    rows[place in tested].append((row, words[word].strip()[0].upper()))
    ids, letters = zip(*rows[False], *rows[True], strict=True)
    return Words(list(ids), np.array(letters), len(rows[False]))


def absorption(
    net: Network, sae: Dictionary, seed: int, most: int, examples: int, max_k: int = 10
) -> dict[str, dict[str, float]]:
    """Figures of the task `absorption` by letter.

    Args:
        net: the model.
        sae: the SAE.
        seed: of the draws.
        most: words at most.
        examples: worked examples in a prompt.
        max_k: latents in the largest sparse probe.
    """
    words = prompts(net, seed, most, examples)
    n, letters = words.n_train, words.letters
    rows = []
    for ids in words.ids:
        x = net.activations(ids)
        rows.append(x[np.flatnonzero(net.read(ids, x))[-1]])
    x = np.stack(rows)
    f = sae.encode(x)
    norms = np.linalg.norm(sae.W_dec, axis=1)
    out: dict[str, dict[str, float]] = {}
    parents = [p for p in sorted(set(letters)) if min((letters[:n] == p).sum(), (letters[n:] == p).sum()) >= 5]
    for parent in parents:
        y = letters == parent
        margin, direction = class_balanced(x, y, n)
        if f1_score(y[n:], margin[n:] > 0) < 0.6:
            continue
        order = ranking(f, y, n)
        found = [class_balanced(f[:, order[:k]], y, n)[0][n:] > 0 for k in range(1, max_k + 1)]
        f1s = [float(f1_score(y[n:], says)) for says in found]
        main = order[: splits(f1s)]
        known = y[n:] & (margin[n:] > 0)
        out[parent] = {
            "splits": float(len(main)),
            "f1_k1": f1s[0],
            "f1_family": f1s[len(main) - 1],
            "missed_family": float((~found[len(main) - 1])[known].mean()),
        }
        u = direction / np.linalg.norm(direction)
        along = sae.W_dec @ u
        judged = [i for i in range(n, len(y)) if y[i] and margin[i] > 0 and x[i] @ u > 0]
        figures = [absorbed(f[i], along, along / norms, main, float(x[i] @ u)) for i in judged]
        counted = [pair for pair in figures if pair is not None]
        if counted:
            out[parent]["absorption_fraction"], out[parent]["full_absorption"] = map(float, np.mean(counted, axis=0))
            out[parent]["weight"] = len(counted) / len(figures)
    test = x[n:]
    errors = float(((test - sae.decode(f[n:])) ** 2).sum()), float(((test - test.mean(0)) ** 2).sum())
    out["words"] = {"explained_variance_inputs": 1 - errors[0] / errors[1]}
    return out


def class_balanced(x: np.ndarray, y: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins [rows] and direction [d] in x's scale of a class-balanced logistic regression on the first n rows."""
    mean, sd = x[:n].mean(0), x[:n].std(0)
    sd = np.where(sd > 1e-12 * (1 + np.abs(mean)), sd, 1.0)
    fitted = fit((x[:n] - mean) / sd, y[:n], 1.0, class_weight="balanced")
    return fitted.decision_function((x - mean) / sd), fitted.coef_[0] / sd


def ranking(f: np.ndarray, y: np.ndarray, n: int, candidates: int = 30, penalty: float = 0.01) -> np.ndarray:
    """A letter's latents in the order in which its sparse probes take them up."""
    yes, no = f[:n][y[:n]], f[:n][~y[:n]]
    score = (yes.mean(0) - no.mean(0)) / np.maximum(f[:n].std(0, ddof=1), 1e-12)
    few = np.argsort(-score, kind="stable")[:candidates]
    x = f[:n, few]
    sd = x.std(0)
    x = (x - x.mean(0)) / np.where(sd > 1e-12, sd, 1.0)
    options = {"solver": "saga", "tol": 1e-9, "max_iter": 50_000, "class_weight": "balanced", "random_state": 0}
    fitted = LogisticRegression(l1_ratio=1.0, C=1 / (penalty * n), **options).fit(x, y[:n])
    return few[np.argsort(-fitted.coef_[0], kind="stable")]


def splits(f1s: list[float], jump: float = 0.03) -> int:
    """How many latents a letter is split into."""
    accepted = 1
    while accepted < len(f1s) and f1s[accepted] > f1s[accepted - 1] + jump:
        accepted += 1
    return accepted


def absorbed(
    f: np.ndarray, along: np.ndarray, cosine: np.ndarray, main: np.ndarray, projection: float
) -> tuple[float, float] | None:
    """Absorption fraction and full absorption of one word; None where nothing carries the letter.

    Args:
        f: its codes. [m]
        along: d_j . u of each latent. [m]
        cosine: between d_j and u. [m]
        main: the letter's main latents.
        projection: P, above 0.
    """
    p = f * along
    largest = int(p.argmax())
    silent = all(abs(p[j]) <= 0.001 * projection for j in main)
    full = silent and cosine[largest] >= 0.025 and p[largest] >= 0.4 * projection
    others = [j for j in np.flatnonzero(cosine >= 0.1) if j not in set(main.tolist())]
    carried = sum(sorted((max(p[j], 0.0) for j in others), reverse=True)[:3])
    by_main = p[main].sum()
    if max(by_main, carried) < 0.4 * projection and not full:
        return None
    if by_main >= projection or carried < 0.4 * projection:
        return 0.0, float(full)
    if by_main <= 0:
        return 1.0, float(full)
    share = min(carried, projection - by_main)
    return float(share / (share + by_main)), float(full)
