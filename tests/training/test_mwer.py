"""Minimum word error rate training: its loss written out, its lists, and what it does to a toy."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import Batch, SpeechDataset, collate
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.wer import character_errors
from seq2seq_asr.nn.losses import expected_errors, shift_targets
from seq2seq_asr.nn.model import Encoded, Losses, Seq2Seq
from seq2seq_asr.nn.regularisation import RegularisationConfig
from seq2seq_asr.search.hypothesis import NOTHING, Hypothesis
from seq2seq_asr.training.criterion import CER, WER, Choice
from seq2seq_asr.training.mwer import (
    MwerConfig,
    NBest,
    list_log_probs,
    mwer_losses,
    score_lists,
    search_lists,
)
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.session import Session, build_parts, train
from seq2seq_asr.vocabulary import EOS, SOS

pytestmark = pytest.mark.usefixtures("draw_no_curves")

Build = Callable[..., Session]


def written_out(log_probs: list[float], errors: list[float]) -> float:
    """Sum of p_n (w_n - mean w) over a list, where p_n are the probabilities divided by their sum."""
    if not errors:
        return 0.0
    whole, mean = sum(map(math.exp, log_probs)), sum(errors) / len(errors)
    return sum(math.exp(p) / whole * (w - mean) for p, w in zip(log_probs, errors, strict=True))


def test_expected_errors_are_those_written_out() -> None:
    log_probs = 3 * torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    errors = torch.randint(0, 6, (5, 4)).double()
    found = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    losses = expected_errors(log_probs, errors, found)
    rows = zip(log_probs.tolist(), errors.tolist(), found.tolist(), strict=True)
    for loss, (p, w, there) in zip(losses.tolist(), rows, strict=True):
        kept = [*itertools.compress(p, there)], [*itertools.compress(w, there)]
        assert loss == pytest.approx(written_out(*kept), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: expected_errors(x, errors, found), (log_probs,))
    # Raising the probability of what has more errors than the mean raises the loss.
    (gradient,) = torch.autograd.grad(losses.sum(), log_probs)
    assert gradient[found & (errors == errors.amax(1, keepdim=True))][0] > 0 and (gradient[~found] == 0).all()


def batch_of(session: Session, places: list[int]) -> Batch:
    dataset = SpeechDataset(session.train, session.tokenizer, input_reader(session.model.features))
    return collate([dataset[Item(place, 0)] for place in places])


def seq2seq_of(session: Session) -> Seq2Seq:
    assert isinstance(session.model, Seq2Seq)
    return session.model.eval()


@pytest.fixture
def toy(toy_session: Build) -> tuple[Session, Seq2Seq]:
    """A session, and its model without dropout, made more certain of the end, so that what is found does end."""
    session = toy_session(criterion="cer")
    model = seq2seq_of(session)
    model.decoder.output.bias.data[EOS] += 1.0
    return session, model


def encoded_of(model: Seq2Seq, batch: Batch) -> Encoded:
    return model.encode(batch.inputs, batch.lengths)


@torch.no_grad()
def test_the_loss_of_a_batch_is_the_reference_over_what_the_search_finds(toy: tuple[Session, Seq2Seq]) -> None:
    session, model = toy
    batch = batch_of(session, [0, 1, 2, 5])
    found = mwer_losses(model, session.tokenizer, batch, MwerConfig(nbest=3, cross_entropy=0.3), CER, 0.0)
    encoded = encoded_of(model, batch)
    usual = model.losses(encoded, batch.tokens, batch.token_lengths)
    lists = search_lists(model, encoded, 3)
    assert all(len(one) == 3 for one in lists)
    told: list[float] = []
    for row, nbest in enumerate(lists):
        log_probs, errors = [], []
        for one in (one for one in nbest if one.ended):
            memory = model.memory(Encoded(encoded.states[[row]], encoded.lengths[[row]]))
            state, total = model.decoder.start(memory), 0.0
            for last, token in itertools.pairwise([SOS, *one.tokens, EOS]):
                logits, state = model.decoder.step(torch.tensor([last]), state, memory)
                total += float(logits.log_softmax(1)[0, token])
            assert total == pytest.approx(one.log_prob, abs=1e-4)
            log_probs.append(total)
            errors.append(float(character_errors(batch.texts[row], session.tokenizer.decode(one.tokens)).errors))
        told.append(written_out(log_probs, errors))
        assert float(found.total[row]) == pytest.approx(told[row] + 0.3 * float(usual.total[row]), abs=1e-4)
    assert max(map(abs, told)) > 0.01, "otherwise the lists say nothing"
    assert torch.equal(found.attention, usual.attention) and torch.equal(found.tokens, usual.tokens)


def test_the_gradient_is_that_of_differences_on_fixed_lists(toy: tuple[Session, Seq2Seq]) -> None:
    session, model = toy
    batch = batch_of(session, [1, 2])
    states, lengths = (part.detach() for part in encoded_of(model, batch))
    states = states.double().requires_grad_()
    lists = NBest(
        torch.tensor([[4, 5], [5, 0], [0, 0], [6, 4], [6, 5], [4, 0]]), torch.tensor([2, 1, 0, 2, 2, 1]),
        torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]).double(), torch.tensor([[True] * 3, [True, True, False]]),
    )  # fmt: skip

    def loss(states: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        log_probs = list_log_probs(model, Encoded(states, lengths), lists)
        return expected_errors(log_probs, lists.errors, lists.found)

    weights = dict(model.decoder.double().named_parameters())  # gradcheck moves them in place
    given = (states, weights["output.bias"], weights["attention.score.weight"])
    assert torch.autograd.gradcheck(loss, given, fast_mode=True)


def test_a_loss_is_the_same_alone_and_in_a_batch(toy: tuple[Session, Seq2Seq]) -> None:
    session, model = toy
    config, places = MwerConfig(nbest=4), [0, 1, 2, 5]

    def losses(places: list[int]) -> list[float]:
        return mwer_losses(model, session.tokenizer, batch_of(session, places), config, CER, 0.0).total.tolist()

    together = losses(places)
    for place, loss in zip(places, together, strict=True):
        assert losses([place]) == pytest.approx([loss], abs=1e-4)
    assert losses(places[::-1]) == pytest.approx(together[::-1], abs=1e-4)


def test_lists_keep_what_ended_and_count_its_words(toy: tuple[Session, Seq2Seq]) -> None:
    session, _ = toy
    spell = session.tokenizer.encode
    hypotheses = [
        [Hypothesis((*spell("a b"),), -1.0, -1.0), Hypothesis((*spell("c"),), -2.0, -2.0, ended=False)],
        [Hypothesis((), -1.0, -1.0), Hypothesis((*spell("a"),), -2.0, -2.0)],
        [NOTHING],
    ]
    lists = score_lists(hypotheses, ["b a b", "a", "c"], session.tokenizer, 2, WER)
    assert lists.found.tolist() == [[True, False], [True, True], [False, False]]
    assert lists.errors[lists.found].tolist() == [1.0, 1.0, 0.0]
    assert lists.lengths.tolist() == [len(spell("a b")), 0, 0, len(spell("a")), 0, 0]
    read, _ = shift_targets(lists.tokens, lists.lengths)
    assert read[0, : 1 + len(spell("a b"))].tolist() == [SOS, *spell("a b")]


@pytest.mark.parametrize("choice", ["wer", "cer"])
def test_errors_are_counted_as_the_run_is_judged(choice: Choice, toy_session: Build) -> None:
    """Of "abcd", "abc" is one word and one character wrong, "d" one word and three characters."""
    session = toy_session(criterion=choice)
    hypotheses = [[Hypothesis((*session.tokenizer.encode(text),), -1.0, -1.0) for text in ("abc", "d")]]
    lists = score_lists(hypotheses, ["abcd"], session.tokenizer, 2, session.criterion)
    assert lists.errors.tolist() == ([[1.0, 1.0]] if choice == "wer" else [[1.0, 3.0]])
    model, batch = seq2seq_of(session), batch_of(session, [0, 1, 2, 5])
    model.decoder.output.bias.data[EOS] += 1.0
    module, _ = build_parts(dataclasses.replace(session, mwer=MwerConfig(nbest=3)))
    with torch.no_grad():
        words, characters = (
            mwer_losses(model, session.tokenizer, batch, MwerConfig(nbest=3), criterion, 0.0).total
            for criterion in (WER, CER)
        )
        found = module.losses(batch).total
    assert torch.equal(found, words if choice == "wer" else characters) and not torch.equal(words, characters)


def test_lists_and_the_usual_loss_share_one_draw_of_weight_noise(toy: tuple[Session, Seq2Seq]) -> None:
    """The search's weights are clean: it finds what it finds without noise."""
    session, model = toy
    model.requires_grad_(False)
    noise = RegularisationConfig(weight_noise=0.3)
    decoder = dataclasses.replace(model.config.decoder, dropout=0.0, regularisation=noise)
    other = Seq2Seq(dataclasses.replace(model.config, decoder=decoder), model.decoder.vocabulary).eval()
    other.load_state_dict(model.state_dict())
    other.decoder.train()
    batch, config = batch_of(session, [0, 1, 2, 5]), MwerConfig(nbest=3, cross_entropy=0.3)
    torch.manual_seed(1)
    found = mwer_losses(other, session.tokenizer, batch, config, CER, 0.0)
    encoded = encoded_of(model, batch)
    lists = score_lists(search_lists(model, encoded, 3), batch.texts, session.tokenizer, 3, CER)
    torch.manual_seed(1)
    with other.noisy_decoder():
        drawn = {name: value.detach().clone() for name, value in other.decoder.named_parameters()}
    model.decoder.load_state_dict(drawn, strict=False)
    with torch.no_grad():
        errors = expected_errors(list_log_probs(model, encoded, lists), lists.errors, lists.found)
        assert errors.abs().max() > 0.01, "otherwise lists say nothing"
        usual = model.losses(encoded, batch.tokens, batch.token_lengths)
    torch.testing.assert_close(found.attention, usual.attention)
    torch.testing.assert_close(found.total, errors + 0.3 * usual.total)


