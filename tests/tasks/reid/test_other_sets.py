"""A network leaves its training set: it is scored on others, trained on several, and fine-tuned."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import fit, result

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.synthetic.people.layouts import write_cuhk03, write_dukemtmc, write_msmt17

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")

MARKET = "Market-1501-v15.09.15"
SIZES = {"train_identities": 5, "test_identities": 6}


@pytest.fixture(scope="module")
def sets(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with all four sets; DukeMTMC-reID and the table have no training images."""
    root = tmp_path_factory.mktemp("sets")
    shutil.copytree(people / MARKET, root / MARKET)
    duke = write_dukemtmc(root, **SIZES)
    shutil.rmtree(duke / "bounding_box_train")
    write_msmt17(root, **SIZES)
    write_cuhk03(root, **SIZES)
    with (root / "people.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "identity", "camera", "split"])
        for split, folder in (("query", "query"), ("gallery", "bounding_box_test")):
            for image in sorted((root / MARKET / folder).glob("*.jpg")):
                identity, camera = image.name.split("_")[:2]
                if int(identity) > 0:
                    table.writerow([f"{MARKET}/{folder}/{image.name}", identity, camera[1], split])
    return root


@pytest.mark.slow
def test_one_command_scores_a_network_on_many_sets(
    sets: Path, reid_run: Path, copy_of: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(reid_run)
    others = f"DukeMTMC,MSMT17,CUHK03,{sets / 'people.csv'}"
    assert run(["test", "--ckpt_path", str(folder), "--data.root", str(sets), "--test_data", others]) == 0
    found = result(folder / "test")
    for name in ("DukeMTMC", "MSMT17", "CUHK03", "people"):
        assert 0 < found["scores"][f"test/mAP/{name}"] <= 100
    assert found["scores"]["test/mAP/people"] != found["scores"]["test/mAP"], "the table has no junk"
    assert set(found["test_sets"]) == {"DukeMTMC", "MSMT17", "CUHK03", "people"}
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("DukeMTMC", "MSMT17", "CUHK03", "people"))
    assert run(["test", "--ckpt_path", str(folder), "--data", "DukeMTMC", "--data.root", str(sets)]) == 0


@pytest.mark.slow
def test_what_is_no_test_set_is_said_before_anything_is_scored(sets: Path, reid_run: Path) -> None:
    line = ["test", "--ckpt_path", str(reid_run), "--data.root", str(sets), "--test_data"]
    for entries, said in (
        ("DukeMTC", "Closest: DukeMTMC"),
        ("CIFAR10", "the task is tested on data that derive from"),
        ("nowhere.csv", "there is no such file"),
        ("DukeMTMC,DukeMTMC", "names DukeMTMC twice"),
    ):
        with pytest.raises(InputError, match=said):
            run([*line, entries])
    assert not (reid_run / "test").exists()


@pytest.mark.slow
def test_people_of_several_sets_are_kept_apart(sets: Path) -> None:
    folder = fit("reid", sets, "--data", "Market1501+MSMT17", "--test_data", "Market1501,MSMT17")
    found = result(folder)
    assert found["identities"] == 12 + SIZES["train_identities"]
    assert found["scores"]["test/mAP/Market1501"] == found["scores"]["test/mAP"]
    assert 0 < found["scores"]["test/mAP/MSMT17"] <= 100


@pytest.mark.slow
def test_a_trained_network_is_fine_tuned(sets: Path, reid_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("--data", "MSMT17", "--model.pretrained", str(reid_run), "--model.frozen_epochs", "1")
    found = result(fit("reid", sets, *line))
    said = capsys.readouterr().err
    assert "classifier" in found["beginning"]
    assert found["beginning"].split(":")[0] in said
    assert found["identities"] == SIZES["train_identities"]
    with pytest.raises(InputError, match="does not fit resnet10t"):
        fit("reid", sets, "--backbone", "resnet10t", "--model.pretrained", str(reid_run))
