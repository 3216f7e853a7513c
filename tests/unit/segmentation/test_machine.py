"""What the machine allows, and the efforts that are made of it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from node.segmentation.machine import (
    LEAST_CPU_BYTES,
    MOST_CPU_BYTES,
    Gpu,
    Machine,
    _cores,
    _group_memory,
    _processor_flags,
    _visible,
    describe,
    efforts,
    measure_machine,
)

GIB = 1024**3


def machine(free_gib: float = 16.0, gpus: tuple[Gpu, ...] = (), *, bf16: bool = False) -> Machine:
    return Machine(
        cores=4,
        free_ram_bytes=int(free_gib * GIB),
        total_ram_bytes=32 * GIB,
        bf16=bf16,
        gpus=gpus,
    )


def gpu(free_gib: float, index: int = 0) -> Gpu:
    return Gpu(index=index, name="GPU", free_bytes=int(free_gib * GIB), total_bytes=80 * GIB)


def test_this_machine_has_cores_and_memory() -> None:
    found = measure_machine()
    assert found.cores >= 1
    assert 0 < found.free_ram_bytes <= found.total_ram_bytes
    assert measure_machine(threads=1).cores == 1
    assert "cores" in str(found)


def test_a_gpu_comes_before_the_cpu_and_the_cpu_is_always_there() -> None:
    ladder = efforts(machine(gpus=(gpu(10, 0), gpu(20, 1))))
    assert [effort.device for effort in ladder[:4]] == ["cuda:1", "cuda:1", "cuda:0", "cuda:0"]
    assert ladder[0].half
    assert ladder[-1].device == "cpu"
    assert not ladder[-1].half


def test_a_gpu_that_is_full_is_left_alone() -> None:
    assert {effort.device for effort in efforts(machine(gpus=(gpu(1),)))} == {"cpu"}


@given(st.floats(0, 1000))
def test_the_memory_of_the_cpu_only_ever_gets_less(free_gib: float) -> None:
    sizes = [effort.memory_bytes for effort in efforts(machine(free_gib))]
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[0] <= MOST_CPU_BYTES
    assert sizes[-1] == LEAST_CPU_BYTES


def test_bfloat16_is_used_where_the_processor_computes_in_it(tmp_path: Path) -> None:
    assert all(effort.half for effort in efforts(machine(bf16=True)))
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: sse avx512_bf16 amx_bf16\n")
    assert "avx512_bf16" in _processor_flags(cpuinfo)
    assert not _processor_flags(tmp_path / "absent")


def test_an_effort_says_itself_in_words() -> None:
    assert describe(efforts(machine(bf16=True))[0]) == "cpu, 4 threads, 4.0 GiB, half precision"


def test_a_container_gets_what_its_control_group_allows(tmp_path: Path) -> None:
    assert _group_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    assert _group_memory(tmp_path) == (1000, 350)
    (tmp_path / "memory.max").write_text("max\n")
    assert _group_memory(tmp_path) is None
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert _cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert _cores(tmp_path) == 1


def test_cuda_counts_only_the_devices_that_it_shows() -> None:
    assert _visible(None, 3) == (0, 1, 2)
    assert _visible("2, 0", 3) == (2, 0)
    assert _visible("", 3) == ()
    assert _visible("1,9,0", 3) == (1,)
    assert _visible("GPU-1234", 3) == ()
