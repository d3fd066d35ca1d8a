"""The language model: one step at a time equals the whole sentence, and states are values."""

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.lm import LanguageModel, LanguageModelConfig
from seq2seq_asr.vocabulary import SOS


@pytest.mark.parametrize("layers", [1, 2])
def test_steps_equal_the_whole_sentence_in_any_order_of_rows(layers) -> None:
    model = LanguageModel(LanguageModelConfig(embedding=5, units=7, layers=layers), 9).double().eval()
    tokens = torch.cat([torch.full((4, 1), SOS), torch.randint(4, 9, (4, 5))], 1)
    whole, state = model(tokens), model.start(4)
    order = torch.arange(4)
    for place in range(6):
        logits, state = model.step(tokens[order, place], state)
        torch.testing.assert_close(logits, whole[order, place])
        parents = torch.tensor([2, 0, 0, 3])
        order, state = order[parents], state.select(parents)


def test_dropout_is_for_training_only() -> None:
    model, tokens = LanguageModel(LanguageModelConfig(dropout=0.5), 9), torch.tensor([[SOS, 4]])
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize("field", [{"embedding": 0}, {"units": 0}, {"layers": 0}, {"dropout": 1.0}])
def test_settings_out_of_range_are_told_by_name(field) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        LanguageModelConfig(**field)
