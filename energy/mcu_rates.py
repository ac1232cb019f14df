"""Cycles per MAC of kernel libraries on microcontrollers, fitted on published throughput.

Each row is one submission to MLPerf Tiny (closed division, reference models, all four tasks, no
accelerator): clock over the rate of the performance run, explained by three rates, `fit_costs`
with a broad prior (2, 8 and 3 cycles, each within a factor of 7) and noise 0.05. Energy does not
enter. Source: result logs of github mlcommons/tiny_results_v0.5 @d75aef6, v0.7 @64623f4, v1.0
@c7761cf, v1.1 @c32ef94, v1.2 @cadb362, v1.3 @cd605ea.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LibraryRates:
    """Cycles per MAC of one library on one chip.

    Args:
        chip: The hardware column of the results.
        version: Of the benchmark.
        submitter: Who measured.
        system: The configuration, which names the library.
        conv: Convolutions.
        narrow: Depthwise convolutions, and convolutions of fewer than 4 input channels.
        matrix: Fully connected layers.
        worst: Largest relative residual of the four networks.
    """

    chip: str
    version: str
    submitter: str
    system: str
    conv: float
    narrow: float
    matrix: float
    worst: float


# fmt: off
RATES: tuple[LibraryRates, ...] = (
    LibraryRates(
        "andes_d25", "0.7", "Andes", "AndesCore_d25_tflite_micro_framework",
        1.425, 4.410, 3.814, 0.18,
    ),
    LibraryRates(
        "andes_d45", "0.7", "Andes", "AndesCore_d45_tflite_micro_framework",
        1.016, 4.156, 2.754, 0.14,
    ),
    LibraryRates(
        "numaker_m467", "1.1", "Nuvoton", "NUMAKER_M467HJ-zephyr",
        2.558, 5.159, 3.699, 0.14,
    ),
    LibraryRates(
        "psoc_cy8c62", "0.7", "plumerai", "cy8cproto_062_4343w",
        2.227, 9.818, 3.857, 0.12,
    ),
    LibraryRates(
        "psoc_cy8c62", "1.0", "plumerai", "cy8cproto_062_4343w",
        2.111, 9.600, 3.781, 0.12,
    ),
    LibraryRates(
        "psoc_cy8c62", "1.1", "plumerai", "CY8CPROTO-062-4343W",
        2.081, 4.799, 2.530, 0.18,
    ),
    LibraryRates(
        "psoc_cy8c62", "1.2", "bosch", "CY8CPROTO_062_4343W_int8",
        1.743, 8.298, 3.388, 0.07,
    ),
    LibraryRates(
        "ra6m4", "0.7", "renesas", "EK-RA6M4",
        4.014, 4.061, 3.492, 0.07,
    ),
    LibraryRates(
        "stm32g0b1", "1.1", "bosch", "NUCLEO_G0B1RE",
        7.055, 52.088, 11.266, 0.07,
    ),
    LibraryRates(
        "stm32g0b1", "1.2", "bosch", "NUCLEO_G0B1RE_int8",
        7.147, 29.562, 9.899, 0.09,
    ),
    LibraryRates(
        "stm32l4r5", "0.5", "reference", "Nucleo-L4R5ZI",
        6.588, 17.384, 4.564, 0.12,
    ),
    LibraryRates(
        "stm32l4r5", "0.7", "STMicroelectronics", "NUCLEO_L4R5ZI",
        2.059, 12.902, 4.389, 0.04,
    ),
    LibraryRates(
        "stm32l4r5", "0.7", "plumerai", "NUCLEO_L4R5ZI",
        1.469, 11.084, 2.678, 0.11,
    ),
    LibraryRates(
        "stm32l4r5", "1.0", "OctoML", "microtvm_cmsis_nn/NUCLEO_L4R5ZI",
        3.630, 8.582, 3.908, 0.07,
    ),
    LibraryRates(
        "stm32l4r5", "1.0", "OctoML", "microtvm_native/NUCLEO_L4R5ZI",
        3.234, 16.756, 5.321, 0.03,
    ),
    LibraryRates(
        "stm32l4r5", "1.0", "STMicroelectronics", "NUCLEO_L4R5ZI",
        1.955, 9.664, 3.442, 0.11,
    ),
    LibraryRates(
        "stm32l4r5", "1.0", "plumerai", "NUCLEO_L4R5ZI",
        1.354, 10.888, 2.531, 0.10,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "Krai", "NUCLEO-L4R5ZI_MICROTVM-CMSIS-NN",
        3.630, 8.571, 3.908, 0.07,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "Krai", "NUCLEO-L4R5ZI_MICROTVM-NATIVE",
        3.232, 16.853, 5.321, 0.03,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "Krai", "NUCLEO-L4R5ZI_X-CUBE-AI-7.3",
        1.959, 9.418, 3.442, 0.10,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "Krai", "NUCLEO-L4R5ZI_X-CUBE-AI-8.0",
        1.920, 9.181, 3.442, 0.10,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "STMicroelectronics", "NUCLEO_L4R5ZI",
        1.867, 4.431, 3.115, 0.21,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "Skymizer", "NUCLEO_L4R5ZI-mbed_os",
        2.661, 5.616, 3.666, 0.15,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "Skymizer", "NUCLEO_L4R5ZI-zephyr",
        2.573, 8.240, 3.636, 0.12,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "bosch", "NUCLEO_L4R5ZI",
        1.511, 8.153, 2.571, 0.08,
    ),
    LibraryRates(
        "stm32l4r5", "1.1", "plumerai", "NUCLEO-L4R5ZI",
        1.483, 3.474, 1.841, 0.15,
    ),
    LibraryRates(
        "stm32l4r5", "1.2", "STMicroelectronics", "NUCLEO_L4R5ZI",
        1.478, 2.608, 2.390, 0.17,
    ),
    LibraryRates(
        "stm32l4r5", "1.2", "bosch", "NUCLEO_L4R5ZI_int8",
        1.552, 7.664, 2.651, 0.10,
    ),
    LibraryRates(
        "stm32l4r5", "1.3", "STMicroelectronics", "NUCLEO_L4R5ZI-P",
        1.482, 2.635, 2.178, 0.17,
    ),
    LibraryRates(
        "stm32u385", "1.3", "STMicroelectronics", "NUCLEO_U385RG_Q",
        1.303, 2.384, 1.966, 0.18,
    ),
    LibraryRates(
        "stm32u585", "1.0", "plumerai", "B_U585I_IOT02A",
        1.230, 6.009, 2.938, 0.10,
    ),
)
# fmt: on
