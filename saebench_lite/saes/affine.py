"""The affine SAE that most published formats reduce to.

Shapes: x [n, d_in], codes f [n, d_sae], decoder directions [d_sae, d_in]. Everything is a function of its arguments
only; an SAE that remembers its last batch gives wrong reconstructions when calls interleave.
"""

from __future__ import annotations

import copy
import hashlib
from numbers import Integral
from typing import Any, Literal, Self, TypedDict

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError, told
from saebench_lite.saes.tensor_cores import Encode, Weights, is_bf16

Activation = Literal["identity", "relu", "topk", "groupmax", "jumprelu", "gated"]


Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]


RUN = 8
"Latents of which `largest` first looks at the maximum alone."


def encoder_input_frame(x: Tensor, how: Normalisation) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised rows of x [n, d_in] with the shift and scale [n, 1] that undo it: x is about x_norm * scale + shift.

    The two rules are those of SAELens: `layer_norm` divides by the unbiased standard deviation + 1e-5 on the way in
    and multiplies by the standard deviation alone on the way out; `constant_norm_rescale` brings rows to norm sqrt(d).
    """
    if how == "layer_norm":
        shift = x.mean(-1, keepdim=True)
        scale = (x - shift).std(-1, keepdim=True)
        return (x - shift) / (scale + 1e-5), shift, scale
    if how == "constant_norm_rescale":
        scale = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
        return x / scale, torch.zeros_like(scale), scale
    return x, x.new_zeros(()), x.new_ones(())


def largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and indices [n, k] of the k largest of each row of pre [n, m], in no order.

    The k largest of a row lie in the k runs with the largest maxima, so on a CPU only those runs are searched where
    rows are wide enough to gain by it (measured: from 1,024 columns and while the runs hold half of them at most).
    """
    n, m = pre.shape
    if pre.device.type != "cpu" or m < 1024 or m % RUN or 2 * RUN * k > m:
        return pre.topk(k, dim=-1, sorted=False)
    runs = pre.view(n, RUN, m // RUN)  # of columns m / RUN apart: maxima of whole vectors
    chosen = runs.amax(1).topk(k, dim=-1, sorted=False).indices
    values, place = runs.gather(2, chosen[:, None].expand(-1, RUN, -1)).flatten(1).topk(k, dim=-1, sorted=False)
    return values, chosen.gather(1, place % k) + place // k * (m // RUN)


class Settings(TypedDict):
    """What besides tensors shapes the output of an AffineSAE."""

    activation: Activation
    k: int | None
    subtract_b_dec: bool
    normalize: Normalisation


class AffineSAE:
    """An SAE with affine encoder and decoder and a known activation function.

    encode: u = norm(x) - [subtract_b_dec] b_dec; pre = u W_enc + b_enc; then
    identity pre | relu max(pre, 0) | topk the k largest of pre, then relu | groupmax the largest of each of k runs of
    d_sae / k neighbours, then relu | jumprelu pre where pre > threshold, else 0 (after relu) | gated
    relu(exp(r_mag) * (u W_enc) + b_mag) where pre > 0, else 0. decode: f W_dec + b_dec.

    Weights are held in float32 whatever they were stored in: thresholds and top-k ties carry no bf16 rounding.
    `encode_by` is how the encoder is multiplied (see `tensor_cores`); it is no setting and not in the fingerprint.
    W_enc [d_in, d_sae], W_dec [d_sae, d_out], b_enc [d_sae], b_dec [d_out], threshold, r_mag, b_mag [d_sae].
    """

    def __init__(
        self,
        *,
        W_enc: Tensor,
        W_dec: Tensor,
        b_enc: Tensor | None = None,
        b_dec: Tensor | None = None,
        activation: Activation = "relu",
        k: int | None = None,
        threshold: Tensor | None = None,
        r_mag: Tensor | None = None,
        b_mag: Tensor | None = None,
        subtract_b_dec: bool = True,
        normalize: Normalisation = "none",
        meta: dict[str, Any] | None = None,
    ) -> None:
        self.encode_by: Encode = "float32"
        self._encoder: Weights | None = None
        if W_enc.ndim != 2 or W_dec.ndim != 2:
            raise SaebenchError(f"W_enc and W_dec must be matrices, not {list(W_enc.shape)} and {list(W_dec.shape)}")
        self.d_in, self.d_sae = W_enc.shape
        self.d_out = W_dec.shape[1] if W_dec.shape[0] == self.d_sae else self.d_in
        self.activation: Activation = activation
        self.k = k
        self.subtract_b_dec = subtract_b_dec
        self.normalize: Normalisation = normalize
        self.meta = meta or {}
        given = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": b_enc, "b_dec": b_dec}
        given |= {"threshold": threshold, "r_mag": r_mag, "b_mag": b_mag}
        self.tensors = {name: t.detach().to(torch.float32) for name, t in given.items() if t is not None}
        self.tensors.setdefault("b_enc", torch.zeros(self.d_sae, device=W_enc.device))
        self.tensors.setdefault("b_dec", torch.zeros(self.d_out, device=W_enc.device))
        self._check()

    def __repr__(self) -> str:
        k = "" if self.k is None else f" k={self.k}"
        return f"<AffineSAE {self.activation}{k}, d_in {self.d_in}, d_sae {self.d_sae}>"

    def _check(self) -> None:
        sizes = {"b_dec": (self.d_out,), "W_dec": (self.d_sae, self.d_out)}
        for name, tensor in self.tensors.items():
            want = sizes.get(name, (self.d_in, self.d_sae) if name == "W_enc" else (self.d_sae,))
            if tuple(tensor.shape) != want:
                hint = "; it looks transposed" if tuple(tensor.shape) == want[::-1] else ""
                raise SaebenchError(f"tensor {name} has shape {list(tensor.shape)} but {list(want)} is needed{hint}")
            if not torch.isfinite(tensor).all():
                raise SaebenchError(f"tensor {name} holds NaN or Inf; the file is damaged or training diverged")
        needs = {"jumprelu": ("threshold",), "gated": ("r_mag", "b_mag")}.get(self.activation, ())
        if missing := [name for name in needs if name not in self.tensors]:
            raise SaebenchError(f"a {self.activation} SAE needs the tensors {', '.join(missing)}, which are absent")
        k = self.k
        within = isinstance(k, Integral) and not isinstance(k, bool) and 0 < k <= self.d_sae
        if self.activation in ("topk", "groupmax") and not within:
            raise SaebenchError(f"a {self.activation} SAE needs k between 1 and d_sae = {self.d_sae}, not {told(k)}")
        if self.activation == "groupmax" and self.k and self.d_sae % self.k:
            raise SaebenchError(f"a groupmax SAE needs a k that divides d_sae = {self.d_sae}, not {self.k}")
        if self.subtract_b_dec and self.d_out != self.d_in:
            raise SaebenchError(f"b_dec of size {self.d_out} cannot be subtracted from inputs of size {self.d_in}")

    @property
    def W_enc(self) -> Tensor:
        """Encoder weights [d_in, d_sae]."""
        return self.tensors["W_enc"]

    @property
    def W_dec(self) -> Tensor:
        """Decoder weights [d_sae, d_out]."""
        return self.tensors["W_dec"]

    @property
    def b_enc(self) -> Tensor:
        """Encoder bias [d_sae]."""
        return self.tensors["b_enc"]

    @property
    def b_dec(self) -> Tensor:
        """Decoder bias [d_out]."""
        return self.tensors["b_dec"]

    @property
    def decoder(self) -> Tensor:
        """Feature directions [d_sae, d_out]."""
        return self.tensors["W_dec"]

    def settings(self) -> Settings:
        """Everything besides tensors that shapes the output; JSON types only."""
        return {
            "activation": self.activation,
            "k": self.k,
            "subtract_b_dec": self.subtract_b_dec,
            "normalize": self.normalize,
        }

    def to(self, device: str | torch.device) -> Self:
        """The same SAE on another device."""
        moved = {name: t.to(device) for name, t in self.tensors.items()}
        return type(self)(**moved, **self.settings(), meta=self.meta).encoding(self.encode_by)

    def encoding(self, by: Encode) -> Self:
        """The same SAE, its encoder multiplied in another way; the tensors are shared."""
        other = copy.copy(self)
        other.encode_by = by
        return other

    def _centred(self, x: Tensor) -> Tensor:
        x = encoder_input_frame(x.to(torch.float32), self.normalize)[0]
        return x - self.tensors["b_dec"] if self.subtract_b_dec else x

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] of x [n, d_in]."""
        return self._activate(self._affine(x, slice(None)), slice(None))

    def encode_latents(self, x: Tensor, indices: Tensor) -> Tensor:
        """Codes [n, len(indices)] of some latents; a topk code needs all pre-activations, the others only these."""
        if self.activation in ("topk", "groupmax"):
            return self.encode(x)[..., indices]
        return self._activate(self._affine(x, indices), indices)

    def _affine(self, x: Tensor, which: Tensor | slice) -> Tensor:
        """u W_enc + b_enc over the latents `which`, without b_enc where the SAE is gated."""
        bias = None if self.activation == "gated" else self.tensors["b_enc"][which]
        if self.encode_by != "float32":
            product = self._by_pieces(x.reshape(-1, self.d_in), which).view(*x.shape[:-1], -1)
            return product if bias is None else product.add_(bias)
        return torch.nn.functional.linear(self._centred(x), self.tensors["W_enc"][:, which].T, bias)

    def _by_pieces(self, x: Tensor, which: Tensor | slice) -> Tensor:
        """u W_enc [n, j] on tensor cores; where x [n, d_in] is bf16 as it is, b_dec is subtracted from the product."""
        if self._encoder is None or self._encoder.w is not self.tensors["W_enc"]:
            self._encoder = Weights(self.tensors["W_enc"])
        if self.normalize != "none" or not is_bf16(x):
            return self._encoder.product(self._centred(x), self.encode_by, which)
        product = self._encoder.product(x.bfloat16(), self.encode_by, which)
        if self.subtract_b_dec:
            product -= self._encoder.of_row(self.tensors["b_dec"], self.encode_by, which)
        return product

    def _activate(self, pre: Tensor, which: Tensor | slice) -> Tensor:
        """Codes from what `_affine` gives for the latents `which`; `pre` is not used again by the caller."""
        t = self.tensors
        if self.activation == "gated":
            magnitude = torch.relu(torch.exp(t["r_mag"][which]) * pre + t["b_mag"][which])
            return magnitude.masked_fill_(pre + t["b_enc"][which] <= 0, 0.0)
        if self.activation == "identity":
            return pre
        if self.activation == "relu":
            return pre.relu_()
        if self.activation == "jumprelu":
            return pre.mul_(pre > t["threshold"][which].clamp(min=0.0))
        values, indices = self._largest(pre)
        return pre.zero_().scatter_(-1, indices, values.relu_())

    def _largest(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices [n, k] of the k largest of a row (topk), or of the largest in each group (groupmax)."""
        assert self.k is not None
        if self.activation == "topk":
            values, indices = largest(pre.reshape(-1, self.d_sae), self.k)
            return values.view(*pre.shape[:-1], self.k), indices.view(*pre.shape[:-1], self.k)
        values, place = pre.unflatten(-1, (self.k, -1)).max(-1)
        return values, place + torch.arange(self.k, device=pre.device) * (self.d_sae // self.k)

    def encode_sparse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values and latent indices, both [n, k], of a topk or groupmax SAE (some values may be zero)."""
        if self.activation not in ("topk", "groupmax"):
            raise SaebenchError(f"encode_sparse needs a fixed k per row; this SAE is {self.activation}")
        values, indices = self._largest(self._affine(x, slice(None)))
        return values.relu_(), indices

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_out] of codes f [n, d_sae], in the normalised frame if there is one."""
        return f @ self.tensors["W_dec"] + self.tensors["b_dec"]

    def decode_like(self, f: Tensor, x: Tensor) -> Tensor:
        """Reconstruction [n, d_out] of codes f [n, d_sae] at the scale of the rows x [n, d_in] they came from."""
        return self._framed(self.decode(f), x)

    def decode_bags(self, values: Tensor, indices: Tensor, starts: Tensor, x: Tensor) -> Tensor:
        """`decode_like` of the codes that are not zero: as many rows of the decoder as a row has of them.

        Args:
            values: codes, row after row. [nnz]
            indices: their latents. [nnz] long
            starts: first entry of each row. [n] long
            x: the rows that were encoded. [n, d_in]
        """
        weighted = torch.nn.functional.embedding_bag(
            indices, self.tensors["W_dec"], starts, per_sample_weights=values, mode="sum"
        )
        return self._framed(weighted + self.tensors["b_dec"], x)

    def _framed(self, decoded: Tensor, x: Tensor) -> Tensor:
        if self.normalize == "none":
            return decoded
        _, shift, scale = encoder_input_frame(x.to(torch.float32), self.normalize)
        return decoded * scale + shift

    def fingerprint(self) -> str:
        """SHA-256 over weights and settings."""
        sha = hashlib.sha256(repr(sorted(self.settings().items())).encode())
        for name in sorted(self.tensors):
            sha.update(name.encode() + self.tensors[name].cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()
