import math

import pytest
import torch

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.deltas import add_deltas
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.listener import Listener
from seq2seq_asr.nn.pitch import Pitch
from seq2seq_asr.nn.specaugment import SpecAugment, SpecAugmentConfig, change_tempo, random_blocks, warp_time

LENGTHS = torch.tensor([300, 120, 40, 3, 1, 0])


def masked(config: SpecAugmentConfig, lengths: torch.Tensor, bins: int = 80, deltas: int = 0) -> torch.Tensor:
    """Where ones become zero."""
    features = torch.ones(len(lengths), int(lengths.max()) + 10, bins * (1 + deltas))
    return SpecAugment(config, deltas=deltas)(features, lengths)[0] == 0


def runs(row: torch.Tensor) -> list[int]:
    """Lengths of the runs of True."""
    return [len(run) for run in "".join("x" if value else " " for value in row.tolist()).split()]


def test_evaluation_mode_and_no_masks_change_nothing():
    features = torch.randn(6, 310, 80)
    for augment in (
        SpecAugment(SpecAugmentConfig(time_warp=5, slowest=0.5, fastest=2.0)).eval(),
        SpecAugment(SpecAugmentConfig(frequency_masks=0, time_masks=0)),
    ):
        found, lengths = augment(features, LENGTHS)
        assert torch.equal(found, features) and torch.equal(lengths, LENGTHS)


@pytest.mark.parametrize("masks", [1, 2])
def test_time_masks_keep_to_their_width_ratio_and_utterance(masks):
    config = SpecAugmentConfig(frequency_masks=0, time_masks=masks, time_width=50, time_ratio=0.3)
    for _ in range(30):
        hidden = masked(config, LENGTHS)
        assert (hidden == hidden[:, :, :1]).all()
        for row, length in zip(hidden[:, :, 0], LENGTHS.tolist(), strict=True):
            assert not row[length:].any()
            widest = min(50, math.floor(0.3 * length + 1e-4))
            assert len(runs(row)) <= masks and sum(runs(row)) <= masks * widest


@pytest.mark.parametrize("masks", [1, 2])
def test_frequency_masks_keep_to_their_width_and_never_touch_padding(masks):
    config = SpecAugmentConfig(frequency_masks=masks, frequency_width=27, time_masks=0)
    for _ in range(30):
        hidden = masked(config, LENGTHS)
        for row, length in zip(hidden, LENGTHS.tolist(), strict=True):
            assert not row[length:].any()
            assert length == 0 or (row[:length] == row[:1]).all()
            assert len(runs(row[0])) <= masks and sum(runs(row[0])) <= masks * 27


def test_values_that_are_no_bins_are_hidden_with_their_time_alone():
    config = SpecAugmentConfig(frequency_masks=2, frequency_width=8, time_masks=2, time_width=30)
    features, lengths = torch.ones(200, 60, 2 * 8 + 3), torch.full((200,), 60)
    hidden = SpecAugment(config, deltas=1, others=Pitch.curves)(features, lengths)[0] == 0
    assert (hidden[:, :, 16:] == hidden.all(2, keepdim=True)).all() and hidden[:, :, 16:].any()
    assert (hidden[:, :, :8] == hidden[:, :, 8:16]).all() and (hidden[:, :, :16].any(2) & ~hidden.all(2)).any()


def test_pitch_is_hidden_as_a_whole_in_its_share_of_the_utterances():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=0, pitch_hidden=0.3)
    features, lengths = torch.ones(2000, 10, 4 + 3), torch.full((2000,), 8)
    hidden = SpecAugment(config, others=Pitch.curves)(features, lengths)[0] == 0
    assert not hidden[:, :, :4].any() and not hidden[:, 8:].any()
    assert (hidden[:, :8, 4:] == hidden[:, :1, 4:5]).all()
    assert hidden[:, 0, 4].float().mean() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(SpecAugment(config)(features, lengths)[0], features)


def test_frequency_masks_wider_than_the_features_stay_inside():
    hidden = masked(SpecAugmentConfig(frequency_width=1000, time_masks=0), torch.tensor([5] * 50), bins=4)
    assert hidden[:, :5].any() and not hidden[:, 5:].any()


def test_deltas_are_hidden_with_their_bin():
    hidden = masked(SpecAugmentConfig(time_masks=0), LENGTHS, bins=40, deltas=2)
    assert torch.equal(hidden[:, :, :40], hidden[:, :, 40:80]) and torch.equal(hidden[:, :, :40], hidden[:, :, 80:])


def test_share_hidden_is_what_the_widths_promise():
    # One mask of width 0 … W in n places hides W / 2n of them on average.
    lengths = torch.full((4000,), 200)
    time = SpecAugmentConfig(frequency_masks=0, time_masks=1, time_width=100, time_ratio=1.0)
    assert masked(time, lengths, bins=1)[:, :200].float().mean() == pytest.approx(100 / 2 / 200, rel=0.05)
    frequency = SpecAugmentConfig(frequency_masks=1, frequency_width=27, time_masks=0)
    assert masked(frequency, lengths[:2000])[:, 0].float().mean() == pytest.approx(27 / 2 / 80, rel=0.06)


