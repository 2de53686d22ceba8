"""Where the SAE and the texts of a record are found again."""

import dataclasses

import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.runs.setup import data_identity
from saebench_lite.runs.top_texts import _data, asked_for
from tests.helpers.record_factory import made_up


def test_of_several_runs_in_a_folder_that_which_gives_the_records_data(tmp_path):
    one = 'saes: ["mine=/a"]\nlimit: 6\nmax_texts: 60\n'
    (tmp_path / "run.yaml").write_text(one.replace("60", "50"))
    (tmp_path / "run-2.yaml").write_text(one)
    (tmp_path / "run-10.yaml").write_text(one.replace("mine", "other"))
    record = made_up("mine")
    first = asked_for(record, tmp_path, None, None, None)
    assert (first.sae, first.limit, first.max_texts) == ("mine=/a", 6, 50)  # none fits: the first
    for max_texts in (50, 60):
        data = data_identity(_data(first._replace(max_texts=max_texts)))
        found = asked_for(dataclasses.replace(record, data=data), tmp_path, None, None, None)
        assert found == first._replace(max_texts=max_texts)
    assert asked_for(made_up("other"), tmp_path, None, None, None).sae == "other=/a"
    assert asked_for(made_up("other"), tmp_path, "b", ["bundled"], 3).sae == "b"
    with pytest.raises(SaebenchError, match="nothing tells where SAE 'third' lies; give --sae"):
        asked_for(made_up("third"), tmp_path, None, None, None)


@pytest.mark.parametrize("option", ["--sae", "--data", "--limit", "--device"])
def test_what_top_texts_need_is_refused_without_them(option, tmp_path):
    done = CliRunner().invoke(app, ["show", "a", "sparse_probing", str(tmp_path), option, "3"])
    assert done.exit_code == 2
    assert f"{option} is for top texts; give --texts N too" in done.stderr
