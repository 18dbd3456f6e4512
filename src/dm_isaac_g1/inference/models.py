"""What a model's folder is: its kind, the files that a server needs, what is missing, what it takes and gives.

Pure: names and sizes of files, and the few small texts among them, whether they come from this disk or from a host.
Everything read is untrusted: a name in an index that leads out of the folder is a problem, never a path.

Layout of GR00T N1.6 checkpoints (checkpoint-N of its trainer): config.json, model-0000i-of-0000n.safetensors with
model.safetensors.index.json, processor_config.json, statistics.json, embodiment_id.json, trainer_state.json (written
after all that the trainer itself writes), experiment_cfg/; the output folder around it has the processor's three files
in processor/, where its server does not look.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dm_isaac_g1.core import plainfile
from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.inference import specs
from dm_isaac_g1.inference.specs import PolicySpec

if TYPE_CHECKING:
    from dm_isaac_g1.remote.files import Files, Found

Kind = Literal["groot-n1.6", "bc", "torchscript", "onnx", "unknown"]

_CONFIG, _STATE, _SIDECAR = "config.json", "trainer_state.json", "policy.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PROCESSOR = ("processor_config.json", "statistics.json", "embodiment_id.json")
_TEXTS = (_CONFIG, *_PROCESSOR, _INDEX, _STATE, _SIDECAR)
#: Small files whose texts `describe` wants.
WANTED: tuple[str, ...] = (*_TEXTS, *(f"processor/{name}" for name in _PROCESSOR))
#: Of each text at most; trainer_state.json of 50,000 steps with a line every ten is 1 MB.
TEXT_MAX = 16 << 20
#: The beginning of a safetensors file holds the names, shapes and places of all its tensors.
HEAD_MAX = 1 << 20

#: config.json's model_type -> kind. Sources: Gr00tN1d6Config of Isaac-GR00T N1.6; finetuning.bc.policy.
_TYPES: dict[str, Kind] = {"Gr00tN1d6": "groot-n1.6", "dm_g1_bc": "bc"}
#: Embodiments of the base model, which a fine-tuned checkpoint keeps (GR00T-N1.6-3B; its projector table in
#: processing_gr00t_n1d6.py).
PRETRAINED = frozenset({"robocasa_panda_omron", "gr1", "behavior_r1_pro"})
_OTHERS = {"gr00t_n1_5": "GR00T N1.5", "gr00t_n1": "GR00T N1", "Gr00tN1d7": "GR00T N1.7"}
#: What a trainer leaves in a folder that it saves a checkpoint into: then trainer_state.json must be there, too.
_TRAINERS_OWN = re.compile(r"(optimizer|scheduler)\.(pt|bin)|rng_state(_\d+)?\.pth")
_EXPORTED = re.compile(r"[^/]+\.(onnx|pt|pth|ts|torchscript)")
_CHECKPOINT = re.compile(r"(?:tmp-|broken-)?checkpoint-(\d{1,12})(?:-.*)?")


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A model's folder. `problems`: each a sentence; with none of them it is `complete` and can be served."""

    name: str
    kind: Kind
    #: What a server needs, relative path -> bytes: never the optimizer's state or pickles of the trainer.
    deploy_files: dict[str, int] = {}
    #: Of the weights alone, and of all of `deploy_files`.
    weights_bytes: int = 0
    bytes: int = 0
    step: int | None = None
    #: Embodiment tags that it can be served for, as values: unitree_g1.
    embodiments: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    #: What it takes and gives; for `embodiment`, where it has any.
    spec: PolicySpec | None = None
    #: For each embodiment.
    specs: dict[str, PolicySpec] = {}

    @property
    def complete(self) -> bool:
        return not self.problems

    @property
    def embodiment(self) -> str | None:
        """The one it was made for: the only one, or the only one that the base model does not have; else None."""
        own = [tag for tag in self.embodiments if tag not in PRETRAINED] or list(self.embodiments)
        return own[0] if len(own) == 1 else None

    def spec_for(self, embodiment: str | None) -> PolicySpec | None:
        """For an embodiment tag, NAME or value; None where the folder does not say."""
        return self.spec if embodiment is None else self.specs.get(embodiment.lower(), self.spec)


