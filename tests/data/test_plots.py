"""`dvc plots` draws each corpus in a panel of its own: a curve through the rows of several corpora means nothing."""

import json

from ruamel.yaml import YAML

from tests.project import ROOT


def test_every_plot_of_the_report_is_divided_by_corpus() -> None:
    (*plots,) = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]["report"]["plots"]
    assert len(plots) >= 3
    for plot in plots:
        (settings,) = plot.values()
        template = json.loads((ROOT / f".dvc/plots/{settings['template']}.json").read_text(encoding="utf-8"))
        assert template["facet"]["field"] == "corpus"
        assert "loess" not in json.dumps(template)
