"""Validation: the evidence that the equations and solvers do what the theory page promises, one case a file.

``python -m validation`` runs every case, prints its verdicts and writes figures and evidence to
``validation/results``. To add a case, add a module that defines ``CASE``, a ``validation.case.Case``.
"""