def describe(name: str, files: Mapping[str, int], texts: Mapping[str, bytes]) -> ModelFacts:
    """The folder called `name`. `files`: relative path -> bytes; `texts`: of those in WANTED that are there, and the
    first megabyte of safetensors files, if known. Never raises: what is wrong is in `problems`."""
    files = {path: size for path, size in files.items() if safe(path)}
    if _SIDECAR in files:
        return _exported(name, files, texts)
    config = _json(texts.get(_CONFIG))
    said = config.get("model_type") if isinstance(config, dict) else None
    kind = _TYPES.get(said, "unknown") if isinstance(said, str) else "unknown"
    if kind == "unknown":
        return ModelFacts(name=name, kind=kind, problems=(_what_it_is(name, files, said, config),))
    weights, problems = _weights(files, texts)
    problems = [*_save_problems(name, files, texts), *problems]
    found: dict[str, PolicySpec] = {}
    spec = None
    if kind == "groot-n1.6":
        problems += _processor_problems(files, texts)
        found = specs.groot_specs(_json(texts.get(_PROCESSOR[0])), _json(texts.get(_PROCESSOR[1])))
        if not found and not problems:
            problems.append("processor_config.json and statistics.json have no embodiment in common")
    else:
        spec = specs.bc_spec(config)
        if spec is None:
            problems.append("config.json does not say the policy's dimensions")
    facts = ModelFacts(
        name=name,
        kind=kind,
        **_sizes(files, weights, [path for path in files if _is_small_part(path)]),
        step=_step(name, texts),
        embodiments=tuple(found),
        problems=tuple(problems),
        spec=spec,
        specs=found,
    )
    return msgspec.structs.replace(facts, spec=found[facts.embodiment]) if facts.embodiment else facts


def safe(path: str) -> bool:
    """Whether a relative path stays inside its folder and is a name that can be shown and given to a command."""
    parts = path.split("/")
    return (
        0 < len(path) <= 1024
        and not {"", ".", ".."} & set(parts)
        and not path.startswith(("-", "~"))
        and "\\" not in path
        and path.isprintable()
    )


# --- What is wrong ----------------------------------------------------------------------------------------------------


def _what_it_is(name: str, files: Mapping[str, int], said: Any, config: Any) -> str:
    if not files:
        return "the folder is empty"
    if _CONFIG not in files:
        if any(_CHECKPOINT.fullmatch(path.split("/")[0]) for path in files):
            return "a run's folder without a model of its own: choose one of its checkpoints"
        if any(_EXPORTED.fullmatch(path) and not _TRAINERS_OWN.fullmatch(path) for path in files):
            return "policy.json is missing, which says what a TorchScript or ONNX policy takes and gives"
        return "config.json is missing: not a model that a policy server could load"
    if config is None:
        return "config.json is not JSON: the save was cut off, or it is not a model's folder"
    if isinstance(said, str) and said in _OTHERS:
        return f"a {_OTHERS[said]} model: served by its own repository, which dm-g1 does not start"
    return f"a model of type {str(said)[:60]!r}, which no server of dm-g1 loads"


def _save_problems(name: str, files: Mapping[str, int], texts: Mapping[str, bytes]) -> list[str]:
    """A save that was cut off: trainer_state.json is written last."""
    trainers = _CHECKPOINT.fullmatch(name) or any(_TRAINERS_OWN.fullmatch(path) for path in files)
    if _STATE not in files:
        return [f"{_STATE} is missing: the save was cut off"] if trainers else []
    # With NaN, which JSON does not have, where the loss was.
    if _STATE in texts and not isinstance(_json(texts[_STATE]), dict):
        return [f"{_STATE} is cut off"]
    return []


