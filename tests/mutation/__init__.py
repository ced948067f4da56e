"""Every hand-written gradient, mutated line by line, and whether the gate notices.

``python -m tests.mutation`` writes each mutant of each ``backward``, of what is saved for it, and of the kernels and
launches that it uses, as a strategy of its own and runs the gate on it (level ``standard``) until something is wrong.
A mutant that passes everything is equivalent to the original, with a proof in ``equivalent.toml``, or a hole in the
gate.

* ``targets`` finds the functions, ``operators`` says what is done to an expression or statement, ``mutants`` puts both
  together, ``trial`` runs the gate on mutants of one file, ``verdicts`` counts and writes the report.
"""
