"""A run that is killed at any moment and started again ends with the bytes of one that was not."""

import random
import signal
import time
from multiprocessing import get_context

import pytest
import torch
from conftest import TINY, assert_same_results, only_run

from pretrain_autoencoder import main as pretrain
from recipes import ENCODER
from train_baseline import main as baseline
from train_pretrained import main as pretrained

KILLS = 4  # of each script, each in another part of its time


def run(main, options):
    torch.set_num_threads(1)
    main(options)


@pytest.mark.parametrize("main", [baseline, pretrain, pretrained])
def test_kills_at_random_moments(main, autoencoder_dir, tmp_path):
    # Processes that have the imports behind them: kills shall meet the run.
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["classification", "autoencoding", "data", "train_baseline"])
    encoder = ["--encoder", str(autoencoder_dir / ENCODER)] if main is pretrained else []
    started = time.perf_counter()
    main([*TINY, *encoder, "--runs-dir", str(tmp_path / "whole")])
    seconds = time.perf_counter() - started
    moments, met = random.Random(main.__module__), 0
    for k in range(KILLS):
        command = [*TINY, *encoder, "--runs-dir", str(tmp_path / f"cut{k}")]
        process = processes.Process(target=run, args=(main, command))
        process.start()
        process.join((0.1 + (k + moments.random()) / KILLS) * seconds)
        process.kill()
        process.join()
        met += process.exitcode == -signal.SIGKILL  # the others had finished
        main(command)
        assert_same_results(only_run(tmp_path / f"cut{k}"), only_run(tmp_path / "whole"))
    assert met
