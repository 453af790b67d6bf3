"""A run that is killed at any moment and started again ends with the bytes of one that was not."""

import random
import signal
import time
from multiprocessing import get_context

import pytest
import torch
from conftest import TINY, only_run
from test_runs import assert_same_results

from pretrain_autoencoder import main as pretrain
from recipes import ENCODER
from train_baseline import main as baseline
from train_pretrained import main as pretrained

PRELOADED = ["classification", "autoencoding", "data", "train_baseline"]
KILLS = 7  # of each script


def run(main, options):
    torch.set_num_threads(1)
    main(options)


@pytest.fixture(scope="module")
def processes():
    """Where processes start that have the imports behind them: kills shall meet the run."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture(scope="module")
def commands(autoencoder_dir):
    encoder = ["--encoder", str(autoencoder_dir / ENCODER)]
    return {
        "baseline": (baseline, []),
        "pretrain": (pretrain, []),
        "pretrained": (pretrained, encoder),
    }


@pytest.mark.parametrize("name", ["baseline", "pretrain", "pretrained"])
def test_kills_at_random_moments(processes, commands, name, tmp_path):
    main, options = commands[name]
    whole, seconds = tmp_path / "whole", 0.0
    started = time.perf_counter()
    main([*TINY, *options, "--runs-dir", str(whole)])
    seconds = time.perf_counter() - started
    moments, met = random.Random(name), 0
    for k in range(KILLS):
        command = [*TINY, *options, "--runs-dir", str(tmp_path / f"cut{k}")]
        process = processes.Process(target=run, args=(main, command))
        process.start()
        process.join(moments.uniform(0.1, 1.2) * seconds)
        process.kill()
        process.join()
        met += process.exitcode == -signal.SIGKILL  # the others had finished
        main(command)
        assert_same_results(only_run(tmp_path / f"cut{k}"), only_run(whole))
    assert met