def test_every_width_and_every_start_is_as_likely():
    count, widest, size = 30000, 4, 9
    blocks = random_blocks(torch.full((count, 1), widest), torch.full((count, 1), size), size)
    widths = blocks.sum(1)
    expected = count / (widest + 1)
    assert ((widths.bincount() - expected).abs() < 5 * math.sqrt(expected)).all()
    starts = blocks[widths == 4].float().argmax(1).bincount()
    share = int((widths == 4).sum()) / (size - widest + 1)
    assert len(starts) == size - widest + 1 and ((starts - share).abs() < 5 * math.sqrt(share)).all()


def test_utterances_draw_masks_of_their_own():
    hidden = masked(SpecAugmentConfig(), torch.full((20,), 200))
    assert len({tuple(row.flatten().tolist()) for row in hidden[:, :, ::79]}) > 15
    assert len({tuple(row.tolist()) for row in hidden[:, 0]}) > 15


def test_adaptive_masks_grow_in_number_with_the_utterance_up_to_a_cap():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=6, time_width=3, time_ratio=1.0, time_masks_per_frame=0.01)
    lengths = torch.tensor([99, 100, 450, 5000])
    most = torch.zeros(4, dtype=torch.long)
    for _ in range(60):
        hidden = masked(config, lengths, bins=1)[:, :, 0]
        most = torch.maximum(most, torch.tensor([len(runs(row)) for row in hidden]))
    assert most.tolist() == [0, 1, 4, 6]


def test_a_seed_repeats_the_masks_whatever_the_features_hold():
    augment = SpecAugment(SpecAugmentConfig())
    torch.manual_seed(3)
    first = augment(torch.ones(6, 310, 80), LENGTHS)[0] == 0
    torch.manual_seed(3)
    assert torch.equal(augment(torch.full((6, 310, 80), 7.0), LENGTHS)[0] == 0, first)


def test_input_is_not_written_to_and_its_dtype_is_kept():
    features = torch.ones(6, 310, 80, dtype=torch.bfloat16)
    config = SpecAugmentConfig(time_warp=5, slowest=0.5, fastest=2.0)
    assert SpecAugment(config)(features, LENGTHS)[0].dtype == torch.bfloat16
    assert (features == 1).all()


def test_warp_keeps_order_ends_length_and_short_utterances():
    lengths = torch.tensor([100, 60, 23, 22, 0])
    ramp = torch.arange(110.0).expand(5, -1)[:, :, None].contiguous()
    for _ in range(30):
        warped = warp_time(ramp, lengths, 10)[:, :, 0]
        for row, length in zip(warped, lengths.tolist(), strict=True):
            assert torch.equal(row[length:], torch.arange(length, 110.0))
            if length < 23:
                assert torch.equal(row, torch.arange(110.0))
                continue
            assert row[0] == 0 and row[length - 1] == pytest.approx(length - 1, abs=1e-3)
            assert (row[:length].diff() > 0).all()
            assert (row - torch.arange(110.0)).abs().max() <= 10.001
    assert not torch.equal(warped[:3], ramp[:3, :, 0])


@pytest.mark.parametrize("tempo", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_a_tempo_moves_every_frame_to_its_new_time(tempo):
    lengths = torch.tensor([100, 60, 3, 1, 0])
    ramp = torch.arange(110.0).expand(5, -1)[:, :, None].contiguous()
    found, changed = change_tempo(ramp, lengths, torch.full((5,), tempo))
    assert changed.tolist() == [math.ceil(length / tempo) for length in lengths.tolist()]
    assert found.shape == (5, changed.max(), 1)
    for row, before, after in zip(found[:, :, 0], lengths.tolist(), changed.tolist(), strict=True):
        read = torch.arange(float(after)) * tempo
        torch.testing.assert_close(row[:after], read.clamp(max=max(before - 1, 0)))  # the ramp holds its own times
        assert not row[after:].any()


def test_a_tempo_is_that_of_the_utterance_alone():
    features, lengths, tempos = torch.randn(3, 50, 4), torch.tensor([50, 20, 33]), torch.tensor([0.6, 1.7, 1.0])
    found, changed = change_tempo(features, lengths, tempos)
    for row, length in enumerate(lengths.tolist()):
        alone, own = change_tempo(features[row : row + 1, :length], lengths[row : row + 1], tempos[row : row + 1])
        assert torch.equal(alone[0], found[row, : int(own)]) and own == changed[row]
    assert torch.equal(found[2, :33], features[2, :33])


def test_tempos_are_drawn_evenly_on_a_logarithmic_scale():
    lengths = torch.full((4000,), 400)
    config = SpecAugmentConfig(frequency_masks=0, time_masks=0, slowest=0.5, fastest=2.0)
    found, changed = SpecAugment(config)(torch.ones(4000, 400, 1), lengths)
    drawn = (400 / changed).log2()
    assert -1 <= drawn.min() < -0.98 and 0.98 < drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0, abs=0.05) and drawn.std() == pytest.approx(2 / 12**0.5, rel=0.05)
    assert found.shape[1] == changed.max()


