"""The commands of ``python -m results`` that put numbers where others read and check them."""
