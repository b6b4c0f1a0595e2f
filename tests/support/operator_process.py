"""An operator as a process: its metrics, its signals."""

import signal
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class OperatorProcess:
    """One operator that runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def metrics(self) -> dict[str, float]:
        """Samples by their name with labels, as they are written."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def writes(self) -> float:
        """How often it wrote to the API server, the Lease aside."""
        return sum(value for name, value in self.metrics().items() if name.startswith("flowmachine_operator_writes_"))

    def passes(self) -> float:
        """How many passes it has done."""
        return sum(value for name, value in self.metrics().items() if name.startswith("flowmachine_operator_passes_"))

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def is_leader(self) -> bool:
        """Whether it acts."""
        return self.is_ready() and self.metrics().get("flowmachine_operator_leader") == 1

    def kill(self) -> None:
        """As a crash."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """As a machine that sleeps."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It wakes up again."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """In order; the exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def memory_mib(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
