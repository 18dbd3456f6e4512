"""The stand-in nvidia-smi, held against what the real one printed on two machines (tests/captures/nvidia-smi)."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labs import run

from dm_isaac_g1.lab.smi.cards import CARDS, GB10, RTX_PRO_6000
from dm_isaac_g1.lab.smi.fields import APP_FIELDS, GPU_FIELDS
from dm_isaac_g1.lab.smi.reading import Reading, follow
from dm_isaac_g1.lab.smi.screens import table
from dm_isaac_g1.lab.smi.usage import GpuProcess

REAL = json.loads((Path(__file__).parents[1] / "captures" / "nvidia-smi" / "surfaces.json").read_text())

#: What dm-g1's agent asks for.
ASKED = (
    "timestamp,index,uuid,pci.bus_id,name,driver_version,pstate,memory.total,memory.used,memory.free,utilization.gpu,"
    "utilization.memory,temperature.gpu,power.draw.instant,power.draw,enforced.power.limit,power.limit,"
    "clocks.current.sm,clocks.max.sm,clocks_event_reasons.active,fan.speed,ecc.errors.uncorrected.volatile.total,"
    "mig.mode.current,compute_cap,addressing_mode,gpu_recovery_action"
)


def smi(lab, name: str, *arguments: str):
    import shlex

    return run(lab, name, shlex.join(["nvidia-smi", *arguments]))


@pytest.mark.parametrize("machine", sorted(REAL))
def test_every_field_is_one_of_the_real_ones_with_its_aliases(machine):
    real = {names[0]: list(dict.fromkeys(names)) for names in REAL[machine]["help_query_gpu"]}  # one names itself twice
    assert {f.names[0]: list(f.names) for f in GPU_FIELDS} == {f.names[0]: real.get(f.names[0]) for f in GPU_FIELDS}
    apps = {names[0]: names for names in REAL[machine]["help_query_compute_apps"]}
    assert {f.names[0]: list(f.names) for f in APP_FIELDS} == apps


@pytest.mark.parametrize("machine", sorted(REAL))
def test_headers_and_units_are_the_real_ones(lab, machine):
    names = [field.names[0] for field in GPU_FIELDS]
    real = {header.split(" [")[0]: header for header in REAL[machine]["row"]}
    header = smi(lab, "workstation", f"--query-gpu={','.join(names)}", "--format=csv").stdout.decode().splitlines()[0]
    assert header.split(", ") == [real[name] for name in names]


def test_values_have_the_shape_of_the_real_ones(lab):
    real = {header.split(" [")[0]: value for header, value in REAL["h100"]["row"].items()}
    gpu = smi(lab, "workstation", f"--query-gpu={','.join(real)}", "--format=csv,noheader").stdout.decode()
    assert gpu.endswith("\n") and "\r" not in gpu
    for name, value in zip(real, gpu.strip().split(", "), strict=True):
        shape = re.sub(r"\d+", "9", value)
        known = {
            re.sub(r"\d+", "9", REAL[m]["row"].get(h, ""))
            for m in REAL
            for h in REAL[m]["row"]
            if h.split(" [")[0] == name
        }
        assert shape in known or value in ("[N/A]",) or name in _NAMED, f"{name}: {value!r} is not like {known}"


#: Words of a model's own, not shapes.
_NAMED = {
    "name",
    "uuid",
    "pci.device_id",
    "pci.bus_id",
    "serial",
    "clocks_event_reasons.active",
    "vbios_version",
    "ecc.mode.current",
}


def test_units_go_and_the_header_keeps_them_with_nounits(lab):
    out = smi(lab, "workstation", "--query-gpu=memory.total,power.limit", "--format=csv,nounits").stdout
    assert out == b"memory.total [MiB], power.limit [W]\n97887, 600.00\n"


def test_the_header_names_fields_as_they_were_asked_for(lab):
    out = smi(lab, "spark", "--query-gpu=gpu_name,clocks.sm,clocks.max.sm", "--format=csv,nounits").stdout
    assert out == b"gpu_name, clocks.sm [MHz], clocks.max.sm [MHz]\nNVIDIA GB10, 2405, 3003\n"


def test_gb10_answers_like_the_real_ones(lab):
    asked = "memory.total,memory.used,memory.free,utilization.gpu,utilization.memory"
    asked += ",power.limit,clocks.current.memory,fan.speed"
    out = smi(lab, "spark", f"--query-gpu={asked}", "--format=csv,noheader").stdout
    assert out == b"[N/A], [N/A], [N/A], 0 %, 0 %, [N/A], [N/A], [N/A]\n"
    out = smi(
        lab,
        "spark",
        "--query-gpu=pci.device_id,compute_cap,addressing_mode,pcie.link.gen.current,pcie.link.width.max",
        "--format=csv,noheader,nounits",
    ).stdout
    assert out == b"0x2E1210DE, 12.1, ATS, 1, 1\n"


def test_the_agents_question_is_answered_in_full(lab):
    for name in CARDS:
        header, row = smi(lab, name, f"--query-gpu={ASKED}", "--format=csv,nounits").stdout.decode().splitlines()
        assert len(header.split(", ")) == len(row.split(", ")) == len(ASKED.split(","))


def test_an_unknown_field_costs_the_whole_query(lab):
    got = smi(lab, "workstation", "--query-gpu=name,cuda_version", "--format=csv")
    assert (got.stdout, got.returncode) == (b'Field "cuda_version" is not a valid field to query.\n\n', 2)


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--query-gpu=name"], ["-lms", "0"], ["--format=xml"]])
def test_wrong_arguments_end_with_code_2(lab, arguments):
    assert smi(lab, "workstation", *arguments).returncode == 2


def test_an_unknown_gpu_is_not_found(lab):
    got = smi(lab, "workstation", "-i", "7", "--query-gpu=name", "--format=csv")
    assert (got.stdout, got.returncode) == (b"No devices were found\n", 6)


def test_help_lists_fields_in_the_real_form(lab):
    said = smi(lab, "workstation", "--help-query-gpu").stdout.decode().splitlines()
    real = REAL["h100"]["help_first_lines"]
    assert said[:3] == real[:3]
    assert '"clocks_event_reasons.active" or "clocks_throttle_reasons.active"' in said


def test_list_and_version_have_the_real_form_and_say_simulated(lab):
    listing = smi(lab, "workstation", "-L").stdout.decode()
    assert re.fullmatch(r"GPU 0: .+ \(UUID: GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)\n", listing)
    assert re.fullmatch(r"GPU 0: .+ \(UUID: GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)", REAL["h100"]["list"])
    version = smi(lab, "spark", "--version").stdout.decode()
    assert [line.split(":")[0] for line in version.splitlines()[:4]] == [
        x.split(":")[0] for x in REAL["h100"]["version"]
    ]
    assert "SIMULATED" in version


@pytest.mark.parametrize("card", [RTX_PRO_6000, GB10])
def test_the_table_has_the_real_ones_frame(card):
    reading = Reading(0.0, 1.0, card.power_full, card.temp_full, [GpuProcess(4242, "/usr/bin/python3", 0, 512)])
    lines = table(card, reading).splitlines()
    assert {len(line) for line in lines if line.startswith(("+", "|"))} == {91}
    real = [line for line in REAL["h100"]["table"] if line.startswith(("+", "|=", "| GPU", "| Fan"))]
    assert [line for line in lines[:13] if line.startswith(("+", "|=", "| GPU", "| Fan"))] == real
    assert "SIMULATED" in lines[3 - 1] + lines[3]
    assert any("4242" in line and "512MiB" in line for line in lines)


def test_a_loop_prints_one_header_and_a_line_each_interval(lab):
    got = run(
        lab,
        "workstation",
        "timeout -s INT 1.7 nvidia-smi --query-gpu=index,utilization.gpu --format=csv,nounits -lms 300",
    )
    lines = got.stdout.decode().splitlines()
    assert lines[0] == "index, utilization.gpu [%]"
    assert 4 <= len(lines) - 1 <= 7 and set(lines[1:]) == {"0, 0"}


def test_a_loop_ends_when_nobody_reads(lab):
    got = run(lab, "workstation", "nvidia-smi --query-gpu=index --format=csv -lms 100 | head -2")
    assert got.stdout.splitlines() == [b"index", b"0"]


@pytest.mark.train
def test_figures_follow_the_hosts_own_jobs_and_no_other(lab):
    """A process with torch that computes is seen on its host, with its memory; the other host stays idle."""
    work = (
        "import torch,time; torch.set_num_threads(1); a=torch.ones(300,300); e=time.time()+25\nwhile time.time()<e: a@a"
    )
    pid = int(run(lab, "workstation", f"setsid python3 -c '{work}' >/dev/null 2>&1 </dev/null & echo $!").stdout)
    try:
        deadline = time.monotonic() + 20
        while True:
            apps = smi(
                lab, "workstation", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader,nounits"
            )
            fields = apps.stdout.decode().strip().split(", ")
            if fields[0] and int(fields[2]) > 60:
                break
            assert time.monotonic() < deadline, "never seen"
            time.sleep(0.3)
        time.sleep(3)
        query = (
            "--query-gpu=utilization.gpu,memory.used,power.draw,clocks.current.sm",
            "--format=csv,noheader,nounits",
        )
        busy = [float(x) for x in smi(lab, "workstation", *query).stdout.decode().split(", ")]
        idle = smi(
            lab, "spark", "--query-gpu=utilization.gpu,clocks.current.sm", "--format=csv,noheader,nounits"
        ).stdout
    finally:
        run(lab, "workstation", f"kill {pid}")
    assert (int(fields[0]), fields[1]) == (pid, "python3") and int(fields[2]) < 3000
    assert busy[0] > 20 and busy[1] > 60 and busy[2] > 40 and busy[3] == 2617
    assert idle == b"0, 2405\n"


def test_heat_and_power_follow_the_load_slowly_and_stay_within_the_card():
    card = RTX_PRO_6000
    reading = Reading(0.0, 0.0, card.power_idle, card.temp_idle, [])
    trace = []
    for second in range(180):
        load = 1.0 if second < 120 else 0.0
        reading = Reading(second, load, *follow(card, reading, load, 1.0), [])
        trace.append(reading)
    assert trace[0].temp - card.temp_idle < 2 and trace[0].power < 0.6 * card.power_full
    assert card.temp_full - 2 < trace[119].temp <= card.temp_full
    assert trace[119].power <= card.power_limit
    assert trace[179].power < 1.1 * card.power_idle < trace[121].power
    assert trace[121].temp > trace[179].temp


def test_it_starts_fast_and_needs_the_standard_library_only():
    program = "import sys; sys.path.insert(0, sys.argv[1]); import smi.command; print(*sorted(sys.modules))"
    folder = Path(sys.modules["dm_isaac_g1.lab.smi"].__file__).parents[1]
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", program, str(folder)], capture_output=True, check=True)
    assert not {b"asyncio", b"numpy", b"msgspec", b"dm_isaac_g1"} & set(loaded.stdout.split())
    assert signal.SIGPIPE
