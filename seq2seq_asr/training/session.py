"""One training session: builds Lightning's trainer around a model and runs it."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytorch_lightning as pl
import wandb
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from seq2seq_asr.console import say
from seq2seq_asr.data.loading import DataConfig
from seq2seq_asr.data.manifest import Utterance
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.training.callbacks import MetricsFile, SaveCheckpoints, StopOnSignal
from seq2seq_asr.training.checkpoint import sweep_leftovers
from seq2seq_asr.training.datamodule import Feeding
from seq2seq_asr.training.examples import LogExamples
from seq2seq_asr.training.module import Recognition
from seq2seq_asr.training.plugins import SafeCheckpointIO
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.training.schedule import OptimizerConfig
from seq2seq_asr.training.settings import LoggingConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class Session:
    """Everything one training run needs, built and ready."""

    run: RunFolder
    model: Seq2Seq
    tokenizer: Tokenizer
    train: Sequence[Utterance]
    dev: Sequence[Utterance]
    data: DataConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    logging: LoggingConfig
    seed: int
    record: Mapping[str, Any] = field(default_factory=dict)
    """Plain values stored in every checkpoint."""


def train(session: Session, *, resume: bool = False, extra_callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Train until the last epoch.

    Args:
        session: What to train, on what, how.
        resume: Continue from the run's ``last.ckpt``.
        extra_callbacks: Further Lightning callbacks.

    Raises:
        TrainingError: Too many gradients in a row were not finite.
        CheckpointError: A checkpoint could not be read or written.
    """
    quieten_lightning()
    for path in sweep_leftovers(session.run.path):
        say(f"removed {path}, left by an interrupted save")
    trainer = build_trainer(session, extra_callbacks)
    module = Recognition(
        session.model, session.tokenizer, session.optimizer, seed=session.seed, max_skipped=session.trainer.max_skipped
    )
    feeding = Feeding(
        session.train,
        validation_subset(session.dev, session.trainer.validation_utterances),
        session.tokenizer,
        session.data,
        input_reader(session.model.features, session.data.memory_mb),
        seed=session.seed,
    )
    trainer.fit(module, datamodule=feeding, ckpt_path=str(session.run.last) if resume else None)
    return trainer


def build_trainer(session: Session, extra_callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Lightning's trainer with our files, signals and logs."""
    config = session.trainer
    saving = SaveCheckpoints(session.run, config.save_minutes, session.record)
    callbacks = [
        *extra_callbacks,
        LogExamples(session.run.plots, session.logging.examples),
        MetricsFile(session.run.metrics, session.run.plots),
        saving,
        StopOnSignal(saving.save_last),
    ]
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices or (1 if config.accelerator == "cpu" else "auto"),
        num_nodes=config.num_nodes,
        precision=config.precision,
        max_epochs=config.epochs,
        check_val_every_n_epoch=config.validate_every,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO()],
        logger=wandb_logger(session),
        log_every_n_steps=session.logging.every,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=config.progress,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        deterministic=config.deterministic,
        default_root_dir=session.run.path,
    )


def wandb_logger(session: Session) -> WandbLogger | Literal[False]:
    """Weights & Biases, offline unless asked for otherwise; its files stand in ``<run>/wandb``."""
    if session.logging.wandb == "off":
        return False
    return WandbLogger(
        project=session.logging.project,
        name=session.run.name,
        save_dir=session.run.path,
        offline=session.logging.wandb == "offline",
        config=dict(session.record.get("config", {})),
        settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
    )


def validation_subset(dev: Sequence[Utterance], count: int) -> list[Utterance]:
    """At most ``count`` utterances spread evenly over dev, always the same; 0 takes all."""
    if count <= 0 or count >= len(dev):
        return list(dev)
    return [dev[index * len(dev) // count] for index in range(count)]


def quieten_lightning() -> None:
    """Lightning's hints that do not apply here: workers are our choice, and the loader does resume."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in (".*does not have many workers.*", ".*your dataloader is not resumable.*", ".*isinstance.*LeafSpec.*",
                 ".*number of training batches.*smaller than the logging interval.*"):
        warnings.filterwarnings("ignore", message=text)
