"""One training session: builds Lightning's trainer around a model and runs it."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seq2seq_asr.console import say
from seq2seq_asr.data.loading import DataConfig, spread_evenly
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.classifier import Model
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.training import bar
from seq2seq_asr.training.alignment import WatchAlignment
from seq2seq_asr.training.averaging import AverageWeights
from seq2seq_asr.training.callbacks import SaveCheckpoints, StopOnSignal, ValidateLastEpoch
from seq2seq_asr.training.checkpoint import sweep_leftovers
from seq2seq_asr.training.claim import held
from seq2seq_asr.training.criterion import Criterion, find_criterion
from seq2seq_asr.training.datamodule import Feeding
from seq2seq_asr.training.devices import find_devices, find_precision
from seq2seq_asr.training.examples import LogExamples
from seq2seq_asr.training.faults import explained, stop_children
from seq2seq_asr.training.metrics import EpochClock, EpochLine, LearningCurves, MetricsFile
from seq2seq_asr.training.module import Recognition
from seq2seq_asr.training.mwer import MwerConfig
from seq2seq_asr.training.plugins import SafeCheckpointIO
from seq2seq_asr.training.probing import ProbeMemory
from seq2seq_asr.training.processes import (
    devices_started_outside,
    end_with_parent,
    is_launched_by_us,
    is_main_process,
    processes_started_outside,
)
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.recovery import set_aside
from seq2seq_asr.training.room import check_room, state_bytes
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.schedule import OptimizerConfig
from seq2seq_asr.training.settings import LoggingConfig, TrainerConfig
from seq2seq_asr.training.signals import SignalWatch
from seq2seq_asr.training.validation import Classification
from seq2seq_asr.training.wandb_log import WandbLog
from seq2seq_asr.version import package_version


@dataclass(frozen=True, kw_only=True)
class Session:
    """Everything one training run needs, built and ready."""

    run: RunFolder
    model: Model
    tokenizer: Targets
    """A recogniser's tokenizer, or a classifier's labels."""
    train: Sequence[Utterance]
    dev: Sequence[Utterance]
    data: DataConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    logging: LoggingConfig
    seed: int
    mwer: MwerConfig = field(default_factory=MwerConfig)
    record: Mapping[str, Any] = field(default_factory=dict)
    """Plain values stored in every checkpoint."""
    epochs_done: int = 0
    """Epochs that a resumed run has behind it."""
    resume_from: Path | None = None
    """Checkpoint to go on from, where it is not the run's last one."""

    @property
    def criterion(self) -> Criterion:
        """What the best checkpoint is chosen by."""
        if not isinstance(self.model, Seq2Seq):
            return Classification.criterion
        references = (self.tokenizer.normalise(one.text) for one in self.dev)
        return find_criterion(self.trainer.criterion, references)

    @property
    def resolved(self) -> dict[str, str | int]:
        """What ``auto`` came to here, and the versions: it may be otherwise where the run is resumed."""
        accelerator, per_node = find_devices(self.trainer)
        return {
            "seq2seq_asr": package_version(),
            "torch": torch.__version__,
            "accelerator": accelerator,
            "devices": per_node,
            "precision": find_precision(self.trainer),
            "criterion": self.criterion.name,
        }

    @property
    def finished(self) -> bool:
        """Whether no epoch is left to train."""
        return self.epochs_done >= self.trainer.epochs