def _weights(files: Mapping[str, int], texts: Mapping[str, bytes]) -> tuple[dict[str, int], list[str]]:
    """The files with weights, and what is wrong with them."""
    if _INDEX not in files:
        if _WEIGHTS in files:
            return {_WEIGHTS: files[_WEIGHTS]}, _short(_WEIGHTS, files, texts)
        shards = sorted(path for path in files if re.fullmatch(r"model-\d+-of-\d+\.safetensors", path))
        if shards:
            return {}, [f"{_INDEX} is missing: without it the {len(shards)} shards cannot be loaded"]
        return {}, [f"no weights: neither {_WEIGHTS} nor {_INDEX}"]
    index = _json(texts.get(_INDEX))
    placed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(placed, dict) or not placed:
        return {}, [f"{_INDEX} is cut off or not an index"]
    names = sorted({path for path in placed.values() if isinstance(path, str)})
    if outside := [path for path in names if not safe(path)]:
        return {}, [f"{_INDEX} lists {outside[0][:100]!r}, which leads out of the folder"]
    problems = [f"{path} is missing, which {_INDEX} lists" for path in names if path not in files]
    if len(problems) > 3:
        problems = [*problems[:3], f"{len(problems) - 3} more shards of {len(names)} are missing"]
    there = {path: files[path] for path in names if path in files}
    for path in there:
        problems += _short(path, files, texts)
    total = index.get("metadata", {}).get("total_size") if isinstance(index.get("metadata"), dict) else None
    if not problems and isinstance(total, int) and sum(there.values()) < total:
        problems.append(f"the shards hold {sum(there.values())} bytes, {_INDEX} says {total}: one was cut off")
    return there, problems


def _short(path: str, files: Mapping[str, int], texts: Mapping[str, bytes]) -> list[str]:
    """By the header of a safetensors file (8 bytes of length, then JSON): its size, to the byte."""
    head = texts.get(path)
    if files[path] == 0:
        return [f"{path} is empty"]
    if head is None:
        return []
    size = struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else 0
    if not 0 < size <= min(100 << 20, files[path] - 8):
        return [f"{path} is not a safetensors file"]
    if 8 + size > len(head):
        return []  # a longer header than we look at
    tensors = _json(head[8 : 8 + size])
    if not isinstance(tensors, dict):
        return [f"{path} is not a safetensors file"]
    ends = [
        each.get("data_offsets") for key, each in tensors.items() if key != "__metadata__" and isinstance(each, dict)
    ]
    end = max((pair[1] for pair in ends if isinstance(pair, list) and len(pair) == 2 and _is_size(pair[1])), default=0)
    if files[path] < 8 + size + end:
        return [f"{path} is cut off: it has {files[path]} bytes of {8 + size + end}"]
    return []


def _processor_problems(files: Mapping[str, int], texts: Mapping[str, bytes]) -> list[str]:
    missing = [path for path in _PROCESSOR if path not in files]
    if missing and all(f"processor/{path}" in files for path in missing):
        return [
            f"{' and '.join(missing)} stand in processor/, where GR00T's server does not look: "
            "choose one of the run's checkpoints, which have them beside the weights"
        ]
    problems = [f"{path} is missing: GR00T's server cannot load the model without it" for path in missing]
    for path in _PROCESSOR:
        if path in texts and not isinstance(_json(texts[path]), dict):
            problems.append(f"{path} is cut off")
    return problems


# --- TorchScript and ONNX ---------------------------------------------------------------------------------------------


def _exported(name: str, files: Mapping[str, int], texts: Mapping[str, bytes]) -> ModelFacts:
    try:
        side = specs.sidecar(texts.get(_SIDECAR, b""))
    except ValueError as error:
        return ModelFacts(name=name, kind="unknown", problems=(str(error)[:300],))
    kind: Kind = "onnx" if side.format == "onnx" else "torchscript"
    needed = (side.file, *side.also)
    problems = [f"policy.json: {path[:100]!r} leads out of the folder" for path in needed if not safe(path)]
    problems += [f"{path} is missing, which policy.json names" for path in needed if safe(path) and path not in files]
    problems += [f"{path} is empty" for path in needed if files.get(path) == 0]
    weights = {path: files[path] for path in needed if path in files}
    tags = (side.embodiment.lower(),) if side.embodiment else ()
    return ModelFacts(
        name=name,
        kind=kind,
        **_sizes(files, weights, [_SIDECAR]),
        embodiments=tags,
        problems=tuple(problems),
        spec=side.spec,
        specs=dict.fromkeys(tags, side.spec),
    )


