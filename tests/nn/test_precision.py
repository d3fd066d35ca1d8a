import pytest
import torch

from seq2seq_asr.nn.precision import at_least_single


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_widened_and_nothing_is_narrowed(given, kept):
    x = torch.randn(2, 3, dtype=given)
    assert at_least_single(x).dtype == kept
    assert torch.equal(at_least_single(x).to(given), x)
