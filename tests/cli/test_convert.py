"""`relattn convert`: a released checkpoint through the command line into test, embed and the rest."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from released_networks import ReleasedNetwork, ReleasedStRANetwork, shake

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.inference.loading import load_task

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")


@pytest.fixture(scope="module")
def network() -> ReleasedNetwork:
    return shake(ReleasedNetwork(12))


@pytest.fixture(scope="module")
def released(network: ReleasedNetwork, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("released") / "rga.pth.tar"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    return str(path)


def convert(released: str, out: str, *arguments: str) -> str:
    assert run(["convert", "--released", released, "--out", out, "--size", "64x32", *arguments]) == 0
    return out


@pytest.mark.slow
def test_a_converted_checkpoint_is_tested_and_embeds(network, released, people, capsys):
    out = convert(released, "converted/model.ckpt")
    printed = capsys.readouterr().out
    assert "0 of the file found no place." in printed
    assert "0 of the network are not in the file." in printed
    assert f"{out}: rga_sc, 12 identities, Market1501, 64x32" in printed
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        expected = network(images)[1]
        assert (load_task(Path(out))(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert run(["test", "--ckpt_path", out, "--gpus", "0", "--data.root", str(people), "--data.workers", "0"]) == 0
    result = json.loads(Path("converted/test/result.json").read_text())
    assert (result["attention"], result["data"]) == ("rga_sc", "Market1501")
    assert 0 < result["scores"]["test/mAP"] <= 100
    photos = str(people / "Market-1501-v15.09.15" / "query")
    assert run(["embed", "--ckpt_path", out, "--images", photos, "--out", "found", "--gpus", "0"]) == 0
    said = json.loads(Path("found/embedding.json").read_text())
    assert (said["feature"], said["image_size"]) == ("after_norm", [64, 32])
    with pytest.raises(InputError, match=f"{out} holds only weights"):
        run(["fit", "--ckpt_path", out, "--gpus", "0", "--data.root", str(people), "--data.workers", "0"])


@pytest.mark.slow
def test_what_is_written_says_where_it_is_from_and_what_it_is_for(released):
    content = torch.load(convert(released, "cuhk03/model.ckpt", "--data", "CUHK03"), weights_only=True)
    specification = content["specification"]
    assert (specification["num_classes"], specification["image_size"]) == (12, (64, 32))
    assert specification["feature"] == "before_norm"
    assert specification["preprocessing"]["size"] == [64, 32]
    assert (content["released"]["file"], content["released"]["release"]) == ("rga.pth.tar", "RGA")
    assert Path("cuhk03/config.yaml").read_text() == content["config"]
    other = load_task(Path(convert(released, "other/model.ckpt", "--identities", "20")))
    assert other.head.classifier.weight.shape == (20, 2048)


@pytest.mark.slow
def test_what_cannot_be_is_explained(released):
    with pytest.raises(InputError, match=r"is for images with 128 positions after stage 1, and .* for 2,048"):
        run(["convert", "--released", released, "--out", "a/b.ckpt"])
    with pytest.raises(InputError, match=r"there is no data set 'Market'\. Closest: Market1501"):
        convert(released, "a/b.ckpt", "--data", "Market")
    with pytest.raises(InputError, match="CIFAR10 does not fit ReID"):
        convert(released, "a/b.ckpt", "--data", "CIFAR10")
    with pytest.raises(InputError, match="--size: '64' is not height x width"):
        run(["convert", "--released", released, "--out", "a/b.ckpt", "--size", "64"])
    assert not Path("a").exists()
    Path("a").mkdir()
    Path("a/config.yaml").touch()
    with pytest.raises(InputError, match=r"a/config.yaml exists. Choose a folder of its own"):
        convert(released, "a/c.ckpt")


@pytest.mark.slow
def test_the_released_stra_has_its_recipe(people: Path) -> None:
    theirs = shake(ReleasedStRANetwork(12))
    torch.save(theirs.state_dict(), "stra.pth")
    out = convert("stra.pth", "stra/model.ckpt")
    config = yaml.safe_load(Path("stra/config.yaml").read_text())
    assert config["recipes"]["task"] == "reid_stra_released"
    assert config["recipes"]["attention"] == "stra_released"
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        expected = theirs(images)[1]
        assert (load_task(Path(out))(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert run(["test", "--ckpt_path", out, "--gpus", "0", "--data.root", str(people), "--data.workers", "0"]) == 0
    assert 0 < json.loads(Path("stra/test/result.json").read_text())["scores"]["test/mAP"] <= 100
