"""A checkpoint whose tensors do not fit is told in one line, before anything of it is taken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq_asr.errors import CheckpointError
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.schedule import build_optimizer
from seq2seq_asr.training.session import Session, train
from seq2seq_asr.training.state import NEEDED, require_state

Build = Callable[..., Session]


@pytest.fixture(scope="module")
def trained(sessions_in: Callable[[Path], Build], tmp_path_factory: pytest.TempPathFactory) -> Session:
    train(session := sessions_in(tmp_path_factory.mktemp("trained"))(epochs=1))
    return session


def require(session: Session, checkpoint: dict[str, Any]) -> None:
    require_state(checkpoint, session.model, session.optimizer, Path("x/last.ckpt"))


def test_what_training_wrote_fits_and_every_part_of_it_is_needed(trained: Session) -> None:
    checkpoint = read_checkpoint(trained.run.last)
    require(trained, checkpoint)
    for name in NEEDED:
        with pytest.raises(CheckpointError, match=f"^x/last.ckpt: no state to go on from, it has no {name}$"):
            require(trained, {key: value for key, value in checkpoint.items() if key != name})


def without(weights: dict[str, Any]) -> None:
    del weights["model.decoder.output.bias"]


def wider(weights: dict[str, Any]) -> None:
    weights["model.decoder.output.bias"] = torch.zeros(99)


def flat(weights: dict[str, Any]) -> None:
    weights["model.decoder.output.bias"] = torch.zeros(())


def more(weights: dict[str, Any]) -> None:
    weights["model.decoder.extra"] = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without, "decoder.output.bias is missing"),
        (wider, r"decoder.output.bias is 99, not \d+"),
        (flat, r"decoder.output.bias is a number, not \d+"),
        (more, "decoder.extra is not known"),
        (lambda weights: weights.clear(), r"missing, .* and \d+ more"),
    ],
)
def test_weights_that_do_not_fit_are_named_with_both_shapes(
    trained: Session, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    checkpoint = read_checkpoint(trained.run.last)
    change(checkpoint["state_dict"])
    with pytest.raises(CheckpointError, match=f"^x/last.ckpt: weights do not fit the model of config.yaml: .*{why}"):
        require(trained, checkpoint)


@pytest.mark.parametrize("state", [None, [], [{}], [{"state": {0: {"exp_avg": torch.zeros(2), "exp_avg_sq": 3}}}]])
def test_moments_that_do_not_fit_are_named(trained: Session, state: Any) -> None:
    checkpoint = {**read_checkpoint(trained.run.last), "optimizer_states": state}
    with pytest.raises(CheckpointError, match=r"the optimiser's state does not fit") as caught:
        require(trained, checkpoint)
    assert "\n" not in str(caught.value)


def test_a_weight_without_a_gradient_yet_has_no_moments(trained: Session) -> None:
    checkpoint = read_checkpoint(trained.run.last)
    del checkpoint["optimizer_states"][0]["state"][3]
    require(trained, checkpoint)
    optimizer = build_optimizer(trained.model, trained.optimizer)
    optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert weights[3] not in optimizer.state and set(optimizer.state) == {w for w in weights if w is not weights[3]}
