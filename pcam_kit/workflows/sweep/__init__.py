"""`pcam sweep`: many trainings of one config with other values, side by side.

    run.py     the loop: what is started, what is told to whom, what is left
    study.py   which values come next, and who is stopped: Optuna's
    job.py     one training of a trial, in a process of its own, on this machine or another
    pools.py   where jobs run: processes here, or a Ray cluster
    result.py  the trials side by side, and how far the best of them flatters itself
    found.py   the sweeps that trained some runs, for their report
    side_by_side.py, shards.py  other jobs: seeds, folds, parts of a prediction

In the sweep's folder `journal.log` has the trials, and is all that a resume needs; `trials/` has
what each job told. Runs are ordinary run folders.
"""
