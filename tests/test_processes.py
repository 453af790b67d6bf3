import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
# Another process has minutes to go; it says which process that is.
LONG = """
import os, time
from benchmarks.measurement import other_process
from harness.processes import helpers
if __name__ == "__main__":
    with STARTED as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 300).result()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
@pytest.mark.parametrize(
    ("started", "sent"), [("other_process()", signal.SIGTERM), ("helpers()", signal.SIGKILL)]
)
def test_what_was_started_beside_ends_with_it(tmp_path, started, sent):
    script = tmp_path / "long.py"  # a spawned process imports it anew
    script.write_text(LONG.replace("STARTED", started))
    environment = {"PYTHONPATH": str(HERE), "PATH": ""}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        words = iter(process.stdout.readline, "")  # which ends where the process has
        other = next(int(word) for word in words if word.strip())
        assert Path(f"/proc/{other}").exists()
        process.send_signal(sent)
        process.wait(timeout=60)
    until = time.monotonic() + 60
    while Path(f"/proc/{other}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{other}").exists()
