"""`pcam kaggle-run`: train at Kaggle, on its GPUs, and bring the runs home.

    run.py        the steps: dataset, notebook, log, output; each is asked for before it is done
    task.py       what is sent: the configs, and whether they can run there
    bundle.py     what Kaggle's image lacks, as wheels
    notebook.py   the script with the task put in
    script.py     the script itself, which runs there
    homecoming.py the runs out of the zip

Nothing is noted on disk: the names of dataset and notebook hold a hash of what they are for, so the
same command finds them again at Kaggle, whenever and wherever it is stopped.
"""
