"""The layers: a folder for each, with the mathematics in its ``__init__.py`` and one file for each strategy."""
