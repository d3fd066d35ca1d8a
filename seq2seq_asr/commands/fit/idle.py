"""Settings that would do nothing. Where a run has them already, it is read and resumed all the same."""

from seq2seq_asr.config import FitConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.cells import PeepholeConfig


def refuse_idle_settings(config: FitConfig) -> None:
    """Refuse what is asked of a new run that has no use for it.

    Raises:
        UsageError: There is such a setting.
    """
    noise, augment, pitch = config.data.noise, config.model.specaugment, config.model.features.pitch
    idle = {
        "data.noise.folders": (noise.folders and noise.probability == 0, "data.noise.probability is 0"),
        "model.specaugment.pitch_hidden": (augment.pitch_hidden > 0 and not pitch, "model.features.pitch is false"),
        "model.specaugment.tone_range": (augment.tone_range > 1 and not pitch, "model.features.pitch is false"),
    }
    for name, part in (("model.encoder", config.model.encoder), ("model.decoder", config.model.decoder)):
        peepholes = part.peephole != PeepholeConfig() and part.cell != "peephole_lstm"
        masks = part.regularisation.variational and part.dropout == 0
        idle |= {
            f"{name}.peephole": (peepholes, f"the cell {part.cell} has none"),
            f"{name}.regularisation.variational": (masks, f"{name}.dropout is 0"),
        }
    for name, (found, why) in idle.items():
        if found:
            raise UsageError(f"{name}: would do nothing: {why}")
