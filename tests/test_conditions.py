"""Conditions are read without ever raising, and only what disturbs a measurement is marked."""

import json
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from latentcy.pipelines.devices import conditions
from latentcy.pipelines.devices.conditions import Conditions, HostReading, Process, Reading, read
from latentcy.pipelines.devices.device import Device, find_device
from latentcy.pipelines.devices.nvml import DeviceReading, read_nvidia

GPU = Device(kind="cuda", index=0, name="A GPU", slug="a-gpu")
CALM = HostReading(load_average=1.0, cores=2, stolen_ticks=10, total_ticks=1000)
COOL = DeviceReading(sm_clock_mhz=1410, throttled_by=(), idle=False, others=())
UUID = "11111111-2222-3333-4444-555555555555"


class NVMLError(Exception):
    pass


class FakeNvml(SimpleNamespace):
    """A pynvml with one GPU at work; `refuse` names the questions that it does not answer."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, *, bits=0, pids=(), refuse=(), count=1):
        super().__init__(asked=[], open=0)
        answers = {
            "nvmlInit": lambda: setattr(self, "open", self.open + 1),
            "nvmlShutdown": lambda: setattr(self, "open", self.open - 1),
            "nvmlDeviceGetCount": lambda: count,
            "nvmlDeviceGetHandleByUUID": lambda uuid: f"by uuid {uuid}",
            "nvmlDeviceGetHandleByPciBusId": lambda place: f"at {place}",
            "nvmlDeviceGetHandleByIndex": lambda index: f"number {index}",
            "nvmlDeviceGetClockInfo": lambda handle, which: {1: 1410, 2: 1593}[which],
            "nvmlDeviceGetPowerUsage": lambda handle: 250_500,
            "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 400_000,
            "nvmlDeviceGetTemperature": lambda handle, which: 61,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: bits,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: bits,
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: [
                SimpleNamespace(pid=pid) for pid in pids
            ],
            "nvmlSystemGetProcessName": lambda pid: b"/usr/bin/python --flag",
        }
        for name, answer in answers.items():
            setattr(self, name, self._question(name, answer, name in refuse))

    def _question(self, name, answer, refused):
        def ask(*arguments):
            self.asked.append((name, *arguments))
            if refused:
                raise NVMLError("Not Supported")
            return answer(*arguments)

        return ask


@pytest.fixture
def nvml(monkeypatch):
    """Puts a fake pynvml in place, beside a torch that sees one GPU with the given identity."""

    def install(*, identity=(("uuid", UUID),), initialized=True, **settings):
        fake = FakeNvml(**settings)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        properties = SimpleNamespace(**dict(identity))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: initialized)
        return fake

    return install


def handle_of(fake):
    return next(asked[1] for asked in fake.asked if asked[0] == "nvmlDeviceGetPowerUsage")


def marks(before=CALM, after=CALM, *, device=(None, None)):
    return Conditions(Reading(before, device[0]), Reading(after, device[1])).marks()


def test_a_gpu_is_read_in_the_units_that_the_names_say(nvml):
    fake = nvml(bits=0x4)
    reading = read(GPU).device
    assert reading == DeviceReading(
        sm_clock_mhz=1410,
        memory_clock_mhz=1593,
        power_watts=250.5,
        power_limit_watts=400.0,
        temperature_celsius=61,
        throttled_by=("SW power cap",),
        idle=False,
        others=(),
    )
    assert fake.open == 0  # as often shut down as initialised


def test_idleness_and_clocks_that_someone_set_are_no_throttling(nvml):
    nvml(bits=0x1 | 0x2 | 0x20 | 0x40 | 0x800)
    reading = read_nvidia(0)
    assert reading.throttled_by == ("SW thermal slowdown", "HW thermal slowdown", "reason 0x800")
    assert reading.idle is True


def test_the_device_is_found_by_the_uuid_that_torch_gives(nvml):
    fake = nvml(count=8)
    read_nvidia(0)
    assert handle_of(fake) == f"by uuid GPU-{UUID}"


def test_a_uuid_that_nvml_does_not_know_falls_back_to_the_place_on_the_bus(nvml):
    place = {"pci_domain_id": 0, "pci_bus_id": 0x1B, "pci_device_id": 0}
    identity = {"uuid": UUID, **place}
    fake = nvml(identity=identity.items(), refuse=("nvmlDeviceGetHandleByUUID",), count=8)
    read_nvidia(0)
    assert handle_of(fake) == "at 00000000:1B:00.0"


def test_an_only_gpu_needs_no_identity(nvml):
    fake = nvml(identity=())
    read_nvidia(0)
    assert handle_of(fake) == "number 0"


def test_of_several_gpus_none_is_guessed(nvml):
    nvml(identity=(), count=2)
    assert read_nvidia(1) == DeviceReading(
        note="NVML cannot be used: this torch does not tell which of 2 GPUs cuda:1 is"
    )


def test_what_a_gpu_does_not_tell_is_none_with_the_reason(nvml):
    nvml(refuse=("nvmlDeviceGetPowerUsage", "nvmlDeviceGetComputeRunningProcesses"))
    reading = read_nvidia(0)
    assert (reading.power_watts, reading.others, reading.sm_clock_mhz) == (None, None, 1410)
    assert reading.note == "processes: Not Supported; power: Not Supported"


def test_an_older_driver_is_asked_the_older_question(nvml):
    nvml(bits=0x8, refuse=("nvmlDeviceGetCurrentClocksEventReasons",))
    reading = read_nvidia(0)
    assert (reading.throttled_by, reading.note) == (("HW slowdown",), "")


def test_an_absent_package_is_said_and_not_raised(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_nvidia(0) == DeviceReading(note="nvidia-ml-py is not installed (latentcy[nvidia])")


def test_an_nvml_that_does_not_start_is_said_and_not_raised(nvml):
    nvml(refuse=("nvmlInit",))
    assert read_nvidia(0) == DeviceReading(note="NVML cannot be used: Not Supported")


def test_other_processes_are_named_and_ours_are_not_among_them(nvml):
    nvml(pids=(os.getpid(), 2**22 + 1, 2**22 + 2))
    reading = read_nvidia(0, ours=[2**22 + 2])
    assert reading.others == (Process(2**22 + 1, "python"),)


def test_in_a_container_our_own_process_under_its_outer_id_is_not_told_as_another(nvml):
    nvml(pids=(2**22 + 1,))
    assert read_nvidia(0).others == ()
    nvml(pids=(2**22 + 1, 2**22 + 2))
    assert len(read_nvidia(0).others) == 1


def test_before_torch_uses_the_gpu_no_listed_process_is_taken_for_ours(nvml):
    nvml(pids=(2**22 + 1,), initialized=False)
    assert read_nvidia(0).others == (Process(2**22 + 1, "python"),)


def test_here_the_load_and_the_cores_are_read():
    host = read(find_device("cpu")).host
    assert host.cores >= 1
    assert host.load_average is None or host.load_average >= 0


def test_an_unreadable_host_is_none_and_not_raised(monkeypatch, tmp_path):
    def unknown():
        raise OSError("no load average")

    monkeypatch.setattr(os, "getloadavg", unknown)
    monkeypatch.setattr(conditions, "_PROC", tmp_path)
    monkeypatch.setattr(conditions, "_FREQUENCIES", tmp_path)
    host = read(find_device("cpu")).host
    assert replace(host, cores=None) == HostReading()


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu 1 2 3\n", "cpu a b c d e f g h\n", "intr 1\n"])
def test_a_strange_proc_stat_is_none_and_not_raised(monkeypatch, tmp_path, text):
    (tmp_path / "stat").write_text(text)
    monkeypatch.setattr(conditions, "_PROC", tmp_path)
    assert read(find_device("cpu")).host.total_ticks is None


def test_guests_ticks_are_not_counted_twice(monkeypatch, tmp_path):
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5 6 7 80 900 900\ncpu0 1\n")
    monkeypatch.setattr(conditions, "_PROC", tmp_path)
    host = read(find_device("cpu")).host
    assert (host.stolen_ticks, host.total_ticks) == (80, 108)


def test_the_fastest_cores_frequency_is_read(monkeypatch, tmp_path):
    for number, khz in enumerate((800_000, 2_600_000)):
        (tmp_path / f"policy{number}").mkdir()
        (tmp_path / f"policy{number}" / "scaling_cur_freq").write_text(f"{khz}\n")
    monkeypatch.setattr(conditions, "_FREQUENCIES", tmp_path)
    assert read(find_device("cpu")).host.cpu_mhz == 2600.0


def test_without_cpufreq_the_frequency_is_cpuinfos(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("cpu MHz\t\t: 2599.998\n\ncpu MHz\t\t: 1200.0\n")
    monkeypatch.setattr(conditions, "_PROC", tmp_path)
    monkeypatch.setattr(conditions, "_FREQUENCIES", tmp_path / "none")
    assert read(find_device("cpu")).host.cpu_mhz == 2599.998


def test_a_calm_measurement_has_no_marks():
    assert marks(device=(COOL, COOL)) == ()
    assert marks(HostReading(), HostReading(), device=(DeviceReading(), DeviceReading())) == ()


def test_throttling_before_or_after_is_marked():
    hot = replace(COOL, throttled_by=("SW thermal slowdown",))
    assert marks(device=(COOL, hot)) == ("throttled by SW thermal slowdown",)
    assert marks(device=(hot, COOL)) == ("throttled by SW thermal slowdown",)


def test_a_power_cap_is_marked_only_where_the_clock_dropped():
    capped = replace(COOL, throttled_by=("SW power cap",))
    assert marks(device=(capped, capped)) == ()
    slowed = replace(capped, sm_clock_mhz=1095)
    assert marks(device=(COOL, slowed)) == ("clock 1410 -> 1095 MHz under SW power cap",)


def test_a_clock_that_dropped_is_marked_and_a_small_or_idle_one_is_not():
    assert marks(device=(COOL, replace(COOL, sm_clock_mhz=1095))) == ("clock 1410 -> 1095 MHz",)
    assert marks(device=(COOL, replace(COOL, sm_clock_mhz=1395))) == ()
    assert marks(device=(COOL, replace(COOL, sm_clock_mhz=210, idle=True))) == ()
    assert marks(device=(replace(COOL, sm_clock_mhz=210), COOL)) == ()


def test_another_process_is_marked_once():
    shared = replace(COOL, others=(Process(1234, "python"),))
    assert marks(device=(shared, shared)) == ("another process on the device: 1234 python",)
    crowded = replace(COOL, others=(Process(1234, "python"), Process(77)))
    assert marks(device=(COOL, crowded)) == ("other processes on the device: 1234 python, 77",)


@pytest.mark.parametrize(("stolen", "told"), [(10, False), (42, True)])
def test_stolen_time_is_marked_above_one_percent(stolen, told):
    after = replace(CALM, stolen_ticks=10 + stolen, total_ticks=2000)
    expected = ("4.2% of the CPU's time was stolen by other guests",) if told else ()
    assert marks(CALM, after) == expected


def test_a_load_beyond_the_cores_is_marked_when_it_was_there_before():
    busy = replace(CALM, load_average=3.1)
    assert marks(busy, CALM) == ("load average 3.1 on 2 cores before the case",)
    assert marks(CALM, busy) == ()
    assert marks(replace(CALM, load_average=2.3), CALM) == ()


def test_conditions_are_plain_json():
    shared = replace(COOL, others=(Process(1234, "python"),))
    data = Conditions(Reading(CALM, shared), Reading(CALM, COOL)).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["before"]["device"]["others"] == [{"pid": 1234, "name": "python"}]
    assert data["marks"] == ["another process on the device: 1234 python"]