def train(session: Session, *, resume: bool = False, extra_callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Train until the last epoch.

    Args:
        session: What to train, on what, how.
        resume: Continue from the session's checkpoint, usually the run's ``last.ckpt``.
        extra_callbacks: Further Lightning callbacks.

    Raises:
        TrainingError: Too many gradients in a row were not finite, or another process has failed.
        CheckpointError: A checkpoint could not be read or written, or another training writes there.
        AudioError: An utterance cannot be read.
        Interrupted: SIGINT; the run is saved.
        Terminated: SIGTERM; the run is saved.
    """
    quieten_lightning()
    if is_launched_by_us():
        end_with_parent(os.getppid())
    state = session.resume_from or session.run.last
    with held(session.run), SignalWatch() as watch:
        if is_main_process():
            clean(session.run, state)
            check_room(session.run.path, state_bytes(session.model, averaged=session.optimizer.ema_decay > 0))
        trainer = build_trainer(session, watch, extra_callbacks)
        module, feeding = build_parts(session)
        try:
            trainer.fit(module, datamodule=feeding, ckpt_path=str(state) if resume else None)
        except BaseException as error:
            clearer = explained(error, stop_children(trainer), module, feeding)
            if clearer is error:
                raise
            raise clearer from error
    return trainer


def clean(run: RunFolder, state: Path) -> None:
    """Clear away what a crash has left.

    Args:
        run: The run.
        state: Checkpoint to go on from; where it is an older one, the last one is damaged.
    """
    for path in sweep_leftovers(run.path):
        say(f"removed {path}, left by an interrupted save")
    if state != run.last and (aside := set_aside(run)) is not None:
        say(f"renamed {run.last} to {aside.name}")


def build_parts(session: Session) -> tuple[Recognition, Feeding]:
    """The Lightning module and its data."""
    module = Recognition(
        session.model,
        session.tokenizer,
        session.optimizer,
        seed=session.seed,
        max_skipped=session.trainer.max_skipped,
        mwer=session.mwer,
        criterion=session.criterion,
    )
    feeding = Feeding(
        session.train,
        spread_evenly(session.dev, session.trainer.validation_utterances),
        session.tokenizer,
        session.data,
        input_reader(session.model.features, session.data.memory_mb),
        seed=session.seed,
        timeout=session.trainer.read_timeout,
    )
    return module, feeding


def build_trainer(session: Session, watch: SignalWatch, extra_callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Lightning's trainer with our files, signals and logs.

    Raises:
        UsageError: There are not the devices asked for.
    """
    config = session.trainer
    devices = find_devices(config)
    started, outside = processes_started_outside(), devices_started_outside()
    nodes = config.num_nodes if config.devices else max(config.num_nodes, started // (outside or 1))
    if outside is not None and devices.per_node * nodes != started:
        raise UsageError(
            f"trainer.devices: srun or torchrun has started {started}, but {devices.per_node * nodes} are to train"
        )
    if outside is not None and devices.accelerator == "cuda" and torch.cuda.device_count() > outside:
        say(f"warning: torch sees {torch.cuda.device_count()} GPUs here, but only {outside} process(es) were started")
    return pl.Trainer(
        accelerator=devices.accelerator,
        devices=devices.per_node,
        num_nodes=nodes,
        precision=find_precision(config),
        max_epochs=config.epochs,
        check_val_every_n_epoch=config.validate_every,
        callbacks=[*extra_callbacks, *build_callbacks(session, watch)],
        plugins=[SafeCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        deterministic=config.deterministic,
        default_root_dir=session.run.path,
    )


def build_callbacks(session: Session, watch: SignalWatch) -> list[Callback]:
    """In the order in which they act: an epoch's figures are written before it is saved, and drawn when it is."""
    clock = EpochClock()
    settings = {**session.record.get("config", {}), "resolved": session.resolved}
    log = WandbLog(session.run, session.logging, settings, clock)
    wanted = [log] if session.logging.wandb != "off" else []
    shown = [bar.TrainingBar(clock)] if session.trainer.progress and bar.on_a_terminal() else []
    plots = LogExamples(session.run.plots, session.logging.examples, log if wanted else None)
    examples = [plots] if isinstance(session.model, Seq2Seq) else []  # a class has no attention over pieces to show
    saving = SaveCheckpoints(session.run, session.trainer.save_minutes, session.record)
    averaging = [AverageWeights(session.optimizer.ema_decay)] if session.optimizer.ema_decay > 0 else []
    return [
        *averaging,
        ProbeMemory(),
        ValidateLastEpoch(),
        *wanted,
        *examples,
        WatchAlignment(session.logging, log if wanted else None),  # before saving, which keeps what it has said
        MetricsFile(session.run.metrics, clock),
        saving,
        LearningCurves(session.run.metrics, session.run.plots),
        EpochLine(clock),
        *shown,
        StopOnSignal(watch, saving),
        clock,
    ]


def quieten_lightning() -> None:
    """Lightning's hints that do not apply here: workers are our choice, and the loader does resume."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*your dataloader is not resumable.*",
        ".*isinstance.*LeafSpec.*",
        ".*was not created with WeightAveraging.*",  # we say what changes where a run is resumed
        ".*add the following callbacks: .'AverageWeights'.*",
    ):
        warnings.filterwarnings("ignore", message=text)
