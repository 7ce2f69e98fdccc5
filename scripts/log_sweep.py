"""Log a sweep while it runs: one run per trial in a folder, offline, as TensorBoard, W&B or trackio keep theirs.

`sweep(..., on_chunk=log)` calls `log` with every chunk when it is finished: a Dataset along `trial`, with the
hyperparameters and `seed` as coordinates. The writer below has the two methods of TensorBoard's that matter, and writes
JSON lines. For the real ones put in its place

    torch.utils.tensorboard.SummaryWriter(folder)           or tensorboardX.SummaryWriter(folder)
    wandb.init(mode="offline", config=config, reinit="create_new")      and run.log({tag: value}, step=step)
    trackio.init(project="digits", config=config)                       and trackio.log({tag: value}, step=step)

    python scripts/log_sweep.py [folder]
"""

import json
import sys
from pathlib import Path

import jaxopt_notes as jon

jon.use_cpu_cores()

import numpy as np  # noqa: E402


class Writer:
    """Scalars and hyperparameters of one run, a JSON line each."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "events.jsonl").open("w")

    def add_scalar(self, tag, value, step):
        self._line({"tag": tag, "value": value, "step": step})

    def add_hparams(self, config, metrics):
        self._line({"config": config, "metrics": metrics})

    def close(self):
        self._file.close()

    def _line(self, content):
        self._file.write(json.dumps(content) + "\n")


class Logger:
    """What `on_chunk` calls."""

    def __init__(self, folder, writer=Writer):
        self._folder, self._writer = Path(folder), writer

    def __call__(self, chunk):
        names = [name for name in chunk.coords if chunk[name].dims == ("trial",) and name != "trial"]
        measured = [name for name in chunk.data_vars if chunk[name].dims == ("trial",)]
        for i in range(chunk.sizes["trial"]):
            one = chunk.isel(trial=i)
            writer = self._writer(self._folder / f"trial-{int(one.trial):05}")
            for step, loss in zip(one.step.values, one.loss.values, strict=True):
                writer.add_scalar("loss", float(loss), int(step))
            metrics = {name: float(one[name]) for name in measured}
            writer.add_hparams({name: one[name].item() for name in names}, metrics)
            writer.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/log")
    table = jon.sweep(
        jon.problems.digits_mlp(hidden=16),
        jon.momentum,
        jon.grid(learning_rate=np.geomspace(0.01, 1, 5), beta=[0.0, 0.9]),
        seeds=2,
        steps=200,
        every=10,
        batch_size=64,
        on_chunk=Logger(folder),
    )
    # The table is a flat frame for pandas, and a Parquet file where pyarrow is installed.
    frame = table.drop_dims("step").to_dataframe().reset_index()
    frame.to_csv(folder / "trials.csv", index=False)
    print(f"{len(frame)} runs in {folder}, the best: {jon.best(table).config}")
