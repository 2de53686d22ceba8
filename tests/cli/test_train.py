"""`saebench-lite train`: from a command line or a file to folders that a run takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

import saebench_lite as sb
from saebench_lite.cli import main, train
from saebench_lite.recipes import long_run
from saebench_lite.recipes.long_run import CHECKPOINT
from saebench_lite.saes.affine import AffineSAE


@pytest.fixture
def texts(few_texts, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(long_run, "SAMPLE_ROWS", 256)
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(few_texts.texts[0].texts[:40]) + "\n")
    return path


def invoke(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(main.app, ["train", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


def loaded(path: Path) -> AffineSAE:
    sae = sb.load(path)
    assert isinstance(sae, AffineSAE)
    return sae


SMALL = ("--d-sae", 64, "--steps", 20, "--batch", 64, "--device", "cpu")


def test_folders_of_the_cross_of_architectures_l0_and_seeds(texts, tmp_path: Path):
    out = tmp_path / "saes"
    shown = invoke(
        "--data", f"local:{texts}", "--architecture", "topk,relu", "--l0", "4,8", "--seeds", "0,1", *SMALL, "--out", out
    )
    names = {f"{a}_64_l0_{k}{s}" for a in ("topk", "relu") for k in (4, 8) for s in ("", "_seed_1")}
    assert {p.name for p in out.iterdir() if p.is_dir()} == names
    report = json.loads((out / train.REPORT).read_text())
    assert set(report["saes"]) == names
    assert report["saes"]["topk_64_l0_8"]["l0"] == 8
    assert shown.count("explained_variance") == 8
    assert not (out / CHECKPOINT).exists()
    first, second = loaded(out / "topk_64_l0_4"), loaded(out / "topk_64_l0_4_seed_1")
    assert first.d_sae == 64
    assert first.meta["recipe"]["seed"] == 0
    assert not torch.equal(first.decoder, second.decoder)
    again = invoke("--data", f"local:{texts}", *SMALL, "--out", out, code=2)
    assert "holds the SAEs of a finished training; give another --out" in again


def test_options_of_a_file_and_over_it(texts, tmp_path: Path):
    file = tmp_path / "recipe.toml"
    file.write_text(
        f'data = "local:{texts}"\narchitecture = ["jumprelu"]\nl0 = 4\nd-sae = 64\nsteps = 20\nbatch = 64\n'
    )
    invoke("--config", file, "--l0", "6", "--device", "cpu", "--format", "sae_lens", "--out", tmp_path / "lens")
    invoke("--config", file, "--l0", "6", "--device", "cpu", "--out", tmp_path / "native")
    (lens,) = (p for p in (tmp_path / "lens").iterdir() if p.is_dir())
    assert {p.name for p in lens.iterdir()} == {"cfg.json", "sae_weights.safetensors"}
    one, other = loaded(lens), loaded(tmp_path / "native" / lens.name)
    x = torch.randn(50, one.d_in, generator=torch.Generator().manual_seed(0)) * 20
    assert torch.equal(one.encode(x), other.encode(x))
    assert one.encode(x).any()
    assert (one.meta["model"], one.meta["hook"]) == (other.meta["model"], other.meta["hook"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "zip"), "format 'zip' is not known; choose native or sae_lens"),
        (("--architecture", "vae"), "there is no recipe for architecture 'vae'; choose from relu"),
        (("--l0", "many"), "l0 'many' is no number; give numbers separated by commas"),
        (("--l0", "4,inf"), "l0 'inf' is no number; give numbers separated by commas"),
        (("--l0", "nan"), "l0 'nan' is no number; give numbers separated by commas"),
        (("--lr", "-1"), "lr is -1.0; give a number above 0"),
        (("--lr", "nan"), "lr is nan; give a number above 0"),
        (("--d-sae", "0"), "d_sae is 0; give a whole number, 1 at least"),
        (("--max-texts", "-5"), "max_texts is -5; give a whole number, 1 at least"),
        (("--seeds", "0,0.5"), "seeds holds '0.5'; give whole numbers, 0 at least, separated by commas"),
        (("--seeds", "-1"), "seeds holds '-1'; give whole numbers, 0 at least, separated by commas"),
        (("--architecture", "matching_pursuit", "--format", "sae_lens"), "no matching_pursuit here; give --format nat"),
        (("--architecture", "top_afa", "--format", "sae_lens"), "no top_afa here; give --format native"),
        (("--config", "absent.toml"), "--config absent.toml is no file; name a TOML or YAML file"),
        (("--l0", "64"), "l0 must lie between 0 and d_sae = 64, not 64"),
    ],
)
def test_what_cannot_be_is_a_sentence_before_the_work(texts, tmp_path: Path, words, sentence):
    shown = invoke("--data", f"local:{texts}", *SMALL, "--out", tmp_path / "saes", *words, code=2)
    assert sentence in " ".join(shown.split())
    assert not (tmp_path / "saes").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("l0 = = 4", "cannot be read"),
        ("hidden = 64", "unknown option 'hidden'; there are architecture, batch"),
        ("steps = '100'", "steps is '100'; give a whole number, 1 at least"),
        ("expansion = '8'", "expansion is '8'; give a whole number, 1 at least"),
        ("data = 5", "data is 5; give a name or a list of names"),
        ("bf16 = 'yes'", "bf16 is 'yes'; write true or false"),
    ],
)
def test_a_file_with_other_options_is_a_sentence(tmp_path: Path, text, sentence):
    (tmp_path / "bad.toml").write_text(text)
    assert sentence in " ".join(invoke("--config", tmp_path / "bad.toml", code=2).split())


def test_a_rate_that_yaml_reads_as_a_text_is_a_number(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("lr: 1e-4\nl0: 4\n")
    assert train.effective(tmp_path / "recipe.yaml", {}, {"lr", "l0"})["lr"] == 1e-4


def test_every_option_stands_in_one_group_of_the_help():
    grouped = [name for names in train.GROUPS.values() for name in names]
    command = get_command(main.app).commands["train"]  # type: ignore[attr-defined]  # a group of commands
    assert sorted(grouped) == sorted({p.name for p in command.params} - {"plugin", "debug", "help"})


def test_a_trained_sae_is_fine_tuned_where_its_metadata_say(texts, tmp_path: Path):
    invoke("--data", f"local:{texts}", "--architecture", "relu", "--l0", "4", *SMALL, "--out", tmp_path / "saes")
    (folder,) = (p for p in (tmp_path / "saes").iterdir() if p.is_dir())
    words = [str(folder), "--data", f"local:{texts}", "--steps", "3", "--tokens", "128", "--device", "cpu"]

    def tune(*more: str, code: int = 0) -> str:
        done = CliRunner().invoke(main.app, ["fine-tune", *words, *more])
        assert done.exit_code == code, done.output
        return done.output

    assert "3 steps" in tune("--out", str(tmp_path / "tuned"))
    tuned = loaded(tmp_path / "tuned")
    assert tuned.meta["fine_tune"]["part"] == "all"
    assert not torch.equal(tuned.decoder, loaded(folder).decoder)
    assert "exists; give another folder" in tune("--out", str(tmp_path / "tuned"), code=2)
    assert "part 'half' of an SAE is not known" in tune("--part", "half", "--out", str(tmp_path / "new"), code=2)
    assert "max_texts is -5; give a whole" in tune("--max-texts", "-5", "--out", str(tmp_path / "new"), code=2)
    assert not (tmp_path / "new").exists()