def test_a_tempo_scales_slopes_so_that_they_fit_what_they_are_slopes_of():
    lengths = torch.tensor([100, 60])
    height = torch.randn(2, 1, 1) * torch.arange(100.0)[:, None]  # straight lines
    slope = height.diff(dim=1, prepend=height[:, :1])
    slope[:, 0] = slope[:, 1]
    config = SpecAugmentConfig(frequency_masks=0, time_masks=0, slowest=0.5, fastest=2.0)
    augment = SpecAugment(config, others=Pitch.curves[1:])
    found, changed = augment(torch.cat((torch.randn(2, 100, 5), height, slope), dim=2), lengths)
    for row, length in zip(found, changed.tolist(), strict=True):
        torch.testing.assert_close(row[: length - 2, 5].diff(), row[: length - 3, 6], rtol=1e-3, atol=1e-4)
    assert (changed != lengths).any()


@pytest.mark.parametrize("normalisation", ["none", "global", "utterance"])
def test_a_tempo_scales_deltas_unless_each_utterance_is_normalised(normalisation):
    """Those of parabolas, read in the middle: the deltas of the faster frames are the faster deltas."""
    config = FeaturesConfig(kind="precomputed", bins=2, deltas=2, normalisation=normalisation)
    tempo = SpecAugmentConfig(frequency_masks=0, time_masks=0, slowest=0.5, fastest=2.0)
    augment = Listener(config, tempo, EncoderConfig(units=1)).specaugment
    lengths, times = torch.tensor([200, 120]), torch.arange(200.0)[:, None] / 50
    curves = torch.tensor([0.5, -1.0]) + torch.tensor([1.0, 2.0]) * times + torch.tensor([0.3, -0.7]) * times**2
    features = add_deltas(curves.expand(2, -1, -1), lengths, 2)
    changed = lengths
    while ((lengths / changed).log().abs() < 0.1).any():  # tempos of 1 would show nothing
        found, changed = augment(features, lengths)
    wanted = add_deltas(found[:, :, :2], changed, 2)
    middle = slice(8, int(changed.min()) - 8)
    fits = torch.allclose(found[:, middle], wanted[:, middle], rtol=0.02, atol=3e-5)
    assert fits == (normalisation != "utterance")


def test_tones_are_widened_and_narrowed_alike_and_voicing_is_not():
    config = SpecAugmentConfig(frequency_masks=0, time_masks=0, tone_range=2.0)
    features, lengths = torch.randn(4000, 5, 4 + 3), torch.full((4000,), 5)
    before = features.clone()
    found, _ = SpecAugment(config, others=Pitch.curves)(features, lengths)
    assert torch.equal(found[:, :, :5], before[:, :, :5]) and torch.equal(features, before)
    factors = found[:, :, 5:] / before[:, :, 5:]
    torch.testing.assert_close(factors, factors[:, :1, :1].expand_as(factors), rtol=1e-4, atol=0)
    drawn = factors[:, 0, 0].log2()
    assert -1.001 < drawn.min() < -0.98 and 0.98 < drawn.max() < 1.001
    assert drawn.mean() == pytest.approx(0, abs=0.05) and drawn.std() == pytest.approx(2 / 12**0.5, rel=0.05)
    assert torch.equal(SpecAugment(config)(features, lengths)[0], before), "there is no pitch"


def test_policies_are_those_of_the_paper():
    table = ("time_warp", "frequency_width", "frequency_masks", "time_width", "time_ratio", "time_masks")
    for name, row in (("LB", [80, 27, 1, 100, 1.0, 1]), ("LD", [80, 27, 2, 100, 1.0, 2])):
        module = SpecAugment(SpecAugmentConfig(policy=name, tone_range=1.5))
        assert [getattr(module.config, setting) for setting in table] == row and module.config.tone_range == 1.5
        short = torch.randn(2, 40, 80), torch.tensor([1, 40])
        assert module(*short)[0].isfinite().all(), "shorter than the warp is wide"
    with pytest.raises(UsageError, match="policy: LB says time_width too"):
        SpecAugmentConfig(policy="LB", time_width=20)


@pytest.mark.parametrize(
    "field, value",
    [
        ("frequency_masks", -1),
        ("time_width", 10**22),
        ("frequency_masks", 10**7),
        ("time_ratio", 1.5),
        ("time_masks_per_frame", -0.1),
        ("slowest", 1.5),
        ("pitch_hidden", 1.5),
        ("tone_range", 0.5),
    ],
)
def test_impossible_settings_name_their_field(field, value):
    with pytest.raises(UsageError, match=field):
        SpecAugmentConfig(**{field: value})
