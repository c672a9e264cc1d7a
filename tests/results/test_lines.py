"""Every line, curve and cell of a run over models, data sets, engines, seeds and a parameter that some methods lack, against pandas."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from results.artefacts import paper as artefacts
from results.artefacts.parts import Run
from results.comparability import run_warnings
from results.compare import compare
from results.records import records
from results.summary import summary as streamed
from results.tables import load
from tests.app.test_cli import wandb_summary
from tests.commands import called
from tests.results.test_page import data as of_page

pytestmark = pytest.mark.slow

NETWORKS = """
import torch
from torch import nn

class Bands(nn.Module):
    '''The class is the band of rows, or of columns, that stands out most.'''
    def __init__(self, axis):
        super().__init__()
        self.axis = axis
        self.gain = nn.Parameter(torch.ones(1))
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.conv.weight)

    def forward(self, x):
        means = self.conv(x).mean(1).mean(self.axis).view(len(x), 4, -1)
        return self.gain * 20 * (means.std(2) + 0.1 * means.mean(2))

def make(axis, weights=None):
    return Bands(axis)
"""
MODEL = """
_target_: benchmarks.models.build
name: {name}
weights: null
net: {{_target_: bands.make, axis: {axis}}}
classes: [first, second, third, fourth]
size: 32
crop_pct: 1.0
interpolation: bilinear
mean: [0.0, 0.0, 0.0]
std: [1.0, 1.0, 1.0]
gradcam_layer: net.conv
rise_masks: 8
"""
BY = ["model", "dataset.root", "engine", "method", "param.k"]
SINGLE = ("mar", "mar_first", "mar_holds", "insertion_consistency_auc", "queries")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    (folder / "bands.py").write_text(NETWORKS)
    (folder / "conf" / "model").mkdir(parents=True)
    for name, axis in (("rows", 2), ("columns", 1)):
        (folder / "conf" / "model" / f"{name}.yaml").write_text(MODEL.format(name=name, axis=axis))
    pictures = [data.coffee(), data.astronaut(), data.chelsea(), data.rocket(), data.coffee()[::-1], data.astronaut()[:, ::-1]]
    for i, picture in enumerate(pictures):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture)).resize((40, 36)).save(folder / "ab"[i % 2] / f"{i // 2}.png")
    common = ["--config-dir", "conf", "-m", "model=rows,columns", "dataset=image_folder", "dataset.root=b,a", "engine=torch,onnxruntime"]
    common += ["seed=0,1", "name=grid", "benchmark.insertion.shares=[0.0,0.25,0.5,1.0]", "benchmark.mar.points=6"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("WANDB_SILENT", "true")
        da = ["method=da_pos", "method.k=4,2", "method.iterations=12", "tracking=wandb"]
        for arguments in (["method=random", "page=false"], da):
            said = called("benchmarks", *common, *arguments, cwd=folder)
            assert said.returncode == 0, said.stderr
        yield folder / "runs" / "grid"


@pytest.fixture(scope="module")
def rows(run) -> pd.DataFrame:
    return pd.read_parquet(run / "rows.parquet")


def means(rows: pd.DataFrame, metric: str, by: list[str]) -> pd.Series:
    """Over images of the mean over seeds."""
    of = rows[(rows["metric"] == metric) & rows["value"].notna()]
    return of.groupby([*by, "digest"], dropna=False, sort=False)["value"].mean().groupby(level=by, dropna=False, sort=False).mean()


def test_the_jobs_are_all_there_and_told_apart(run, rows):
    assert len(records(run)) == 2 * 2 * 2 * 2 * 3
    assert rows["configuration"].nunique() == 2 * 2 * 2 * 3
    assert not rows.duplicated(["job", "image", "metric", "x"]).any()
    assert not rows.duplicated(["configuration", "seed", "image", "metric", "x"]).any()
    assert rows.groupby(BY, dropna=False)["configuration"].nunique().max() == 1
    assert {name for name in rows.columns if "." in name} == {"param.k", "dataset.root"}
    assert rows["value"].std() > 0.1
    assert not run_warnings(records(run))


def test_a_line_of_the_summary_is_one_configuration_in_the_order_of_the_sweep(run, rows):
    summary = pd.read_csv(run / "summary.csv")
    assert len(summary) == 24
    for metric in SINGLE:
        wanted = means(rows, metric, BY)
        found = summary[summary[metric].notna()].set_index(BY)[metric]
        assert len(found) == len(wanted)
        np.testing.assert_allclose(found.to_numpy(), wanted.loc[found.index].to_numpy())
    assert (summary["images"] == 3).all()
    assert (summary["queries_n"] == 3).all()
    assert summary.loc[summary["method"] == "da_pos", "mar_n"].eq(3).all()
    assert summary.loc[summary["method"] == "random", "mar_n"].eq(0).all()
    assert list(dict.fromkeys(summary["method"])) == ["da_pos", "random"]
    of_one = summary[summary["method"] == "da_pos"]
    assert list(dict.fromkeys(of_one["model"])) == ["rows", "columns"]
    assert list(dict.fromkeys(of_one["param.k"])) == [4, 2]
    assert list(dict.fromkeys(of_one["dataset.root"])) == ["b", "a"]
    assert list(dict.fromkeys(of_one["engine"])) == ["torch-fp32", "onnxruntime-fp32"]
    assert summary["seconds_low"].isna().all()
    pd.testing.assert_frame_equal(streamed(run)[list(SINGLE)], summary[list(SINGLE)])


def test_every_view_of_the_page_is_of_one_configuration(run, rows):
    charts = of_page(run / "index.html")["charts"]
    assert charts.keys() >= {"curves", "ablation", "distributions", "differences"}
    checked = 0
    for view in charts["distributions"]["views"]:
        frame = pd.read_csv(io.StringIO(view["csv"]))
        for name, group in frame.groupby("configuration"):
            assert any(_near(group["value"].mean(), _mean(rows, metric, name)) for metric in SINGLE)
            assert len(group) == 3
            checked += 1
    for view in charts["curves"]["views"]:
        frame = pd.read_csv(io.StringIO(view["csv"]))
        metric = view["name"].replace(" ", "_")
        for (name, x), group in frame.groupby(["configuration", "x"]):
            assert len(group) == 1
            assert _near(group["mean"].item(), _mean(rows[rows["x"] == x], metric, name))
            checked += 1
    for view in charts["ablation"]["views"]:
        frame = pd.read_csv(io.StringIO(view["csv"]))
        assert frame["configuration"].nunique() == 8  # k over models, data sets and engines
        for (label, k), group in frame.groupby(["configuration", "x"]):
            settings = dict(part.split("=") for part in label.split()[1:])
            of = rows[(rows["param.k"] == k) & (rows[list(settings)] == pd.Series(settings)).all(axis=1)]
            assert len(set(of["configuration"])) == 1
            assert any(_near(group["mean"].item(), _mean(of, metric, of["configuration"].iloc[0])) for metric in (*SINGLE, "seconds"))
            checked += 1
    for view in charts["differences"]["views"]:
        for line in pd.read_csv(io.StringIO(view["csv"])).to_dict("records"):
            a, b = (rows[(rows["configuration"] == line[side]) & (rows["metric"] == line["metric"])] for side in ("a", "b"))
            a, b = (of.groupby("digest")["value"].mean() for of in (a, b))
            assert line["n"] == 3  # within one data set: the other has other pictures
            assert _near(line["difference"], (a - b).mean())
            checked += 1
    assert checked > 200
    gallery = of_page(run / "index.html")
    assert len(gallery["columns"]) == 32  # of 48, and it says so
    assert "32 of 48 configurations are shown" in (run / "index.html").read_text(encoding="utf-8")
    for c, column in enumerate(gallery["columns"]):
        seed = int(column["name"].rsplit("seed=", 1)[1])
        of = rows[(rows["configuration"] == column["name"].rsplit(" seed=", 1)[0]) & (rows["seed"] == seed)]
        cells = [(row["id"], row["cells"][str(c)]) for row in gallery["rows"] if str(c) in row["cells"]]
        assert len(cells) == 3
        for image, cell in cells:
            wanted = of[(of["image"] == image) & of["x"].isna()].set_index("metric")["value"]
            assert cell["numbers"]["queries"] == wanted["queries"]
            assert cell["numbers"]["mar_holds"] == round(wanted["mar_holds"], 4)


def test_compare_pairs_one_configuration_with_one(run, rows):
    found = compare([run], ["da_pos", "random"], ["mar_holds", "seconds"])
    assert len(found.differences) == 2 * 16  # each k against random, in each model, data set and engine
    for line in found.differences.to_dict("records"):
        a, b = (rows[(rows["configuration"] == line[side]) & (rows["metric"] == line["metric"])] for side in ("a", "b"))
        for name in ("model", "dataset.root", "engine"):
            assert set(a[name]) == set(b[name])
        a, b = (of.groupby("digest")["value"].mean() for of in (a, b))
        assert _near(line["difference"], (a - b).mean())
        assert _near(line["mean_a"], a.mean())
        assert line["n"] == 3
        assert pd.isna(line["p"]) == (line["metric"] == "seconds") == pd.isna(line["low"])


def test_a_table_of_the_paper_is_of_one_model_data_set_and_engine(run):
    jobs = records(run)
    whole = Run(run, load(run, jobs), jobs, {"scale": "laptop"})
    of_da = whole.rows["method"] == "da_pos"
    list(artefacts.runtime(whole))
    written = sorted(path.name for path in run.glob("runtime_*.csv"))
    assert len(written) == 8
    for path in run.glob("runtime_*.csv"):
        model, engine, root = path.stem.removeprefix("runtime_").split("_")
        rows = whole.rows[(whole.rows["model"] == model) & (whole.rows["engine"] == engine) & (whole.rows["dataset.root"] == root)]
        table = pd.read_csv(path).set_index("method")
        assert set(table.index) == {"da_pos k=4", "da_pos k=2", "random"}
        seconds = rows[(rows["metric"] == "seconds") & (rows["param.k"] == 4)]
        seconds = seconds[seconds["job"].duplicated()]["value"]  # without the first image of each job
        assert table.loc["da_pos k=4", "seconds, median"] == pytest.approx(seconds.median())
        assert model in path.with_suffix(".md").read_text()
    part = Run(run, whole.rows[of_da], [job for job in jobs if job["method"] == "da_pos"], {"scale": "laptop"})
    list(artefacts.table2(part))
    tables = sorted(run.glob("table2_*.csv"))
    assert len([path for path in tables if "tests" not in path.name]) == 8
    for path in (path for path in tables if "tests" not in path.name):
        model, engine, root = path.stem.removeprefix("table2_").split("_")
        rows = part.rows[(part.rows["model"] == model) & (part.rows["engine"] == engine) & (part.rows["dataset.root"] == root)]
        for line in pd.read_csv(path).query("metric == 'mar'").to_dict("records"):
            wanted = means(rows[rows["param.k"] == line["k"]], "mar", ["model"]).item()
            assert line["ours"].startswith(f"{wanted:.3f}")


def _mean(rows: pd.DataFrame, metric: str, configuration: str) -> float:
    of = rows[(rows["configuration"] == configuration) & (rows["metric"] == metric)]
    return float(of.groupby("digest")["value"].mean().mean())


def _near(found: float, wanted: float) -> bool:
    return bool(np.isclose(found, wanted, rtol=1e-6, atol=1e-9))


def test_wandb_has_every_configuration(run, rows):
    names = set(rows["configuration"])
    summaries = [wandb_summary(path) for path in run.rglob("*.wandb")]
    assert len(summaries) == 48 + 1  # one per job, and the sweep's
    told = [{key.rsplit("/", 1)[0] for key in found} & names for found in summaries]
    assert sorted(map(len, told)) == [1] * 48 + [24]
    whole = summaries[max(range(49), key=lambda i: len(told[i]))]
    for name in names:
        for metric in ("mar_holds", "queries", "insertion_consistency_auc"):
            assert _near(whole[f"{name}/{metric}"], _mean(rows, metric, name))
