"""Which settings a resumed run may change: those that decide nothing of what is trained."""

from seq2seq_asr.commands.fit.resuming import changed_settings


def test_what_computes_may_change_but_not_what_is_computed() -> None:
    before = {"model": {"kernels": "off", "decoder": {"units": 8}}, "data": {"workers": 0}}
    after = {"model": {"kernels": "auto", "decoder": {"units": 9}}, "data": {"workers": 4}}
    assert changed_settings(before, after) == {"model.decoder.units": "8 → 9"}
