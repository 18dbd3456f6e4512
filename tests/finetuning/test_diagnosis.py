"""Why a run failed: every genuine failure by its cause, never a cause where nothing failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dm_isaac_g1.core.runs import JobExit
from dm_isaac_g1.finetuning.diagnosis import diagnose
from dm_isaac_g1.finetuning.failures import FAILURES
from dm_isaac_g1.finetuning.lines import LineSplitter

LOGS = Path(__file__).parent.parent / "captures" / "logs"

#: Each decisive log: its cause, and what must stand in the line that shows it.
GENUINE = {
    "REAL_diskfull_optimizer.log": ("disk-full", "inline_container.cc:672"),
    "REAL_diskfull_safetensors.log": ("disk-full", "No space left on device"),
    "REAL_interrupted_torchrun_sigint.log": ("interrupted", "signal: 2"),
    "REAL_keyerror_in_worker.log": ("key-error", "KeyError: 'action'"),
    "REAL_resume_from_partial.log": ("partial-checkpoint", "checkpoint-150/trainer_state.json"),
    "n16_loader_assert_original_key.log": ("modality-mismatch", "observation.images.ego_view"),
    "n16_loader_empty_line.log": ("bad-json", "JSONDecodeError"),
    "n16_loader_keyerror_action.log": ("key-error", "KeyError: 'action'"),
    "n16_loader_lang.log": ("modality-mismatch", "human.task_description"),
    "n16_loader_missing_group.log": ("modality-mismatch", "KeyError: 'left_leg'"),
    "n16_loader_no_episodes.log": ("missing-metadata", "episodes.jsonl"),
    "n16_loader_no_stats.log": ("missing-stats", "stats.json does not exist"),
    "n16_loader_short_video.log": ("video-too-short", "KeyError: 90"),
    "nan_loss.log": ("nan", "'loss': 0.0, 'grad_norm': nan"),
    "two_ranks_fail.log": ("key-error", "KeyError: 'action'"),
}
FINE = (
    "REAL_n16trainer_ok.log",
    "REAL_resumed.log",
    "relaunch_when_complete.log",
    "two_ranks.log",
    "two_ranks_tee.log",
    "v5.log",
)


def tail(log: str, lines: int = 200) -> str:
    return "\n".join(LineSplitter().feed((LOGS / log).read_bytes()).lines[-lines:])


def ended(code: int | None = 1, signal: int | None = None, avail: int | None = None) -> JobExit:
    return JobExit(code=code, signal=signal, ended=0.0, avail=avail)


def test_every_genuine_log_is_in_the_table() -> None:
    assert {p.name for p in LOGS.glob("*.log")} == {*GENUINE, *FINE, "sig_torchrun_launcher_SIGKILL.log"}


@pytest.mark.parametrize("log", GENUINE)
def test_a_genuine_failure_has_its_cause(log: str) -> None:
    code, evidence = GENUINE[log]
    for exit in (None, ended()):
        found = diagnose(tail(log), exit)
        assert found is not None
        assert (found.code, evidence in found.evidence) == (code, True)
        assert found.cause and found.fix and "{" not in found.cause + found.fix


@pytest.mark.parametrize("log", FINE)
def test_a_run_that_did_not_fail_has_none(log: str) -> None:
    assert diagnose(tail(log)) is None
    assert diagnose(tail(log), ended(code=0, avail=0)) is None


def test_a_run_that_ended_well_and_became_nan_says_so() -> None:
    found = diagnose(tail("nan_loss.log"), ended(code=0))
    assert found is not None and found.code == "nan"


def test_a_killed_launcher_leaves_its_signal_only() -> None:
    log = tail("sig_torchrun_launcher_SIGKILL.log")
    assert diagnose(log) is None
    found = diagnose(log, ended(code=None, signal=9))
    assert found is not None and found.code == "killed"
    found = diagnose(log, ended(code=137))
    assert found is not None and found.code == "killed"


def test_a_full_disk_is_known_without_a_word_in_the_log() -> None:
    """The log lay on the same disk: its last words are missing."""
    log = tail("sig_torchrun_launcher_SIGKILL.log")
    found = diagnose(log, ended(avail=4096))
    assert found is not None and found.code == "disk-full"


def test_torchs_silent_write_error_with_much_space_is_no_full_disk() -> None:
    log = tail("REAL_diskfull_optimizer.log")
    found = diagnose(log, ended(avail=500_000_000_000))
    assert found is not None and found.code == "write-failed"
    found = diagnose(log, ended(avail=2_000_000))
    assert found is not None and found.code == "disk-full"


# Texts as their programs print them.
TEXTS = {
    "cuda-oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of",
    "host-oom": "  exitcode  : -9 (pid: 4711)",
    "shared-memory": "RuntimeError: DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that",
    "flash-attn": "ImportError: /x/flash_attn_2_cuda.cpython-310.so: undefined symbol: _ZN3c105ErrorC2",
    "transformers-version": "ImportError: cannot import name 'Qwen3Config' from 'transformers' (/x/__init__.py)",
    "not-authorised": "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1)",
    "not-found-on-hub": "OSError: nvidia/GROOT is not a local folder and is not a valid model identifier listed on",
    "no-network": "requests.exceptions.ConnectionError: Failed to resolve: Temporary failure in name resolution",
    "port-in-use": "torch.distributed.DistNetworkError: The server socket has failed to listen. errno: 98 - EADDRINUSE",
    "no-gpu": "RuntimeError: No CUDA GPUs are available",
    "gpu-not-supported": "CUDA error: no kernel image is available for execution on the device",
    "nan": "FloatingPointError: gradients are NaN",
    "missing-module": "ModuleNotFoundError: No module named 'gr00t'",
    "import-error": "ImportError: libcudnn.so.9: cannot open shared object file",
    "command-not-found": "bash: line 1: torchrun: command not found",
    "usage": "launch_finetune.py: error: unrecognized arguments: --lora-rank 16",
    "permission": "PermissionError: [Errno 13] Permission denied: '/workspace/checkpoints'",
    "read-only": "OSError: [Errno 30] Read-only file system: '/workspace/x'",
    "file-not-found": "FileNotFoundError: [Errno 2] No such file or directory: '/workspace/conf.py'",
    "embodiment": "KeyError: 'unitree_g1'",
    "resume-refused": "_pickle.UnpicklingError: Weights only load failed. This file can still be loaded",
    "shape-mismatch": "RuntimeError: Error(s) in loading state_dict for Policy: size mismatch for head.weight",
    "video-backend": "RuntimeError: Could not load libtorchcodec. Likely causes: FFmpeg is not properly installed",
    "bad-parquet": "pyarrow.lib.ArrowInvalid: Parquet magic bytes not found in footer.",
    "cuda-error": "RuntimeError: CUDA error: an illegal memory access was encountered",
    "nccl": "torch.distributed.DistBackendError: NCCL error in: ../ProcessGroupNCCL.cpp:1970, remote process exited",
    "interrupted": "KeyboardInterrupt",
    "wandb": "wandb.errors.errors.UsageError: api_key not configured (no-tty). call wandb.login(key=[your_api_key])",
    "too-many-files": "OSError: [Errno 24] Too many open files: '/workspace/data/x.mp4'",
    "crash": "Fatal Python error: Segmentation fault",
    "exception": "ValueError: batch of 3 for 4 workers",
}


@pytest.mark.parametrize("code", TEXTS)
@pytest.mark.parametrize("prefix", ["", "[rank0]: ", "[default1]:"])
def test_other_failures_by_their_programs_words(code: str, prefix: str) -> None:
    log = "\n".join(["{'loss': 0.5}", f"{prefix}Traceback (most recent call last):", f"{prefix}{TEXTS[code]}"])
    found = diagnose(log, ended())
    assert found is not None and found.code == code
    assert found.evidence == TEXTS[code].strip()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("RuntimeError: DataLoader worker (pid(s) 4711, 4712) exited unexpectedly", "host-oom"),
        ("RuntimeError: unable to write to file </torch_77_1>: No such file", "shared-memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "host-oom"),
        ("  exitcode  : -11 (pid: 5)", "crash"),
        ("OSError: [Errno 122] Disk quota exceeded", "disk-full"),
        (
            "[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/3: file write",
            "disk-full",
        ),
        (
            "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
            "partial-checkpoint",
        ),
        ("ValueError: Can't find a valid checkpoint at /workspace/a/checkpoint-10", "partial-checkpoint"),
        ("AttributeError: 'NoneType' object has no attribute 'startswith'", "exception"),
        ("torch.AcceleratorError: CUDA error: out of memory", "cuda-oom"),
    ],
)
def test_further_words_of_the_same_failures(line: str, code: str) -> None:
    found = diagnose(f"Traceback (most recent call last):\n{line}", ended())
    assert found is not None and found.code == code and "?" not in found.cause


def test_every_failure_of_the_table_has_a_text_or_a_log() -> None:
    shown = set(TEXTS) | {code for code, _ in GENUINE.values()}
    assert {failure.code for failure in FAILURES} <= shown


def test_a_warning_from_before_is_not_the_cause() -> None:
    log = "404 Client Error: optional file missing\n{'loss': 0.5}\nTraceback (most recent call last):\nValueError: no"
    found = diagnose(log, ended())
    assert found is not None and found.code == "exception"


def test_a_surviving_ranks_complaint_is_not_the_cause() -> None:
    log = (
        "[rank0]: Traceback (most recent call last):\n[rank0]: torch.OutOfMemoryError: CUDA out of memory.\n"
        "[rank1]: Traceback (most recent call last):\n[rank1]: DistBackendError: NCCL error, peer closed\n"
    )
    found = diagnose(log, ended())
    assert found is not None and found.code == "cuda-oom"


def test_an_error_glued_to_a_bar_is_found() -> None:
    log = "  3%|▎ | 10/300 [00:00<00:10, 26.98it/s]Traceback (most recent call last):\nKeyError: 'action'"
    found = diagnose(log)
    assert found is not None and found.code == "key-error"


def test_a_command_of_ours_has_named_its_cause_itself() -> None:
    log = "OSError: [Errno 28] No space left on device\ndm-g1: a/b: the disk is full; free some"
    found = diagnose(log, ended())
    assert found is not None and (found.code, found.cause) == ("said", "a/b: the disk is full; free some")
    assert diagnose(log, ended(code=0)) is None
    earlier = diagnose("dm-g1: nothing wrong here\nKeyError: 'action'", ended())
    assert earlier is not None and earlier.code == "key-error"


@pytest.mark.parametrize(
    ("code", "want"), [(127, "command-not-found"), (126, "permission"), (2, "usage"), (3, "unknown")]
)
def test_an_exit_code_without_words_is_still_a_cause(code: int, want: str) -> None:
    found = diagnose("nothing of note", ended(code=code))
    assert found is not None and found.code == want


def test_a_long_line_is_cut_in_the_evidence() -> None:
    found = diagnose("ValueError: " + "x" * 100_000, ended())
    assert found is not None and len(found.evidence) <= 400 and len(found.cause) < 300