@pytest.mark.parametrize("layers", [1, 2], ids=["stepping", "step by step"])
def test_the_search_is_without_dropout_and_leaves_the_model_training(toy: tuple[Session, Seq2Seq], layers: int) -> None:
    session, model = toy
    decoder = dataclasses.replace(model.config.decoder, layers=layers, dropout=0.5)
    model = Seq2Seq(dataclasses.replace(model.config, decoder=decoder), model.decoder.vocabulary).eval()
    encoded = encoded_of(model, batch_of(session, [2]))
    wanted = search_lists(model, encoded, 3)
    model.train()
    assert search_lists(model, encoded, 3) == wanted
    assert model.decoder.training and model.decoder.dropout.training
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mwer_losses(model, session.tokenizer, batch_of(session, [2]), MwerConfig(nbest=3), WER, 0.0)
    loss.total.sum().backward()
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())


def test_it_lowers_the_expected_errors_of_a_toy(toy_session: Build) -> None:
    """From a model that spells a little, and without the help of the usual loss."""
    session = toy_session()
    model, batch, config = seq2seq_of(session), batch_of(session, [*range(12)]), MwerConfig(nbest=4, cross_entropy=0.0)

    def lower(steps: int, lr: float, losses: Callable[[], Losses]) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            losses().total.sum().backward()
            optimizer.step()

    def expected() -> float:
        with torch.no_grad():
            encoded = model.encode(batch.inputs, batch.lengths)
            lists = score_lists(search_lists(model, encoded, 4), batch.texts, session.tokenizer, 4, WER)
            shares = list_log_probs(model, encoded, lists).masked_fill(~lists.found, -1e9).softmax(1)
        return float((shares * lists.errors).sum())

    lower(25, 1e-2, lambda: model(batch.inputs, batch.lengths, batch.tokens, batch.token_lengths))
    before = expected()
    lower(20, 2e-3, lambda: mwer_losses(model, session.tokenizer, batch, config, WER, 0.0))
    assert 0 < expected() < 0.8 * before


def test_a_resumed_fine_tuning_ends_with_the_same_bits(toy_session: Build) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(stopped.run.last)
                raise RuntimeError("stop")

    def fine(name: str) -> Session:
        return dataclasses.replace(toy_session(name, epochs=1), mwer=MwerConfig(nbest=2))

    train(whole := fine("whole"))
    stopped = fine("stopped")
    with pytest.raises(RuntimeError, match="stop"):
        train(stopped, extra_callbacks=[Stop()])
    train(again := fine("stopped"), resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize("settings", [{"nbest": 1}, {"nbest": -1}, {"cross_entropy": -0.1}])
def test_settings_out_of_range_are_told_by_name(settings: dict) -> None:
    with pytest.raises(UsageError, match=rf"mwer\.{next(iter(settings))}"):
        MwerConfig(**settings)
