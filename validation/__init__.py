"""Validation: the evidence that the equations and solvers do what the theory page promises, one case a file.

``python -m validation`` runs every case of ``validation.cases`` and writes verdicts, figures and numbers to
``validation/results``. To add a case, add a module there: its docstring is the claim, ``CASE`` a
``validation.case.Case``.
"""
