"""What an experiment consists of, as a TOML file says it, and the experiments that come with the library."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dfp.errors import DFPError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelTable(_Table):
    """The network: ``hidden`` of the perceptron, ``channels`` of the convolution, the rest of the transformer."""

    kind: Literal["mlp", "cnn", "transformer"] = "mlp"
    hidden: Count = 8
    channels: Count = 2
    width: Count = 24
    heads: Count = 2
    layers: Count = 1


class DataTable(_Table):
    """Digits pooled to ``size`` pixels a side, or windows of ``length`` characters of a text; ``count`` samples."""

    kind: Literal["digits", "mnist", "text"] = "digits"
    size: Count = 6
    images: str | None = None
    labels: str | None = None
    path: str | None = None
    length: Count = 32
    count: Count | None = None


class TrainingTable(_Table):
    """Adam with a cosine schedule, then ``polish`` steps of L-BFGS on all data."""

    epochs: Annotated[int, Field(ge=0)] = 60
    learning_rate: Positive = 0.01
    batch_size: Count = 64
    polish: Annotated[int, Field(ge=0)] = 300
    weight_decay: NonNegative = 0.0
    seed: Annotated[int, Field(ge=0)] = 0


class MeasureTable(_Table):
    """All modes, or the ``modes`` sharpest and ``flat`` others: random, or in which ``pilot`` other runs moved most.

    ``depth`` products with the mean Hessian follow the flat ones.
    """

    modes: Literal["all"] | Count = "all"
    flat: Annotated[int, Field(ge=0)] = 0
    depth: Annotated[int, Field(ge=0)] = 6
    pilot: Annotated[int, Field(ge=0)] = 0
    subspace: Count = 12


class ClosureTable(_Table):
    """Points of the Gaussian closure; the Hessian is that of the checkpoint, scaled by secants, with ``curved = 0``."""

    replicates: Annotated[int, Field(ge=2)] = 3
    pairs: Count = 4
    curved: Annotated[int, Field(ge=0)] = 1
    ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.5


class EnsembleTable(_Table):
    """Runs of SGD; every step up to ``steps`` is kept with ``every_step``."""

    learning_rate: Positive
    batch_size: Count = 64
    runs: Annotated[int, Field(ge=4)] = 256
    steps: Count = 2000
    replace: bool = True
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 1
    every_step: bool = False


class SweepTable(_Table):
    """Runs at several learning rates, for D_eff against η."""

    learning_rates: Annotated[list[Positive], Field(min_length=2)] = [0.0125, 0.025, 0.05, 0.1, 0.2]
    batch_size: Count = 64
    runs: Annotated[int, Field(ge=4)] = 256
    steps: Count = 200
    seed: Annotated[int, Field(ge=0)] = 2


class Experiment(_Table):
    """One network from data to report."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "network"
    model: ModelTable = ModelTable()
    data: DataTable = DataTable()
    training: TrainingTable = TrainingTable()
    measure: MeasureTable = MeasureTable()
    closure: ClosureTable = ClosureTable()
    runs: Annotated[list[EnsembleTable], Field(min_length=1)]
    sweep: SweepTable | None = None

    @model_validator(mode="after")
    def _together(self) -> "Experiment":
        text = self.data.kind == "text"
        if text != (self.model.kind == "transformer"):
            raise ValueError(
                f"model.kind={self.model.kind!r} does not fit data.kind={self.data.kind!r}: a transformer reads text"
            )
        if self.data.kind == "mnist" and not (self.data.images and self.data.labels):
            raise ValueError("data.kind='mnist' needs data.images and data.labels, the paths of idx files")
        return self


def _vision(quick: bool) -> list[Experiment]:
    if quick:
        return [
            Experiment(
                name="mlp",
                model=ModelTable(hidden=4),
                data=DataTable(size=4, count=400),
                training=TrainingTable(epochs=20, polish=60),
                runs=[EnsembleTable(learning_rate=0.1, runs=64, steps=100)],
                sweep=SweepTable(learning_rates=[0.05, 0.1, 0.2], runs=64, steps=30),
            )
        ]
    mlp = Experiment(
        name="mlp",
        training=TrainingTable(polish=500, weight_decay=3e-4),
        runs=[
            # With 256 runs even perfect predictions have a log-correlation of 0.9987 in the end.
            EnsembleTable(learning_rate=0.05, runs=512),
            EnsembleTable(learning_rate=0.2, runs=512),
            EnsembleTable(learning_rate=0.2, batch_size=8),
            EnsembleTable(learning_rate=0.05, replace=False, runs=512, steps=56, every_step=True),
        ],
        sweep=SweepTable(),
    )
    early = Experiment(
        name="mlp-early",
        training=TrainingTable(epochs=20, polish=0),
        runs=[EnsembleTable(learning_rate=0.05)],
    )
    cnn = Experiment(
        name="cnn",
        model=ModelTable(kind="cnn"),
        data=DataTable(size=8, count=800),
        training=TrainingTable(polish=300, weight_decay=1e-3),
        runs=[EnsembleTable(learning_rate=0.05, runs=256, steps=1000)],
    )
    return [mlp, early, cnn]


def _language(quick: bool) -> list[Experiment]:
    if quick:
        return [
            Experiment(
                name="transformer",
                model=ModelTable(kind="transformer", width=8),
                data=DataTable(kind="text", length=16, count=64),
                training=TrainingTable(epochs=30, batch_size=16, polish=0),
                measure=MeasureTable(modes=8, flat=8, subspace=8),
                closure=ClosureTable(replicates=2, pairs=2, curved=0, ratio=2.0),
                runs=[EnsembleTable(learning_rate=0.02, batch_size=8, runs=16, steps=30)],
            )
        ]
    return [
        Experiment(
            name="transformer",
            model=ModelTable(kind="transformer"),
            data=DataTable(kind="text", count=256),
            training=TrainingTable(epochs=60, batch_size=16, polish=0),
            measure=MeasureTable(modes=32, flat=32),
            closure=ClosureTable(replicates=3, pairs=2, curved=0, ratio=1.7),
            runs=[EnsembleTable(learning_rate=0.05, batch_size=16, runs=64, steps=400)],
        )
    ]


def named(name: str, quick: bool) -> list[Experiment]:
    """Return the experiments that come with the library: ``vision`` or ``language``."""
    return {"vision": _vision, "language": _language}[name](quick)


def load(path: Path) -> Experiment:
    """Return the experiment of a TOML file.

    Raises
    ------
    DFPError
        If it cannot be read or has a wrong entry; the message names it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DFPError(f"{path}: {error.strerror}; give vision, language or a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DFPError(f"{path}: is no TOML file: {error}.") from error
    try:
        return Experiment.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "file"
        raise DFPError(f"{path}: {place}: {first['msg']}; got {first.get('input')!r:.60}.") from error
