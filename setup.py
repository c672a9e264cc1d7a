"""What pyproject.toml cannot say: the configurations in ``conf`` travel inside the package ``benchmarks``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigurations(build_py):
    """Copy ``conf`` into a built package; an editable one finds it beside the package."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("conf", Path(self.build_lib) / "benchmarks" / "conf", dirs_exist_ok=True)


setup(cmdclass={"build_py": WithConfigurations})
