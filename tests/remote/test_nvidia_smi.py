"""What nvidia-smi says on real machines, read right. Rows published or captured: tests/captures/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.samples import Gpu
from dm_isaac_g1.remote import nvidia_smi
from dm_isaac_g1.remote.agent_gpu import FIELDS

MIB = 1024 * 1024
DATA = Path(__file__).parents[1] / "captures" / "nvidia-smi"

#: Fifteen columns of a GB10 (driver 580), as its owner published them; only the names are ours.
GB10_HEADER = (
    "name, memory.total [MiB], compute_cap, memory.used [MiB], utilization.gpu [%], temperature.gpu, "
    "power.draw [W], power.limit [W], enforced.power.limit [W], clocks.current.sm [MHz], clocks.max.sm [MHz], "
    "clocks.current.memory [MHz], clocks.current.graphics [MHz], pcie.link.gen.current, pcie.link.width.current"
)
GB10_ROW = "NVIDIA GB10, [N/A], 12.1, [N/A], 0, 52, 10.8, [N/A], [N/A], 2405, 3003, [N/A], 2405, 1, 1"
MEM_GB10 = 125442396 * 1024


def one(header: str, row: str, memory_total: int | None = None) -> Gpu:
    (gpu,) = nvidia_smi.gpus(header, [row], memory_total=memory_total)
    return gpu


def capture(name: str) -> tuple[str, list[str]]:
    header, *rows = (DATA / name).read_text().splitlines()
    return header, rows


def test_a_gb10_has_no_memory_of_its_own() -> None:
    gpu = one(GB10_HEADER, GB10_ROW, MEM_GB10)
    assert gpu.unified
    assert gpu.mem_total is None
    assert gpu.mem_used is None
    assert (gpu.util, gpu.temp_c, gpu.power_w, gpu.power_limit_w) == (0.0, 52.0, 10.8, None)
    assert (gpu.sm_mhz, gpu.sm_max_mhz) == (2405.0, 3003.0)


def test_a_gb10_is_unified_by_its_addressing_mode_too() -> None:
    header = "pci.device_id, compute_cap, addressing_mode, utilization.gpu [%], power.draw [W], temperature.gpu"
    gpu = one(header, "0x2E1210DE, 12.1, ATS, 0, 4.52, 47")
    assert gpu.unified
    assert gpu.power_w == 4.52


def test_units_in_the_cells_do_no_harm() -> None:
    header = (
        "memory.total [MiB], memory.used [MiB], memory.free [MiB], utilization.gpu [%], power.draw [W], temperature.gpu"
    )
    gpu = one(header, "[N/A], [N/A], [N/A], 0 %, 11.17 W, 35")
    assert (gpu.util, gpu.power_w, gpu.temp_c, gpu.mem_total) == (0.0, 11.17, 35.0, None)


def test_a_gb10_that_reports_the_pool_as_its_memory_is_unified_all_the_same() -> None:
    header = "name, memory.total [MiB], memory.used [MiB]"
    assert one(header, "NVIDIA GB10, 122502, 4000", MEM_GB10).unified
    assert one(header, "NVIDIA GB10, 122502, 4000", MEM_GB10).mem_total is None


def test_hbm_of_a_gh200_stays_its_own_although_it_is_ats() -> None:
    gpu = one("name, memory.total [MiB], memory.used [MiB], addressing_mode", "NVIDIA GH200 480GB, 97871, 12, ATS")
    assert not gpu.unified
    assert gpu.mem_total == 97871 * MIB


def test_a_discrete_card_that_says_hmm_is_not_unified() -> None:
    gpu = one("name, memory.total [MiB], addressing_mode", "NVIDIA GeForce RTX 2080 SUPER, 8192, HMM")
    assert not gpu.unified


def test_thor_and_orin_say_little_and_that_is_no_error() -> None:
    thor = one("name, memory.total [MiB], memory.used [MiB], utilization.gpu [%]", "NVIDIA Thor, [N/A], [N/A], 97 %")
    assert thor.unified
    assert thor.util == 97.0
    orin = one("index, name, memory.total [MiB], utilization.gpu [%], driver_version", "N/A, N/A, N/A, N/A, N/A")
    assert orin == Gpu(index=0)


def test_an_rtx_pro_6000s_power_is_the_instant_draw() -> None:
    header = (
        "index, name, power.draw.instant [W], power.draw [W], memory.total [MiB], memory.used [MiB], temperature.memory"
    )
    row = "0, NVIDIA RTX PRO 6000 Blackwell Workstation Edition,  66.84 W , N/A, 97887, 1024, N/A"
    gpu = one(header, row)
    assert gpu.power_w == 66.84
    assert gpu.mem_total == 97887 * MIB
    assert not gpu.unified


def test_under_mig_the_utilisation_is_unknown_not_zero() -> None:
    header, rows = capture("h100-mig-gpu.csv")
    gpu = one(header, rows[0])
    assert gpu.mig
    assert gpu.util is None
    assert (gpu.mem_used, gpu.mem_total) == (11125 * MIB, 81559 * MIB)
    assert (gpu.power_w, gpu.power_limit_w) == (447.35, 700.0)


def test_a_loaded_h100_is_read_whole() -> None:
    header, rows = capture("h100-gpu.csv")
    gpu = one(header, rows[0])
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert gpu.driver == "590.48.01"
    assert gpu.util == 100.0
    assert not gpu.mig
    assert not gpu.unified
    assert gpu.fan is None
    assert gpu.pstate == "P0"


def test_a_desktop_card_is_read_whole() -> None:
    header, rows = capture("rtx-4080-super-gpu.csv")
    gpu = one(header, rows[0])
    assert gpu.name == "NVIDIA GeForce RTX 4080 SUPER"
    assert gpu.driver == "595.71.05"
    assert gpu.fan is not None
    assert gpu.mem_total == 16376 * MIB


@pytest.mark.parametrize(
    "sentinel",
    [
        "[N/A]",
        "N/A",
        "[Not Supported]",
        "Not Supported",
        "[Unknown Error]",
        "[Insufficient Permissions]",
        "-",
        "",
        "[GPU requires reset]",
        "ERR!",
        "nan",
        "inf",
        "-5",
        "1e400",
        "[Requested functionality has been deprecated]",
    ],
)
def test_every_way_of_not_knowing_is_none_and_never_zero(sentinel: str) -> None:
    gpu = one(
        "index, utilization.gpu [%], temperature.gpu, memory.used [MiB], fan.speed [%]",
        f"0, {sentinel}, {sentinel}, {sentinel}, {sentinel}",
    )
    assert (gpu.util, gpu.temp_c, gpu.mem_used, gpu.fan) == (None, None, None, None)


def test_the_last_of_several_rows_of_a_gpu_counts() -> None:
    found = nvidia_smi.gpus("index, utilization.gpu [%]", ["0, 10", "1, 20", "0, 30", "garbage", "1"])
    assert [(gpu.index, gpu.util) for gpu in found] == [(0, 30.0), (1, 20.0)]


def test_old_and_new_drivers_names_for_event_reasons_are_both_asked_for() -> None:
    offered = (DATA / "fields.txt").read_text()
    for name in ("clocks_event_reasons.active", "clocks_throttle_reasons.active"):
        assert name in FIELDS.split(",")
        assert name in offered


def test_a_gpus_name_cannot_reach_the_terminal() -> None:
    assert one("index, name", "0, \x1b]52;c;ZXZpbA==\x07NVIDIA\u202e GB10").name == "NVIDIA GB10"


@given(st.text(), st.lists(st.text(), max_size=4))
def test_no_text_breaks_the_parser(header: str, rows: list[str]) -> None:
    nvidia_smi.gpus(header, rows, memory_total=MEM_GB10)
    nvidia_smi.processes(rows)


# Processes.


def test_process_names_may_hold_commas() -> None:
    rows = ["GPU-1, 3150, python3, 218", "GPU-1, 6330, sglang::scheduler, --a=1,2, 96073"]
    assert [(each.pid, each.name, each.mem) for each in nvidia_smi.processes(rows)] == [
        (6330, "sglang::scheduler, --a=1,2", 96073 * MIB),
        (3150, "python3", 218 * MIB),
    ]


def test_a_pid_that_stands_twice_counts_once() -> None:
    rows = ["GPU-1, 12, a, 100", "GPU-1, 12, a, 300", "GPU-1, 112, b, [N/A]"]
    found = nvidia_smi.processes(rows)
    assert [(each.pid, each.mem) for each in found] == [(12, 300 * MIB), (112, None)]
    assert nvidia_smi.resident(found) == 300 * MIB


def test_a_process_is_found_in_its_container_by_its_whole_pid() -> None:
    found = nvidia_smi.processes(["G, 12, a, 1", "G, 112, b, 2"], {"12": "0123456789ab"})
    assert {each.pid: each.container for each in found} == {12: "0123456789ab", 112: None}


def test_what_a_real_card_lists_is_read() -> None:
    rows = [",".join(row.split(",")[4:]).removesuffix(" MiB") for row in capture("rtx-4080-super-apps.csv")[1]]
    assert [(each.name, each.mem) for each in nvidia_smi.processes(rows)] == [
        ("ffmpeg", 503 * MIB),
        ("ffmpeg", 360 * MIB),
        ("/usr/bin/kwin_wayland", 25 * MIB),
    ]


# The stuck clock.


def gb10(mhz: float | None, util: float | None, top: float | None = 3003.0) -> Gpu:
    return Gpu(index=0, name="NVIDIA GB10", util=util, sm_mhz=mhz, sm_max_mhz=top, unified=True)


def test_a_clock_that_stays_low_under_load_is_stuck_after_ten_samples() -> None:
    clock = nvidia_smi.StuckClock()
    said = [clock.look(gb10(850.0, 96.0)) for _ in range(12)]
    assert said == [None] * 9 + ["stuck-clock"] * 3


def test_an_idle_gb10_proves_nothing() -> None:
    clock = nvidia_smi.StuckClock()
    assert {clock.look(gb10(208.0, 0.0)) for _ in range(100)} == {None}
    assert {clock.look(gb10(850.0, 49.0)) for _ in range(100)} == {None}


def test_idle_samples_neither_raise_nor_clear_the_fault() -> None:
    clock = nvidia_smi.StuckClock()
    for _ in range(10):
        clock.look(gb10(481.0, 80.0))
    assert clock.look(gb10(208.0, 0.0)) == "stuck-clock"
    assert clock.look(gb10(2411.0, 95.0)) is None


def test_a_healthy_gb10_is_never_stuck() -> None:
    clock = nvidia_smi.StuckClock()
    assert {clock.look(gb10(mhz, 96.0)) for mhz in (2171.0, 2300.0, 2489.0) * 20} == {None}


def test_other_machines_low_clocks_are_their_own_affair() -> None:
    clock = nvidia_smi.StuckClock()
    orin = Gpu(index=0, name="Orin (nvgpu)", util=99.0, sm_mhz=1300.0, sm_max_mhz=1300.0, unified=True)
    discrete = Gpu(index=0, name="NVIDIA H100 80GB HBM3", util=99.0, sm_mhz=900.0, sm_max_mhz=1980.0)
    assert {clock.look(each) for each in (orin, discrete) * 20} == {None}
