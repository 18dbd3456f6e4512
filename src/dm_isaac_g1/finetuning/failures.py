"""Why trainings fail, as a table: what stands in the log, what it means, what to do. First match wins.

Sources: genuine logs of NVIDIA's GR00T trainer and dataset loader (tests/captures/logs), messages in the source of
torch, safetensors, transformers 4.51 and 5.23, huggingface_hub, tyro and argparse, and what users of Isaac-GR00T
reported. `{name}` in a cause or fix is the pattern's group of that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DISK_FULL_FIX = "free space (dm-g1 disk forecast shows what), set the broken checkpoint aside, start again: it resumes"


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail. `near`: another pattern that must stand somewhere in the text, too."""

    code: str
    pattern: re.Pattern[str]
    cause: str
    fix: str
    near: re.Pattern[str] | None = None


def _failure(code: str, pattern: str, cause: str, fix: str, near: str | None = None) -> Failure:
    return Failure(code, re.compile(pattern), cause, fix, re.compile(near) if near else None)


#: Specific before general; the launcher's own words (torchrun, NCCL of the surviving ranks) after the worker's.
FAILURES: tuple[Failure, ...] = (
    _failure(
        "disk-full",
        r"No space left on device|\(os error 28\)|\[Errno 28\]|Disk quota exceeded|\(os error 122\)|\[Errno 122\]",
        "the disk was full while the trainer wrote",
        DISK_FULL_FIX,
    ),
    # torch.save says nothing of space: its zip writer finds itself at another place than it should be.
    _failure(
        "disk-full",
        r"inline_container\.cc:\d+\] \. unexpected pos \d+ vs \d+|basic_ios::clear: iostream error"
        r"|PytorchStreamWriter failed writing file",
        "the disk was full while the trainer wrote its optimizer's state",
        DISK_FULL_FIX,
    ),
    _failure(
        "cuda-oom",
        r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED"
        r"|CUDA error: out of memory",
        "the GPU's memory was too small",
        "lower the batch size (raise gradient accumulation instead), or free the GPU of other processes",
    ),
    _failure(
        "shared-memory",
        r"insufficient shared memory \(shm\)|unable to (?:open|mmap|allocate) shared memory"
        r"|killed by signal: Bus error|unable to write to file </torch_",
        "the data loaders ran out of shared memory (/dev/shm)",
        "give the container more (--shm-size or --ipc=host), or use fewer data loader workers",
    ),
    _failure(
        "host-oom",
        r"exitcode\s*: -9\b|\(exitcode: -9\)|Signal 9 \(SIGKILL\)|Cannot allocate memory|can't allocate memory"
        r"|DataLoader worker \(pid\(s\) [\d, ]+\) exited unexpectedly|is killed by signal: Killed"
        r"|^(?:numpy\.\S*)?MemoryError|^Killed$|oom-kill|Out of memory: Killed process",
        "the host's memory ran out: the kernel killed a worker",
        "use fewer data loader workers or smaller shards; see what else holds memory on the host",
    ),
    _failure(
        "partial-checkpoint",
        r"No such file or directory: '(?P<path>\S*checkpoint-\d+)/(?:trainer_state\.json|optimizer\.pt|scheduler\.pt|"
        r"model\S*)'|Can't find a valid checkpoint at (?P<other>\S*)",
        "the newest checkpoint is incomplete, and the trainer resumed from it",
        "set it aside (dm-g1 checkpoints clean) and start again: it resumes from the one before",
    ),
    _failure(
        "partial-checkpoint",
        r"failed finding central directory|MetadataIncompleteBuffer|Error while deserializing header"
        r"|InvalidHeader(?:Length|Deserialization)|HeaderTooSmall|EOFError: Ran out of input",
        "a checkpoint's file is cut short or damaged",
        "set that checkpoint aside (dm-g1 checkpoints clean) and start again: it resumes from the one before",
    ),
    _failure(
        "resume-refused",
        r"Weights only load failed",
        "torch refuses to load a file of the checkpoint (rng_state.pth) since version 2.6",
        "use a GR00T version with the fix, or start from the weights in a new output folder",
    ),
    _failure(
        "shape-mismatch",
        r"size mismatch for \S+|Error\(s\) in loading state_dict",
        "the weights are of another model: shapes differ",
        "check base model, embodiment and action horizon, or choose another output folder",
    ),
    _failure(
        "missing-stats",
        r"(?P<path>\S*stats\.json) does not exist|No such file or directory: '(?P<other>\S*meta/\w*stats\w*\.json)'",
        "the dataset has no statistics",
        "compute them (gr00t/data/stats.py), then start again",
    ),
    _failure(
        "missing-metadata",
        r"No such file or directory: '(?P<path>\S*meta/(?:episodes\.jsonl|tasks\.jsonl|info\.json|modality\.json))'"
        r"|(?P<other>\S*modality\.json)\S* (?:does not exist|not found)",
        "the dataset is not whole, or not LeRobot v2.1: a file of its meta folder is missing",
        "check that the dataset was copied whole; one of LeRobot v3 must be converted",
    ),
    _failure(
        "modality-mismatch",
        r"Original key (?P<key>\S+) not found in feature config",
        "modality.json speaks of {key}, which the dataset's info.json does not have",
        "correct original_key in meta/modality.json",
    ),
    _failure(
        "modality-mismatch",
        r"Key (?P<key>\S+) not found in language modality",
        "the modality configuration wants the annotation {key}, which meta/modality.json does not have",
        "add it to meta/modality.json, or choose the configuration that fits the dataset",
    ),
    _failure(
        "modality-mismatch",
        r"KeyError: '(?P<key>[^']+)'",
        "the modality configuration wants the joint group {key}, which the dataset does not have",
        "choose the embodiment or modality configuration that fits the dataset",
        near=r"Joint group '[^']+' not found in \w+ modality",
    ),
    _failure(
        "embodiment",
        r"KeyError: '(?P<key>new_embodiment|unitree_g1|gr1|oxe_droid|agibot_genie1|libero_panda|robocasa\w*)'"
        r"|KeyError: <?EmbodimentTag\.(?P<tag>\w+)",
        "the base model knows no such embodiment",
        "use one that it was trained with, or NEW_EMBODIMENT with a modality configuration",
    ),
    _failure(
        "video-too-short",
        r"KeyError: (?P<frame>\d+)$|IndexError: .*frame.* (?:out of (?:range|bounds))",
        "a video has fewer frames than its episode has rows",
        "validate the dataset; re-encode or drop that episode",
        near=r"_load_video_data|get_frames|video_utils|decode_video",
    ),
    _failure(
        "bad-json",
        r"JSONDecodeError: (?P<what>.*)",
        "a line of the dataset's metadata is no JSON (an empty line, often)",
        "look for empty or cut lines in the dataset's meta/*.jsonl",
    ),
    _failure(
        "bad-parquet",
        r"ArrowInvalid: .*[Pp]arquet|Parquet magic bytes not found",
        "a data file of the dataset is damaged",
        "copy the dataset again and validate it",
    ),
    _failure(
        "flash-attn",
        r"(?i)(?:ImportError|ModuleNotFoundError|RuntimeError|OSError).*flash.?attn|flash_attn\S*: undefined symbol"
        r"|FlashAttention2? has been toggled on, but it cannot be used|FlashAttention only supports",
        "flash-attn is missing, or was built for another torch or GPU",
        "install the wheel for this torch and CUDA, or build it for this GPU",
    ),
    _failure(
        "video-backend",
        r"Could not load libtorchcodec|No module named '(?:torchcodec|decord)'|libav\w+\.so\S*: cannot open",
        "the video decoder cannot be loaded (torchcodec needs FFmpeg)",
        "install FFmpeg 4 to 7 and the torchcodec for this torch, or choose another video backend",
    ),
    _failure(
        "transformers-version",
        r"cannot import name '(?P<name>\w+)' from 'transformers|TrainingArguments.*unexpected keyword argument"
        r"|transformers[=<>~]=\S+ is required|requires transformers|does not recognize this architecture",
        "another version of transformers is installed than the trainer needs",
        "use the environment of the trainer (GR00T N1.6 needs transformers 4.51.3)",
    ),
    _failure(
        "not-authorised",
        r"GatedRepoError|Access to model \S+ is restricted|401 Client Error|403 Client Error|Invalid user token"
        r"|Invalid credentials in Authorization header",
        "the Hub refused: the model or dataset is gated, or the token is missing or wrong",
        "accept the model's terms on huggingface.co and set HF_TOKEN",
    ),
    _failure(
        "not-found-on-hub",
        r"RepositoryNotFoundError|404 Client Error|is not a valid model identifier|RevisionNotFoundError",
        "the Hub has no such model or dataset, or hides it without a token",
        "check the name, and HF_TOKEN where it is private",
    ),
    _failure(
        "no-network",
        r"Temporary failure in name resolution|Name or service not known|LocalEntryNotFoundError|Max retries exceeded"
        r"|couldn't connect to 'https://huggingface\.co'|Network is unreachable",
        "the host could not reach the network (huggingface.co)",
        "check the host's connection, or download beforehand and set HF_HUB_OFFLINE=1",
    ),
    _failure(
        "port-in-use",
        r"EADDRINUSE|[Aa]ddress already in use",
        "a port is taken: another training of this host uses the same master port, or a server runs already",
        "stop the other process, or choose another port",
    ),
    _failure(
        "no-gpu",
        r"No CUDA GPUs are available|Found no NVIDIA driver|Torch not compiled with CUDA enabled"
        r"|CUDA driver version is insufficient|torch finds no CUDA GPU|CUDA-capable device\(s\) is/are busy",
        "no usable GPU: none there, no driver, or a torch without CUDA",
        "check nvidia-smi on the host and in the container, and torch.cuda.is_available()",
    ),
    _failure(
        "gpu-not-supported",
        r"no kernel image is available for execution|is not compatible with the current PyTorch installation",
        "this torch was not built for this GPU",
        "install a torch that supports it (Blackwell needs CUDA 12.8 or newer)",
    ),
    _failure(
        "nan",
        r"FloatingPointError|returned nan values in its"
        r"|(?:[Ll]oss|[Gg]radient)s? (?:is|are|became|contains?) (?:nan|inf)",
        "the training became NaN",
        "lower the learning rate, look for outliers in the dataset's statistics",
    ),
    _failure(
        "wandb",
        r"wandb\S*(?:UsageError|CommError|AuthenticationError)|wandb: ERROR .*api[_ ]key|api_key not configured",
        "Weights & Biases refused: no API key on the host, or no connection",
        "set WANDB_API_KEY, or WANDB_MODE=offline, or turn it off in the recipe",
    ),
    _failure(
        "too-many-files",
        r"Too many open files|\[Errno 24\]",
        "the trainer had too many files open",
        "raise the limit (ulimit -n) or use fewer data loader workers",
    ),
    _failure(
        "cuda-error",
        r"CUDA error: (?P<what>.+)|CUBLAS_STATUS_\w+|cuDNN error|device-side assert triggered|Xid \d+",
        "the GPU reported an error: {what}",
        "run again with CUDA_LAUNCH_BLOCKING=1 to see where; after a hardware error reset or reboot",
    ),
    _failure(
        "key-error",
        r"KeyError: '(?P<key>[^']+)'",
        "the dataset has no {key}: a column or feature that the trainer wants is missing",
        "compare the dataset's info.json and modality.json with the embodiment's configuration",
    ),
    _failure(
        "missing-module",
        r"ModuleNotFoundError: No module named '(?P<name>[^']+)'|No module named (?P<other>\S+)$",
        "the environment lacks the Python module {name}",
        "check the profile's python, conda_env and the installed packages",
    ),
    _failure(
        "import-error",
        r"ImportError: (?P<what>.+)|cannot open shared object file",
        "a module cannot be loaded: {what}",
        "check the installed versions in the trainer's environment",
    ),
    _failure(
        "command-not-found",
        r"(?:^|[\s:])(?P<name>[\w./-]+): (?:command )?not found$|EnvironmentLocationNotFound"
        r"|\[Errno 2\] No such file or directory: '(?P<other>[\w./-]*(?:python[\d.]*|torchrun|conda|uv))'",
        "the host does not know the command {name}",
        "check python, conda_env and groot of the host in the profile",
    ),
    _failure(
        "usage",
        r"error: (?:unrecognized arguments|the following arguments are required|argument |ambiguous option)"
        r"|Unrecognized options?:|Required options?|Parsing error|No such option|invalid choice:",
        "the trainer does not take these options: another version than the recipe was written for",
        "compare the recipe's options with the trainer's --help on the host",
    ),
    _failure(
        "permission",
        r"PermissionError: \[Errno 13\]|Permission denied",
        "a file or folder may not be read or written",
        "check the owner of the output folder and the caches on the host",
    ),
    _failure(
        "read-only",
        r"Read-only file system|\[Errno 30\]|\(os error 30\)",
        "the file system is mounted read-only",
        "look for disk errors on the host (dmesg), then remount or choose another folder",
    ),
    _failure(
        "file-not-found",
        r"FileNotFoundError: .*?'(?P<path>[^']+)'",
        "a file is missing: {path}",
        "check the recipe's paths on the host",
    ),
    _failure(
        "crash",
        r"Segmentation fault|Fatal Python error|\(SIGSEGV\)|\(SIGABRT\)|exitcode\s*: -(?:11|6)\b",
        "it crashed in native code",
        "check that torch, CUDA, flash-attn and the video decoder fit together",
    ),
    _failure(
        "interrupted",
        r"KeyboardInterrupt|SignalException: Process \d+ got signal: (?P<signal>\d+)",
        "it was interrupted by a signal",
        "start it again: it resumes from its last checkpoint",
    ),
    _failure(
        "nccl",
        r"ncclSystemError|ncclUnhandledCudaError|ncclInternalError|NCCL (?:error|WARN)|ProcessGroupNCCL"
        r"|Watchdog caught collective operation timeout|DistBackendError|Connection closed by peer",
        "the ranks lost each other (NCCL)",
        "look for the first rank that failed; check the network interface (NCCL_SOCKET_IFNAME) and all GPUs",
    ),
)
