"""A language model that answers prompts: behind an OpenAI-compatible URL, or a Hugging Face model of this machine.

Answers are cached on disk one by one, so that a broken run goes on where it stopped and a repeated one asks nothing.
The key of a remote judge is read from the environment alone and goes into no record, log, cache or message.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

import torch

from saebench_lite.errors import SaebenchError, reason
from saebench_lite.files import cache_root, digest, write_text
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.progress import logger

KEY = "SAEBENCH_LITE_JUDGE_KEY"
"Environment variable with the key of a remote judge; not set for servers that ask for none."
PRICE = "SAEBENCH_LITE_JUDGE_PRICE"
"Environment variable with two prices in USD a million tokens, `read,written`, from which costs are told."
CHARACTERS = 4
"Characters of a token, for estimates."
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"HTTP statuses after which a call is tried again."
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Judge(Protocol):
    """What a task asks of a judge."""

    def ask(self, prompts: Sequence[str]) -> list[str]:
        """The answer to each prompt, in their order."""
        ...


class Cached(ABC):
    """Answers from the disk where they are known; the others by `_answer`, counted and announced beforehand."""

    workers = 1

    def __init__(self, identity: Sequence[object], where: str, cache: Path | None, max_calls: int) -> None:
        self.where, self.max_calls = where, max_calls
        self.folder = (cache or cache_root()) / "judge" / digest(list(identity))

    def ask(self, prompts: Sequence[str]) -> list[str]:
        """The answer to each prompt, in their order; the same prompt is asked once, ever.

        SaebenchError where more calls are needed than allowed, or where a call fails for good; answers given before
        that stay on disk.
        """
        todo = self.unanswered(prompts)
        if len(todo) > self.max_calls:
            raise SaebenchError(
                f"judge {self.where} would be called {len(todo):,} times, more than the {self.max_calls:,} allowed;"
                " raise max_calls or ask for less"
            )
        if todo:
            logger.warning(self.estimate(prompts))
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(self._store, todo))
        return [str(self._known(prompt)) for prompt in prompts]

    def unanswered(self, prompts: Sequence[str]) -> list[str]:
        """The distinct prompts whose answer is not on disk yet."""
        return [prompt for prompt in dict.fromkeys(prompts) if self._known(prompt) is None]

    def estimate(self, prompts: Sequence[str]) -> str:
        """One sentence: calls that `ask` would make, tokens of them, and the cost where it is known."""
        todo = self.unanswered(prompts)
        calls = f"{len(todo):,} {'call' if len(todo) == 1 else 'calls'}"
        read = sum(map(len, todo)) // CHARACTERS
        return f"judge {self.where}: {calls}, about {read:,} tokens to read{self._cost(len(todo), read)}"

    def _cost(self, calls: int, read: int) -> str:
        return "; runs on this machine"

    @abstractmethod
    def _answer(self, prompt: str) -> str: ...

    def _store(self, prompt: str) -> None:
        write_text(self._path(prompt), json.dumps({"prompt": prompt, "answer": self._answer(prompt)}))

    def _known(self, prompt: str) -> str | None:
        try:
            stored = json.loads(self._path(prompt).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # absent, or a file that something else damaged: asked again
            return None
        known = isinstance(stored, dict) and stored.get("prompt") == prompt and isinstance(stored.get("answer"), str)
        return stored["answer"] if known else None

    def _path(self, prompt: str) -> Path:
        return self.folder / f"{digest(prompt)}.json"


class RemoteJudge(Cached):
    """A model behind a URL that speaks the chat completions of OpenAI; local servers do too.

    The key goes to that URL only: redirects are not followed, and none is sent over plain http to another machine.

    Args:
        url: up to and without `/chat/completions`, such as "http://localhost:8000/v1".
        model: name of the model there.
        cache: folder of answers; None: the suite's.
        max_tokens: of an answer.
        max_calls: of one `ask`.
        workers: calls at the same time.
        retries: times a call is tried again after an error that may pass.
        timeout: of a call, in seconds.
        wait: sleeps for so many seconds.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: Path | None = None,
        max_tokens: int = 64,
        max_calls: int = 5000,
        workers: int = 4,
        retries: int = 5,
        timeout: float = 120.0,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url, self.model = _checked_url(url), model
        if not model:
            raise SaebenchError(f"judge {self.url} needs the name of a model; give judge_model")
        super().__init__([self.url, model, max_tokens], f"{model} at {urlsplit(self.url).netloc}", cache, max_calls)
        self.max_tokens, self.workers, self.retries = max_tokens, workers, retries
        self.timeout, self.wait = timeout, wait

    def _cost(self, calls: int, read: int) -> str:
        written = calls * self.max_tokens
        told = f" and {written:,} to write at most"
        prices = os.environ.get(PRICE)
        if prices is None:
            return f"{told}; set {PRICE}=READ,WRITTEN (USD a million tokens) to see the cost"
        try:
            per_read, per_written = map(float, prices.split(","))
        except ValueError:
            raise SaebenchError(f"{PRICE} is {prices!r}; give two numbers, as in 0.5,1.5") from None
        return f"{told}; at most about {(read * per_read + written * per_written) / 1e6:.2f} USD"

    def _answer(self, prompt: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        why = "it was never asked"
        for attempt in range(self.retries + 1):
            if attempt:
                self.wait(min(60.0, 2.0 ** (attempt - 1)))
            try:
                return _content(self._post(body))
            except urllib.error.HTTPError as error:
                with error:
                    why, passes = f"HTTP {error.code}: {_first_line(error)}", error.code in AGAIN
            except (OSError, http.client.HTTPException) as error:
                why, passes = reason(error), True
            except (ValueError, LookupError, TypeError) as error:
                why, passes = f"its answer is no chat completion ({reason(error)})", False
            if not passes:
                break
        raise SaebenchError(f"judge {self.where} failed: {_without_key(why)}; mend it and run again to go on")

    def _post(self, body: dict[str, object]) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "saebench-lite"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
            return response.read()


class LocalJudge(Cached):
    """A Hugging Face model of this machine that answers greedily, by its chat template where it has one.

    Args:
        model: hub id or folder, or a model in memory.
        cache: folder of answers; None: the suite's.
        max_tokens: of an answer.
        device: where it runs.
    """

    def __init__(
        self, model: str | LanguageModel, *, cache: Path | None = None, max_tokens: int = 64, device: str = "cpu"
    ) -> None:
        self.lm = LanguageModel.load(model, device=device) if isinstance(model, str) else model
        if not self.lm.is_causal:
            raise SaebenchError(f"judge {self.lm.name} writes no text; use a causal language model")
        super().__init__(["local", self.lm.fingerprint(), max_tokens], self.lm.name, cache, max_calls=1 << 40)
        self.max_tokens = max_tokens

    @torch.no_grad()
    def _answer(self, prompt: str) -> str:
        tokenizer, net = self.lm.tokenizer, self.lm.net
        if getattr(tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": prompt}]
            prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        else:
            ids = self.lm.tokenize([prompt], context=None, long_texts="cut_left")[0]
        ids = torch.tensor([ids[-max(1, self.lm.context - self.max_tokens) :]], device=self.lm.device)
        generate: Callable[..., torch.Tensor] = getattr(net, "generate")  # noqa: B009  (nn.Module does not declare it)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        options = {"attention_mask": torch.ones_like(ids), "pad_token_id": pad}
        out = generate(ids, max_new_tokens=self.max_tokens, do_sample=False, **options)
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def open_judge(
    url: str, model: str, *, cache: Path | None = None, max_tokens: int = 64, max_calls: int = 5000
) -> Judge:
    """The judge that settings name; SaebenchError where they name none.

    Args:
        url: of an OpenAI-compatible server; empty: `model` is a Hugging Face model of this machine.
        model: its name.
        cache: folder of answers; None: the suite's.
        max_tokens: of an answer.
        max_calls: of one `ask` of a remote judge.
    """
    if url:
        return RemoteJudge(url, model, cache=cache, max_tokens=max_tokens, max_calls=max_calls)
    if not model:
        raise SaebenchError("no judge is named; give judge_url and judge_model, or judge_model alone for a local one")
    return LocalJudge(model, cache=cache, max_tokens=max_tokens)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for the error it is here: following one would send the key elsewhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """No request (arguments as in the base class), so that the status is raised."""


def _checked_url(url: str) -> str:
    """The URL without a slash at its end; SaebenchError for one that cannot be called, or that holds a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SaebenchError(f"judge_url {url!r} is no address; give one as in http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:  # a record holds the URL
        raise SaebenchError(
            f"judge_url of {parts.hostname} holds more than an address; put the key into the environment as {KEY}"
        )
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and os.environ.get(KEY):
        raise SaebenchError(f"judge_url {url!r} would send the key unencrypted; use https, or unset {KEY}")
    return url.rstrip("/").removesuffix("/chat/completions")


def _content(body: bytes) -> str:
    text = json.loads(body)["choices"][0]["message"]["content"]
    return text if isinstance(text, str) else ""  # null: the model said nothing


def _first_line(error: urllib.error.HTTPError) -> str:
    body = error.read(2000).decode("utf-8", "replace").strip()
    return " ".join(body.split())[:200] or str(error.reason)


def _without_key(text: str) -> str:
    key = os.environ.get(KEY)
    return text.replace(key, "(key)") if key else text
