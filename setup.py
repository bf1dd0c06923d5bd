"""Packaging: `pip install .` for a user, `pip install -e '.[test]'` for the tests."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent
# What lies beside the package in a checkout lies inside it once it is installed, where
# `--config=configs/...` is looked for last; the pictures are the example of clip_own_data.py.
CONFIGS = sorted(path.name for path in (HERE / "configs").iterdir() if any(path.glob("*.py")))
BESIDE = {
    "mmjax.configs": "configs",
    **{f"mmjax.configs.{name}": f"configs/{name}" for name in CONFIGS},
    "mmjax.experiments.own_data": "experiments/own_data",
}


def requirements() -> list[str]:
    """The lines of requirements.txt, which is the one place where dependencies are declared."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name="mmjax",
    version="0.1.0",
    description="Multimodal models in JAX: verified, sharded, resumable bit for bit, torch-free",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "mmjax/datasets/bundled/licenses/**/*"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["mmjax", "mmjax.*"]), *BESIDE],
    package_dir=BESIDE,
    package_data={
        "mmjax": ["datasets/bundled/**"],
        "mmjax.experiments.own_data": [
            "pictures.jsonl", "conversations.jsonl", "sounds.jsonl", "speech.csv", "pictures/*",
            "sounds/*", "speech/*",
        ],
    },
    entry_points={"console_scripts": ["mmjax = mmjax.main:program"]},
    install_requires=requirements(),
    # torch and transformers, which the live parity tests compare with, are not here on purpose:
    # everything else is proved without them. `.ci/run` installs them for that stage alone.
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "beartype>=0.19",
            "chex>=0.1.90",
            "resvg_py>=0.3",
        ],
        # Draws the SVG of the sets that `--mode=prepare` fetches.
        "prepare": ["resvg_py>=0.3"],
        # Hears the microphone: `--mode=listen`.
        "microphone": ["sounddevice>=0.4.6"],
        # Sends curves and pictures to Weights & Biases: `execution.wandb`.
        "wandb": ["wandb>=0.17"],
    },
)
