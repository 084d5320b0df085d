"""docs/studies: a page per study, as the catalogue and the kept results say it now."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bnkit.lab.store import Verdict
from bnkit.lab.study import find_study, study_names
from bnkit.lab.study_pages import pages, write_pages
from bnkit.lab.study_pages.__main__ import main
from bnkit.lab.study_pages.index_page import claim_pairs, index_page
from bnkit.lab.study_pages.kept_result import KeptResult, keep, read_kept
from bnkit.lab.study_pages.markdown import cell
from bnkit.lab.study_pages.page_files import INDEX, RESULTS
from bnkit.lab.study_pages.settings_table import differences
from bnkit.lab.study_pages.study_page import OWN_NETWORK, takes_any_network
from lab.study_pages.stored_run import write_run
from source_tree import ROOT

FOLDER = ROOT / "docs" / "studies"
HEADINGS = ("Set-up", "Claims", "How to run", "What was found")


def stale_pages(folder: Path) -> set[str]:
    """Return the names of pages that are missing, stale or of no study."""
    current = pages(folder)
    held = {file.name: file.read_text("utf-8") for file in folder.glob("*.md")}
    names = held.keys() | current.keys()
    return {name for name in names if held.get(name) != current.get(name)}


def unsaid(page: str, result: dict[str, Any]) -> list[str]:
    """Return what a stored result found that its page does not show, read from the file itself."""
    lines = page.splitlines()
    missing = [
        verdict["id"]
        for verdict in result["verdicts"]
        if not any(
            f"(`{verdict['id']}`)" in line and f" {verdict['outcome']}" in line for line in lines
        )
    ]
    said = (result["command"], f"commit {result['commit']}", result["machines"][0]["processor"])
    return missing + [text for text in said if text not in page]


def test_the_pages_are_what_catalogue_and_results_say() -> None:
    assert not stale_pages(FOLDER), "run `make fix`, which writes docs/studies"


@pytest.mark.parametrize("name", study_names())
def test_a_page_has_every_section_and_the_words_of_the_study(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text("utf-8")
    content = find_study(name).content
    assert re.findall(r"^## (.+)$", page, flags=re.MULTILINE) == list(HEADINGS)
    assert cell(content["study"]["question"]) in page
    for claim in content.get("claims", []):
        assert f"- `{claim['id']}`: {cell(claim['text'])}." in page
    for arm in content["arms"]:
        assert f"| `{arm}` |" in page
    assert f"bnkit study run {name} --quick" in page


@pytest.mark.parametrize("file", sorted((FOLDER / RESULTS).glob("*.json")), ids=lambda f: f.stem)
def test_a_page_shows_what_its_results_found(file: Path) -> None:
    result = json.loads(file.read_text("utf-8"))
    assert unsaid((FOLDER / f"{result['study']}.md").read_text("utf-8"), result) == []
    assert not re.search(r"[\s\"'=](?:~?/|[A-Za-z]:\\)[\w.]", file.read_text("utf-8")), "a path"


def test_the_index_links_every_page_and_its_results_stay_small() -> None:
    links = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\) .*\|$", pages(FOLDER)[INDEX], re.MULTILINE)
    assert set(links) == {f"{name}.md" for name in study_names()}
    assert sum(file.stat().st_size for file in (FOLDER / RESULTS).iterdir()) < 500_000


def test_no_claim_is_supported_in_one_profile_and_refuted_in_the_other() -> None:
    pairs = claim_pairs(study_names(), read_kept(FOLDER / RESULTS))
    assert [(pair.study, pair.quick.id) for pair in pairs if pair.contradict] == []
    assert len({pair.study for pair in pairs}) >= LEAST_COMPARED


# Studies whose results of both profiles are kept.
LEAST_COMPARED = 6


def test_own_networks_are_offered_where_no_arm_and_no_claim_speaks_of_the_studys() -> None:
    assert takes_any_network("digits")
    assert not takes_any_network("dropout"), "its arms set arguments of the network"
    assert not takes_any_network("vanishing-gradients"), "its grid varies the depth of the network"
    for name, offered in (("digits", True), ("dropout", False)):
        assert (OWN_NETWORK in (FOLDER / f"{name}.md").read_text("utf-8")) is offered


def test_a_study_without_results_has_a_page(tmp_path: Path) -> None:
    write_pages(tmp_path)
    assert not stale_pages(tmp_path)
    assert (tmp_path / "digits.md").read_text("utf-8").count("Not run yet.") == 2
    assert "No study was run in both profiles yet." in (tmp_path / INDEX).read_text("utf-8")


def test_these_checks_can_fail(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    keep(write_run(tmp_path / "run"), folder / RESULTS, "abc1234")
    write_pages(folder)
    assert not stale_pages(folder)
    result = json.loads((folder / RESULTS / "digits-quick.json").read_text("utf-8"))
    page = (folder / "digits.md").read_text("utf-8")
    assert unsaid(page, result) == []
    assert unsaid(page.replace("supported", "refuted"), result) == ["accuracy", "training-loss"]
    assert unsaid(page.replace("abc1234", "def"), result) == ["commit abc1234"]
    (folder / "digits.md").write_text("old", "utf-8")
    (folder / "placement.md").unlink()
    (folder / "gone.md").write_text("a study that was", "utf-8")
    assert stale_pages(folder) == {"digits.md", "placement.md", "gone.md"}
    write_pages(folder)
    assert not stale_pages(folder)


def kept(profile: str, outcomes: dict[str, str], settings: dict[str, Any]) -> KeptResult:
    """Return a result of `digits` whose claims ended so."""
    blank = Verdict(
        "", "a claim", "higher", "m", ("with",), "supported", "", 1.0, "difference", 0.5, 1.5, 0.01,
        0.01, 5, {}, {},
    )  # fmt: skip
    verdicts = [replace(blank, id=key, outcome=value) for key, value in outcomes.items()]
    return KeptResult(
        "digits", profile, "", "abc", "2026-01-01", [{}], {}, 1, 1.0, settings, verdicts=verdicts
    )


@pytest.mark.parametrize(
    ("quick", "full", "contradict"),
    [
        ("supported", "supported", False),
        ("supported", "inconclusive", False),
        ("refuted", "refuted", False),
        ("supported", "refuted", True),
        ("refuted", "supported", True),
    ],
)
def test_contradictions_are_said(quick: str, full: str, contradict: bool) -> None:
    results = {
        "digits": {
            "quick": kept("quick", {"a": quick, "of-quick": "refuted"}, {}),
            "full": kept("full", {"a": full}, {}),
        }
    }
    (pair,) = claim_pairs(["digits"], results)
    assert pair.contradict is contradict
    page = index_page(["digits"], results)
    said = "1 supported in one and refuted in the other: digits, `a`."
    assert (said in page) is contradict
    assert ("none is supported in one" in page) is not contradict
    assert "†" in page.split("\n\n")[2], "other settings than the catalogue's are marked"


def test_other_settings_than_the_study_files_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    path = keep(write_run(tmp_path / "run"), folder / RESULTS, "abc1234")
    write_pages(folder)
    assert "otherwise today" not in (folder / "digits.md").read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace('"epochs": 5', '"epochs": 4'), "utf-8")
    write_pages(folder)
    page = (folder / "digits.md").read_text("utf-8")
    assert "| `training.epochs` | 4 | 5 |" in page
    assert "1 supported †" not in page
    assert "2 supported †" in (folder / INDEX).read_text("utf-8")


def test_differences_are_those_of_settings_and_not_of_wording() -> None:
    def settings(epochs: int, text: str, margin: float) -> dict[str, Any]:
        claim = {"id": "a", "text": text, "kind": "higher", "margin": margin}
        return {"study": {"title": text}, "training": {"epochs": epochs}, "claims": [claim]}

    assert differences(settings(1, "x", 0.1), settings(1, "y", 0.1)) == []
    without = {**settings(1, "x", 0.1), "claims": [], "probes": [{"kind": "sharpness"}]}
    assert [tuple(one) for one in differences(without, settings(1, "x", 0.1))] == [
        ("probes.sharpness", "has it", "–"),
        ("claims.a", "–", "has it"),
    ]
    found = differences({**settings(2, "x", 0.1), "probes": []}, settings(1, "x", 0.2))
    assert [tuple(one) for one in found] == [
        ("training.epochs", "2", "1"),
        ("claims.a.margin", "0.1", "0.2"),
    ]


def test_the_command_keeps_runs_and_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "pages", write_run(tmp_path / "run")
    assert main([str(folder), "--keep", str(run)]) == 1
    assert "Give --commit" in capsys.readouterr().err
    assert main([str(folder), "--keep", str(tmp_path), "--commit", "abc1234"]) == 1
    assert "holds no study" in capsys.readouterr().err
    assert not folder.exists()
    assert main([str(folder), "--keep", str(run), "--commit", "abc1234"]) == 0
    assert "commit abc1234" in (folder / "digits.md").read_text("utf-8")
    path = folder / RESULTS / "digits-quick.json"
    path.with_name("gone-quick.json").write_text(
        path.read_text("utf-8").replace('"study": "digits"', '"study": "gone"', 1), "utf-8"
    )
    assert main([str(folder)]) == 1
    assert "a study 'gone', which the catalogue lacks" in capsys.readouterr().err
