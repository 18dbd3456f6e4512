"""The two simulated GPUs, as tables. Sources stand beside the figures; what is not known is plainly round."""

from __future__ import annotations

from typing import NamedTuple

NA = "[N/A]"


class Card(NamedTuple):
    """One GPU model. Watts, MHz, MiB, degrees Celsius. None: this model does not say."""

    name: str
    #: As the default table cuts it.
    short: str
    driver: str
    cuda: str
    bus: str
    device: str
    compute_cap: str
    addressing: str
    memory: int | None
    reserved: int
    power_limit: float | None
    power_idle: float
    power_full: float
    temp_idle: float
    temp_full: float
    sm_idle: int
    sm_busy: int
    sm_max: int
    mem_clock_idle: int | None
    mem_clock_max: int | None
    #: Slowest and fastest fan in percent; None: no fan that the driver knows.
    fan: tuple[int, int] | None
    ecc: str
    mig: str
    #: Current and possible link generation, current and possible width.
    pcie: tuple[int, int, int, int]


#: Name, memory, compute capability, 600 W: NVIDIA's RTX PRO 6000 Blackwell Workstation Edition data sheet and public
#: nvidia-smi outputs (97887 MiB). Driver 590 as in the H100 captures.
RTX_PRO_6000 = Card(
    name="NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    short="NVIDIA RTX PRO 6000 Blac...",
    driver="590.48.01",
    cuda="13.1",
    bus="00000000:01:00.0",
    device="0x2BB110DE",
    compute_cap="12.0",
    addressing="HMM",
    memory=97887,
    reserved=638,
    power_limit=600.0,
    power_idle=15.2,
    power_full=571.0,
    temp_idle=33.0,
    temp_full=79.0,
    sm_idle=180,
    sm_busy=2617,
    sm_max=3090,
    mem_clock_idle=405,
    mem_clock_max=14001,
    fan=(30, 72),
    ecc="Disabled",
    mig="Disabled",
    pcie=(5, 5, 16, 16),
)

#: Rows of real DGX Sparks: no memory, no limit, no fan, no memory clock; ATS; PCIe 1/1 (it is C2C); 4 to 63 W;
#: SM 2405 MHz at rest of 3003 (nvitop#208, llama-swap#782, NVIDIA's "known issues" of DGX Spark).
GB10 = Card(
    name="NVIDIA GB10",
    short="NVIDIA GB10",
    driver="580.126.09",
    cuda="13.0",
    bus="0000000F:01:00.0",
    device="0x2E1210DE",
    compute_cap="12.1",
    addressing="ATS",
    memory=None,
    reserved=0,
    power_limit=None,
    power_idle=4.5,
    power_full=61.0,
    temp_idle=36.0,
    temp_full=76.0,
    sm_idle=2405,
    sm_busy=2418,
    sm_max=3003,
    mem_clock_idle=None,
    mem_clock_max=None,
    fan=None,
    ecc=NA,
    mig=NA,
    pcie=(1, 1, 1, 1),
)

CARDS = {"workstation": RTX_PRO_6000, "spark": GB10}