# --- Parts ------------------------------------------------------------------------------------------------------------

#: Beside the weights: small texts at the top, and what the run was made with.
_SMALL_PART = re.compile(
    r"[^/]+\.(json|jinja|model)|merges\.txt|vocab\.txt|(experiment_cfg|processor)/[^/]+\.(json|ya?ml)"
)
_NOT_NEEDED = frozenset({"wandb_config.json", "all_results.json", "train_results.json", "eval_results.json"})


def _is_small_part(path: str) -> bool:
    return _SMALL_PART.fullmatch(path) is not None and path not in _NOT_NEEDED


def _sizes(files: Mapping[str, int], weights: Mapping[str, int], others: Iterable[str]) -> dict[str, Any]:
    deployed = {path: files[path] for path in sorted({*weights, *others})}
    return {"deploy_files": deployed, "weights_bytes": sum(weights.values()), "bytes": sum(deployed.values())}


def _step(name: str, texts: Mapping[str, bytes]) -> int | None:
    state = _json(texts.get(_STATE))
    step = state.get("global_step") if isinstance(state, dict) else None
    if isinstance(step, int) and _is_size(step):
        return step
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < math.inf


def _json(text: bytes | None) -> Any:
    """None where it is not there or not JSON. The standard library's reader: trainers write bare NaN."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


# --- Reading ----------------------------------------------------------------------------------------------------------


def _heads(files: Iterable[str]) -> list[str]:
    return [path for path in files if path.endswith(".safetensors") and "/" not in path][:64]


def read_local(path: Path | str) -> ModelFacts:
    """The model in a folder of this machine. Raises UsageError where there is none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError("no such model folder", where=str(path), fix="name a checkpoint's folder")
    try:
        below = [each for each in folder.iterdir() if each.is_dir()]
        found = {
            each.relative_to(folder).as_posix(): each.stat().st_size
            for place in (folder, *below)
            for each in place.iterdir()
            if each.is_file()
        }
        texts = {name: plainfile.read(folder / name, TEXT_MAX) for name in WANTED if name in found}
        texts |= {name: plainfile.read(folder / name, HEAD_MAX) for name in _heads(found)}
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    return describe(folder.resolve().name, found, texts)


async def read_on_host(files: Files, path: str) -> ModelFacts:
    """The model in a folder as a host's commands see it. Raises UsageError where there is none, RemoteFailed,
    HostUnreachable."""
    top = str(PurePosixPath(path))
    there = await files.stat(top)
    if there is None or there.kind != "dir":
        # A list of checkpoints is old news while a training rotates them.
        fix = "name a checkpoint's folder; of a run that goes on a newer one, for it removes its oldest"
        raise UsageError("no such model folder", where=path, fix=fix)
    rows: Iterable[Found] = await files.find(top, "*", depth=1)
    found = {
        each.path.removeprefix(top).lstrip("/"): each.size
        for each in rows
        if each.kind == "file" and each.path.startswith(top + "/")
    }
    texts = {name: await _read(files, f"{top}/{name}", min(found[name], TEXT_MAX)) for name in WANTED if name in found}
    for name in _heads(found):
        length = await _read(files, f"{top}/{name}", 8)
        header = int.from_bytes(length, "little")
        texts[name] = await _read(files, f"{top}/{name}", 8 + header) if header < HEAD_MAX else length
    return describe(PurePosixPath(top).name, found, texts)


async def _read(files: Files, path: str, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = (await files.read(path, len(data), size - len(data))).data
        if not chunk:
            break
        data += chunk
    return bytes(data)


def one_problem(facts: ModelFacts) -> DmG1Error:
    """The error to raise for a folder that cannot be served."""
    return UsageError("; ".join(facts.problems) or "not a model", where=facts.name)
